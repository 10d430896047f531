use super::super::test_support::*;
use super::super::{ErrorKind, VerifyOptions, Writer, rebuild, verify};
use super::*;
use crate::base::digest::Digest;
use crate::base::fsio::Fs;

/// Runs a job on the fixture's writer; its archive must be whole afterwards, and a rebuilt catalogue the same.
fn change<T: Send + 'static>(
    fixture: &Fixture,
    job: impl FnOnce(&mut Core) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (writer, _) = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
    let handle = writer.handle();
    let done = wait(handle.call(job));
    drop(handle);
    let finished = writer.finish();
    if done.is_ok() {
        finished.unwrap();
    }
    let report = verify(&fixture.layout, &VerifyOptions::default(), &mut |_, _| {}).unwrap();
    assert!(report.ok, "{report:?}");
    let before = dump(&fixture.layout);
    rebuild(&fixture.layout, &Fs::real(), false, "a test").unwrap();
    assert_eq!(before, dump(&fixture.layout));
    done
}

fn reader(fixture: &Fixture) -> Reader {
    Reader::open(&fixture.layout).unwrap()
}

fn message_of(fixture: &Fixture, item: u64) -> StoredMessage {
    reader(fixture).item(item).unwrap().message.unwrap()
}

fn shown_as(fixture: &Fixture, items: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    let reader = reader(fixture);
    items.map(|item| reader.catalogue.message_of_item(item).unwrap().unwrap()).collect()
}

fn filing(person: &str, folder: Folder) -> Filing {
    Filing { person: person.into(), folder, because: format!("to {person}") }
}

/// Item 9 is quarantined.
fn understood(fixture: &Fixture) -> StoredMessage {
    let bytes = &fixture.mails[8].item;
    StoredMessage {
        sha256: Digest::of(bytes),
        size: bytes.len() as u64,
        range: 0..bytes.len() as u64,
        canonical: Digest::of(b"of item 9"),
        parser: 7,
        ..message_of(fixture, 1)
    }
}

#[test]
fn a_quarantined_item_that_can_be_decoded_is_archived_like_any_other() {
    let fixture = Fixture::new(SMALL);
    let sighting = reader(&fixture).provenance(9).unwrap().remove(0);
    assert_eq!(sighting.disposition, Disposition::Quarantined);
    let seen = super::super::Seen {
        epoch: sighting.epoch,
        native_id: sighting.native_id,
        order: sighting.order,
        size: sighting.size,
        date: sighting.date,
    };
    let still = seen.clone();
    let receipts = change(&fixture, move |core| {
        core.decode_again(9, None, "no parser of today understands it")?;
        let seen = [still];
        Ok((core.receipts(&seen)?, core.receipts_of_quarantined(&seen)?))
    });
    let (archived, quarantined) = receipts.unwrap();
    assert!(archived[0].is_none() && quarantined[0].is_some());
    let item = reader(&fixture).item(9).unwrap();
    assert_eq!((item.quarantine.as_deref(), item.message.is_none()), (Some("no parser of today understands it"), true));

    let message = understood(&fixture);
    let receipts = change(&fixture, move |core| {
        core.decode_again(9, Some(message), "retried")?;
        core.file(9, vec![filing(ANNA, Folder::Inbox)], Vec::new(), 3)?;
        let seen = [seen];
        Ok((core.receipts(&seen)?, core.receipts_of_quarantined(&seen)?))
    });
    let (archived, quarantined) = receipts.unwrap();
    assert!(archived[0].is_some() && quarantined[0].is_none());
    let reader = reader(&fixture);
    let item = reader.item(9).unwrap();
    assert!(item.quarantine.is_none() && item.message.unwrap().parser == 7);
    assert!(!reader.quarantined().unwrap().contains(&9));
    assert!(reader.attention().unwrap().iter().all(|one| one.item != Some(9)));
    let mut out = Vec::new();
    reader.original_bytes(9, &mut out).unwrap();
    assert_eq!(out, fixture.mails[8].item);
    assert_eq!(reader.message(9, Some(ANNA)).unwrap().unwrap().filings.len(), 1);
}

#[test]
fn an_item_that_was_decoded_is_never_quarantined_afterwards() {
    let fixture = Fixture::new(SMALL);
    assert!(change(&fixture, |core| core.decode_again(1, None, "a worse parser")).is_err());
    assert!(reader(&fixture).item(1).unwrap().quarantine.is_none());
}

/// Items 6 and 7 are shown as message 6.
#[test]
fn items_whose_digest_changes_are_shown_where_it_belongs() {
    let fixture = Fixture::new(SMALL);
    assert_eq!(shown_as(&fixture, 5..=8), [5, 6, 6, 8]);
    let with = |item: u64, canonical: &str| StoredMessage {
        canonical: Digest::of(canonical.as_bytes()),
        canonical_version: 2,
        ..message_of(&fixture, item)
    };
    let (leader, follower) = (with(6, "new"), with(7, "new"));
    change(&fixture, move |core| core.decode_again(6, Some(leader), "better")).unwrap();
    assert_eq!(shown_as(&fixture, 5..=8), [5, 6, 6, 8], "the others stay until they are looked at");
    change(&fixture, move |core| core.decode_again(7, Some(follower), "better")).unwrap();
    assert_eq!(shown_as(&fixture, 5..=8), [5, 6, 6, 8]);
    let apart = with(7, "another");
    change(&fixture, move |core| core.decode_again(7, Some(apart), "better still")).unwrap();
    assert_eq!(shown_as(&fixture, 5..=8), [5, 6, 7, 8]);
    let filings = |id: u64| reader(&fixture).message(id, None).unwrap().unwrap().filings.len();
    assert_eq!((filings(6), filings(7)), (2, 2), "filings follow their item");
    let joined = with(5, "another");
    change(&fixture, move |core| core.decode_again(5, Some(joined), "the same as 7")).unwrap();
    assert_eq!(shown_as(&fixture, 5..=8), [5, 6, 5, 8], "the lower number stays");
    assert_eq!(filings(5), 4);
}

#[test]
fn a_damaged_decoding_names_its_item() {
    let fixture = Fixture::new(SMALL);
    let message = understood(&fixture);
    change(&fixture, move |core| {
        core.decode_again(9, Some(message), "retried")?;
        core.file(9, vec![filing(ANNA, Folder::Inbox)], Vec::new(), 3)
    })
    .unwrap();
    let place = reader(&fixture).catalogue.decode_place(9).unwrap().unwrap();
    let whole = fixture.pack(place.pack);
    for at in [3, 100] {
        let mut pack = whole.clone();
        pack[place.offset as usize + at] ^= 1;
        fixture.put_pack(place.pack, &pack);
        let report = verify(&fixture.layout, &VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert!(report.damaged.iter().any(|damage| damage.item_ids.contains(&9)), "{report:?}");
    }
}

/// A wrong decoding that is whole as a record: the bytes are not what it says.
#[test]
fn a_decoding_that_does_not_fit_the_bytes_is_damage() {
    let fixture = Fixture::new(SMALL);
    let wrong = StoredMessage { range: 1..understood(&fixture).size, ..understood(&fixture) };
    let (writer, _) = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
    let handle = writer.handle();
    wait(handle.call(move |core| core.decode_again(9, Some(wrong), "a defect"))).unwrap();
    drop(handle);
    writer.finish().unwrap();
    let report = verify(&fixture.layout, &VerifyOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!(report.damaged.iter().map(|damage| damage.item_ids.clone()).collect::<Vec<_>>(), [vec![9]]);
    // A later decoding that is right counts instead.
    let right = understood(&fixture);
    change(&fixture, move |core| core.decode_again(9, Some(right), "mended")).unwrap();
}

#[test]
fn a_protected_copy_comes_out_as_it_went_in() {
    let fixture = Fixture::new(SMALL);
    let plain = understood(&fixture);
    let bytes = fixture.mails[8].item[10..50].to_vec();
    let twin = Twin { range: 10..50, transfer: "identity".into(), sha256: Digest::of(&bytes), size: 40 };
    change(&fixture, move |core| {
        core.decode_again(9, Some(StoredMessage { twin: Some(twin), ..plain }), "both")?;
        core.file(9, vec![filing(ANNA, Folder::Sent)], Vec::new(), 3)
    })
    .unwrap();
    let reader = reader(&fixture);
    let mut out = Vec::new();
    reader.twin_bytes(9, &mut out).unwrap();
    assert_eq!(out, bytes);
    assert_eq!(reader.twin_bytes(1, &mut out).unwrap_err().kind, ErrorKind::Unusable);
    let dir = fixture.folder.path().join("out");
    let filter = super::super::Filter { person: Some(ANNA.into()), folder: Some(Folder::Sent), ..Default::default() };
    let new = super::super::ExportOptions::new(super::super::ExportFormat::Eml, now());
    let options = super::super::ExportOptions { envelope: true, ..new };
    let selection = super::super::Selection { filter: filter.clone(), search: None };
    let mut entries = |visit: &mut dyn FnMut(super::super::Entry) -> Result<()>| reader.list(&filter, visit);
    super::super::export(&reader, &selection, &mut entries, &dir, options, &super::super::Unwatched).unwrap();
    let sent = dir.join(ANNA).join("sent");
    let file = walk(&sent).into_iter().find(|file| file.ends_with("00000009.protected.eml")).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    let manifest = std::fs::read_to_string(dir.join("manifest.json")).unwrap();
    assert!(manifest.contains("00000009.protected.eml\"") && manifest.contains("\"protected\":true"), "{manifest}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn people_are_recorded_only_when_they_changed() {
    let fixture = Fixture::new(SMALL);
    let anna = reader(&fixture).catalogue.person_record(ANNA).unwrap().unwrap();
    let since: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
    let changed = PersonRecord {
        key: Some("f0e1".into()),
        tenures: vec![Tenure { address: "sales@corp.example".into(), from: Some(since), until: None }],
        addresses: vec!["sales@corp.example".into(), ANNA.into()],
        ..anna.clone()
    };
    let records = (anna, changed.clone());
    let put = change(&fixture, move |core| {
        let (same, changed) = records;
        Ok([core.put_people(vec![same])?, core.put_people(vec![changed.clone()])?, core.put_people(vec![changed])?])
    });
    assert_eq!(put.unwrap(), [0, 1, 0]);
    let known = reader(&fixture).catalogue.person_record(ANNA).unwrap().unwrap();
    assert_eq!((known.key, known.tenures), (changed.key, changed.tenures));
}

#[test]
fn a_merged_archive_is_empty_and_the_other_holds_everything() {
    let fixture = Fixture::new(SMALL);
    let count = |person: &str| {
        let people = reader(&fixture).people().unwrap();
        people.into_iter().find(|one| one.person == person).map_or((0, 0), |one| (one.inbox, one.sent))
    };
    let ((anna_in, anna_sent), (bob_in, bob_sent)) = (count(ANNA), count(BOB));
    let anna = || reader(&fixture).catalogue.person_record(ANNA).unwrap().unwrap();
    let bob = || reader(&fixture).catalogue.person_record(BOB).unwrap().unwrap();
    let into = anna();
    change(&fixture, move |core| core.merge(BOB, into, "admin")).unwrap();
    // Interrupted here, and asked again.
    let into = anna();
    change(&fixture, move |core| {
        core.merge(BOB, into, "admin")?;
        while core.move_filings(BOB, ANNA, 3)? > 0 {
            core.close()?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(count(BOB), (0, 0));
    assert_eq!(count(ANNA), (anna_in + bob_in, anna_sent + bob_sent));
    assert_eq!(bob().merged_into.as_deref(), Some(ANNA));
    assert!(anna().addresses.contains(&format!("alias-{BOB}")));
    let event = reader(&fixture).events("people-merge", 9).unwrap();
    assert_eq!((event.len(), event[0].who.as_str()), (1, "admin"));
    // What was joined stays as it was, whatever a directory says of it.
    let renamed = PersonRecord { merged_into: None, name: Some("Bob anew".into()), ..bob() };
    assert_eq!(change(&fixture, move |core| core.put_people(vec![renamed])).unwrap(), 0);
    let (itself, back, unknown) = (anna(), bob(), anna());
    for (from, into) in [(ANNA, itself), (ANNA, back), ("nobody", unknown)] {
        let error = change(&fixture, move |core| core.merge(from, into, "admin")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unusable, "{error}");
    }
}

#[test]
fn what_was_filed_for_nobody_or_by_older_versions_is_chosen() {
    let fixture = Fixture::new(SMALL);
    let outdated = |parser, rules| Choice::Outdated { person: "unassigned".into(), parser, rules };
    let all = reader(&fixture).chosen(&Choice::All, 0, 1000).unwrap();
    let decoded = fixture.mails.iter().filter(|mail| !mail.quarantined).count();
    assert_eq!(all.len(), decoded);
    assert_eq!(reader(&fixture).chosen(&Choice::All, all[4], 3).unwrap(), all[5..8]);
    assert!(reader(&fixture).chosen(&outdated(1, 1), 0, 1000).unwrap().is_empty());
    assert_eq!(reader(&fixture).chosen(&outdated(1, 2), 0, 1000).unwrap(), all);
    assert_eq!(reader(&fixture).chosen(&outdated(2, 1), 0, 1000).unwrap(), all);
    assert_eq!(reader(&fixture).chosen(&Choice::Person(BOB.into()), 0, 1000).unwrap(), all);
    assert_eq!(reader(&fixture).chosen(&Choice::Item(6), 0, 1000).unwrap(), [6, 7]);
    assert_eq!(reader(&fixture).chosen(&Choice::Item(7), 0, 1000).unwrap(), [7]);
    assert!(reader(&fixture).chosen(&Choice::Item(9), 0, 1000).unwrap().is_empty());
    let nobody = PersonRecord { person: "unassigned".into(), name: None, addresses: Vec::new(), ..bob_like(&fixture) };
    change(&fixture, move |core| {
        core.file(3, vec![filing("unassigned", Folder::Inbox)], vec![nobody], 1)?;
        core.withdraw(3, BOB, Folder::Inbox, "not Bob's")
    })
    .unwrap();
    assert_eq!(reader(&fixture).chosen(&outdated(1, 1), 0, 1000).unwrap(), [3]);
    assert!(!reader(&fixture).chosen(&Choice::Person(BOB.into()), 0, 1000).unwrap().contains(&3));
}

fn bob_like(fixture: &Fixture) -> PersonRecord {
    reader(fixture).catalogue.person_record(BOB).unwrap().unwrap()
}

#[test]
fn reporters_are_counted_over_the_newest() {
    let fixture = Fixture::new(SMALL);
    let name = epoch_name();
    let of = |host: &str, limit| {
        let gateway = Gateway { host, login: &name.login };
        let seen = reader(&fixture).reporters(gateway, limit).unwrap();
        seen.into_iter().map(|one| (one.domain, one.count)).collect::<Vec<_>>()
    };
    let decoded = fixture.mails.iter().filter(|mail| !mail.quarantined).count() as u64;
    // One item was seen twice.
    assert_eq!(of(&name.host, 1000), [("corp.example".to_owned(), decoded + 1)]);
    assert_eq!(of(&name.host, 5), [("corp.example".to_owned(), 5)]);
    assert!(of("elsewhere.example", 1000).is_empty());
}

#[test]
fn a_catalogue_of_an_older_version_is_made_anew_by_rebuild() {
    let fixture = Fixture::new(SMALL);
    let before = dump(&fixture.layout);
    let db = rusqlite::Connection::open(&fixture.layout.catalogue).unwrap();
    // What schema 1 had not, as far as `rebuild` could meet it.
    db.execute_batch(
        "UPDATE meta SET value = '1' WHERE key = 'schema'; DROP TABLE reporters; DROP TABLE tenures;
         DROP INDEX items_decoded; ALTER TABLE items DROP COLUMN decode_pack; ALTER TABLE items DROP COLUMN decode_offset;",
    )
    .unwrap();
    drop(db);
    let error = Reader::open(&fixture.layout).map(|_| ()).unwrap_err();
    assert!(error.hint.unwrap().contains("gatepost rebuild"), "{}", error.what);
    assert!(Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).is_err());
    rebuild(&fixture.layout, &Fs::real(), false, "a test").unwrap();
    assert_eq!(before, dump(&fixture.layout));
}
