//! Damage of every kind, against `verify` and `rebuild`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::frame::{HEAD_LEN, Kind};
use super::pack::{Found, Scan};
use super::test_support::*;
use super::*;
use crate::base::fsio::Fs;

fn check(layout: &Layout) -> VerifyReport {
    verify(layout, &VerifyOptions::default(), &mut |done, total| assert!(done <= total)).unwrap()
}

struct Part {
    kind: Option<Kind>,
    start: usize,
    end: usize,
    /// Items of the record itself: an item's number, or those that a chunk is in.
    items: BTreeSet<u64>,
}

/// The records of a pack; an index has no kind.
fn parts(fixture: &Fixture, no: u64) -> Vec<Part> {
    let reader = Reader::open(&fixture.layout).unwrap();
    let users = |sha256| -> BTreeSet<u64> {
        let all = (1..=fixture.mails.len() as u64).map(|item| reader.item(item).unwrap());
        all.filter(|item| item.chunks.iter().any(|chunk| chunk.sha256 == sha256)).map(|item| item.item).collect()
    };
    let path = fixture.layout.pack(no);
    let file = Fs::real().open_read_only(&path).unwrap();
    let mut scan = Scan::new(&file, no, 0).unwrap();
    let mut parts = Vec::new();
    loop {
        let start = scan.at as usize;
        let Some(found) = scan.next().unwrap() else { return parts };
        let (kind, items) = match found {
            Found::Chunk { head, .. } => (Some(head.kind), users(head.payload)),
            Found::Record { head, record, .. } => match *record {
                record::Record::Item(item) => (Some(head.kind), BTreeSet::from([item.item])),
                record::Record::Sighting(sighting) => (Some(head.kind), BTreeSet::from([sighting.item])),
                record::Record::Filing(filing) => (Some(head.kind), BTreeSet::from([filing.filing])),
                _ => (Some(head.kind), BTreeSet::new()),
            },
            Found::Index { .. } => (None, BTreeSet::new()),
            Found::Damage { .. } => panic!("a pack that was just written is damaged at {start}"),
        };
        parts.push(Part { kind, start, end: scan.at as usize, items });
    }
}

fn rebuild_here(layout: &Layout, accept_loss: bool) -> Result<RebuildReport> {
    rebuild(layout, &Fs::real(), accept_loss, "a test")
}

#[test]
fn a_whole_archive_is_called_whole() {
    for shape in [SMALL, LARGER] {
        let fixture = Fixture::new(shape);
        let report = check(&fixture.layout);
        assert!(report.ok, "{report:?}");
        let reader = Reader::open(&fixture.layout).unwrap();
        let volume = reader.volume().unwrap();
        assert_eq!(
            (report.items, report.messages, report.filings, report.chunks, report.commits, report.head),
            (volume.items, volume.messages, volume.filings, volume.chunks, volume.commits, volume.head)
        );
        assert_eq!((report.bytes_raw, report.bytes_stored), (volume.bytes_raw, volume.bytes_stored));
        assert!(report.torn_tail.is_none() && report.unacknowledged == 0);
        let sampled = VerifyOptions { sample: Some((2, 3)), ..VerifyOptions::default() };
        assert!(verify(&fixture.layout, &sampled, &mut |_, _| {}).unwrap().ok);
    }
}

#[test]
fn zstd_alone_prints_every_pack_and_names_each_mail() {
    let fixture = Fixture::new(SMALL);
    let mut printed = String::new();
    for no in 1..=fixture.newest_pack() {
        let out = zstd::decode_all(fixture.pack(no).as_slice()).unwrap();
        printed.push_str(&String::from_utf8_lossy(&out));
    }
    let reader = Reader::open(&fixture.layout).unwrap();
    let mut names = 0;
    reader
        .list(&Filter::default(), &mut |entry| {
            names += 1;
            assert!(printed.contains(&format!("\"message_id\":\"{}\"", entry.message_id.unwrap())));
            Ok(())
        })
        .unwrap();
    assert!(names > 20 && printed.contains("secret-3@corp.example"));
}

#[test]
fn a_flipped_byte_anywhere_is_damage_and_names_the_items_it_touches() {
    let fixture = Fixture::new(SMALL);
    let mut flips = 0;
    for no in 1..=fixture.newest_pack() {
        let pack = fixture.pack(no);
        for part in parts(&fixture, no) {
            let mut at: BTreeSet<usize> = (part.start..part.end).step_by(293).collect();
            // Magic, length, word, type, reserved, lengths, digest, both checksums; first and last byte.
            at.extend([0, 5, 9, 12, 13, 22, 30, 40, 70, 73].map(|byte| part.start + byte));
            at.extend([part.start + HEAD_LEN, part.end - 1]);
            for at in at {
                let mut damaged = pack.clone();
                damaged[at] ^= 1 << (at % 8);
                fixture.put_pack(no, &damaged);
                let report = check(&fixture.layout);
                let place = format!("pack {no} byte {at} of {:?} at {}: {:?}", part.kind, part.start, report.damaged);
                assert!(!report.ok && !report.damaged.is_empty(), "{place}");
                assert!(report.damaged.iter().all(|damage| damage.pack == no || !damage.items.is_empty()), "{place}");
                let named: BTreeSet<u64> = report.damaged.iter().flat_map(|damage| damage.item_ids.clone()).collect();
                assert!(part.items.is_subset(&named), "{place}");
                if matches!(part.kind, Some(Kind::Chunk | Kind::Item)) {
                    assert_eq!(part.items, named, "{place}");
                    assert!(report.damaged[0].offset == part.start as u64, "{place}");
                    let text = report.damaged.iter().flat_map(|damage| &damage.items).next().unwrap();
                    assert!(text.contains("(uid ") && text.contains(" of INBOX)"), "{place}");
                }
                flips += 1;
            }
        }
        fixture.put_pack(no, &pack);
    }
    assert!(flips > 1500, "{flips}");
    assert!(check(&fixture.layout).ok);
}

#[test]
fn damage_is_found_without_a_catalogue_too_but_for_the_last_batch() {
    let fixture = Fixture::new(SMALL);
    let all: Vec<_> = (1..=fixture.newest_pack()).map(|no| parts(&fixture, no)).collect();
    std::fs::remove_file(&fixture.layout.catalogue).unwrap();
    let whole = check(&fixture.layout);
    assert!(whole.damaged.is_empty() && !whole.ok && whole.catalogue_differences.len() == 1);
    for (no, parts) in (1..).zip(all) {
        let pack = fixture.pack(no);
        let last = no == fixture.newest_pack();
        for part in parts {
            for at in [part.start + 12, part.end - 1] {
                let mut damaged = pack.clone();
                damaged[at] ^= 0x40;
                fixture.put_pack(no, &damaged);
                let report = check(&fixture.layout);
                let place = format!("pack {no} byte {at} of {:?}: {:?}", part.kind, report.damaged);
                if last && report.torn_tail.is_some() {
                    assert!(report.damaged.is_empty(), "{place}");
                } else {
                    let named: BTreeSet<u64> =
                        report.damaged.iter().flat_map(|damage| damage.item_ids.clone()).collect();
                    assert!(!report.damaged.is_empty() && part.items.is_subset(&named), "{place}");
                }
            }
        }
        fixture.put_pack(no, &pack);
    }
}

#[test]
fn packs_that_are_missing_or_short_are_damage() {
    let fixture = Fixture::new(SMALL);
    for no in 1..=fixture.newest_pack() {
        let pack = fixture.pack(no);
        let own: BTreeSet<u64> = parts(&fixture, no)
            .iter()
            .filter(|part| matches!(part.kind, Some(Kind::Item)))
            .flat_map(|part| part.items.clone())
            .collect();
        std::fs::remove_file(fixture.layout.pack(no)).unwrap();
        let report = check(&fixture.layout);
        let named: BTreeSet<u64> = report.damaged.iter().flat_map(|damage| damage.item_ids.clone()).collect();
        assert!(!report.damaged.is_empty() && own.is_subset(&named), "{:?}", report.damaged);
        assert_eq!(rebuild_here(&fixture.layout, false).unwrap_err().kind, ErrorKind::Damaged);
        for len in [0, 1, 76, pack.len() / 3, pack.len() / 2, pack.len() - 200, pack.len() - 1] {
            fixture.put_pack(no, &pack[..len]);
            let report = check(&fixture.layout);
            assert!(!report.damaged.is_empty() && report.torn_tail.is_none(), "pack {no} cut to {len}: {report:?}");
            assert_eq!(rebuild_here(&fixture.layout, false).unwrap_err().kind, ErrorKind::Damaged, "{len}");
        }
        fixture.put_pack(no, &[pack.as_slice(), b"more"].concat());
        let report = check(&fixture.layout);
        assert_eq!(no == fixture.newest_pack(), report.damaged.is_empty(), "{report:?}");
        assert_eq!(no == fixture.newest_pack(), report.torn_tail.is_some());
        fixture.put_pack(no, &pack);
    }
    assert!(check(&fixture.layout).ok);
}

#[test]
fn a_catalogue_that_says_something_else_is_told_row_by_row() {
    let fixture = Fixture::new(SMALL);
    let db = rusqlite::Connection::open(&fixture.layout.catalogue).unwrap();
    let changes = [
        "DELETE FROM filings WHERE item = 3",
        "UPDATE chunks SET offset = offset + 1 WHERE rowid IN (SELECT 1) OR raw > 15000",
        "UPDATE sightings SET gone = 'deleted' WHERE native = '7'",
        "INSERT INTO sightings VALUES (1, '999', 1, 1, '', 'archived', 1, 0, 1, NULL, NULL)",
        "UPDATE items SET size = size + 1 WHERE id = 5",
    ];
    for sql in changes {
        let Ok(changed) = db.execute(sql, []) else { continue };
        assert!(changed > 0, "{sql}");
        let report = check(&fixture.layout);
        assert!(!report.ok && report.damaged.is_empty() && !report.catalogue_differences.is_empty(), "{sql}");
    }
    drop(db);
    rebuild_here(&fixture.layout, false).unwrap();
    assert!(check(&fixture.layout).ok);
}

#[test]
fn the_expected_head_must_be_in_the_chain() {
    let fixture = Fixture::new(SMALL);
    let head = Reader::open(&fixture.layout).unwrap().head().unwrap();
    let with = |head| {
        let options = VerifyOptions { expect_head: Some(head), ..VerifyOptions::default() };
        verify(&fixture.layout, &options, &mut |_, _| {}).unwrap()
    };
    assert!(with(head).ok);
    let db = rusqlite::Connection::open(&fixture.layout.catalogue).unwrap();
    let hash: Vec<u8> = db.query_row("SELECT hash FROM commits WHERE seq = 2", [], |row| row.get(0)).unwrap();
    let second = Head { seq: 2, hash: crate::base::digest::Digest::from_slice(&hash).unwrap() };
    assert!(with(second).ok);
    for wrong in [Head { seq: head.seq + 1, ..head }, Head { seq: 1, ..head }, Head { seq: 0, ..head }] {
        let report = with(wrong);
        assert!(!report.ok && report.damaged[0].what.contains("expected head"), "{report:?}");
    }
}

#[test]
fn a_lost_catalogue_stops_the_writer_and_is_made_anew_as_it_was() {
    for (shape, elsewhere) in [(SMALL, false), (LARGER, true)] {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = elsewhere.then(|| folder.path().join("local.db"));
        let layout = Layout::new(&folder.path().join("archive"), catalogue.as_deref());
        let fixture = Fixture::at(folder, layout, shape);
        let before = dump(&fixture.layout);
        std::fs::remove_file(&fixture.layout.catalogue).unwrap();
        let error = Writer::open(options(&fixture.layout, shape.pack_bytes_max)).err().unwrap();
        assert!(error.hint.unwrap().contains("gatepost rebuild"));
        // What an earlier attempt left, and a log that must not be played into the new catalogue.
        for name in [".new", ".new-wal"] {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(fixture.layout.catalogue.file_name().unwrap());
            hidden.push(name);
            std::fs::write(fixture.layout.catalogue.with_file_name(hidden), b"left").unwrap();
        }
        let mut log = fixture.layout.catalogue.clone().into_os_string();
        log.push("-wal");
        std::fs::write(&log, b"stale").unwrap();
        let report = rebuild_here(&fixture.layout, false).unwrap();
        assert_eq!((report.items, &report.torn_tail), (shape.items as u64, &None));
        assert_eq!(dump(&fixture.layout), before);
        // Also over one that is there, and over one that is none.
        rebuild_here(&fixture.layout, false).unwrap();
        assert_eq!(dump(&fixture.layout), before);
        std::fs::write(&fixture.layout.catalogue, b"this is not a database, and long enough to say so").unwrap();
        assert!(!check(&fixture.layout).ok);
        let report = rebuild_here(&fixture.layout, false).unwrap();
        assert!(report.moved_aside.unwrap().exists());
        assert_eq!(dump(&fixture.layout), before);
        assert!(check(&fixture.layout).ok);
        Writer::open(options(&fixture.layout, shape.pack_bytes_max)).unwrap().0.finish().unwrap();
        assert_eq!(dump(&fixture.layout), before);
    }
}

#[test]
fn an_unread_log_of_the_old_catalogue_is_never_played_into_the_new_one() {
    let fixture = Fixture::new(SMALL);
    let before = dump(&fixture.layout);
    // A process that was killed leaves its log: kept by a copy while a connection is open.
    let log = with_wal(&fixture.layout);
    let db = rusqlite::Connection::open(&fixture.layout.catalogue).unwrap();
    db.execute("DELETE FROM sightings WHERE native = '5'", []).unwrap();
    let stale = std::fs::read(&log).unwrap();
    assert!(!stale.is_empty());
    drop(db);
    std::fs::write(&log, &stale).unwrap();
    rebuild_here(&fixture.layout, false).unwrap();
    assert!(!log.exists());
    assert_eq!(dump(&fixture.layout), before);
}

fn with_wal(layout: &Layout) -> std::path::PathBuf {
    let mut log = layout.catalogue.clone().into_os_string();
    log.push("-wal");
    log.into()
}

#[test]
fn every_step_of_the_swap_may_be_the_last() {
    let fixture = Fixture::new(SMALL);
    let before = dump(&fixture.layout);
    for at in 1..40 {
        let plan = crate::base::fsio::Plan {
            fail: Some(crate::base::fsio::Fail { at, for_good: true, how: crate::base::fsio::How::Error }),
            ..Default::default()
        };
        let fs = Fs::with_plan(plan);
        let failed = rebuild(&fixture.layout, &fs, false, "a test").is_err();
        if fixture.layout.catalogue.exists() {
            assert_eq!(dump(&fixture.layout), before, "step {at}");
        }
        rebuild_here(&fixture.layout, false).unwrap();
        assert_eq!(dump(&fixture.layout), before, "step {at}");
        if !failed && !fs.counted().1 {
            return;
        }
    }
    panic!("the swap has no end");
}

#[test]
fn a_rebuild_refuses_damage_and_accepts_loss_when_told() {
    let fixture = Fixture::new(SMALL);
    let before = dump(&fixture.layout);
    let part = parts(&fixture, 1).into_iter().find(|part| matches!(part.kind, Some(Kind::Chunk))).unwrap();
    let mut pack = fixture.pack(1);
    pack[part.end - 1] ^= 1;
    fixture.put_pack(1, &pack);
    let error = rebuild_here(&fixture.layout, false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert_eq!(dump(&fixture.layout), before);
    let report = rebuild_here(&fixture.layout, true).unwrap();
    assert_eq!(report.lost[0].item_ids, Vec::from_iter(part.items.clone()));
    assert_eq!(report.items, SMALL.items as u64 - part.items.len() as u64);
    let reader = Reader::open(&fixture.layout).unwrap();
    let mut listed = BTreeSet::new();
    reader
        .list(&Filter::default(), &mut |entry| {
            listed.insert(entry.item);
            reader.original_bytes(entry.item, &mut std::io::sink())
        })
        .unwrap();
    assert!(listed.is_disjoint(&part.items) && listed.len() > 10);
    // The agent goes on with it.
    let (writer, _) = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn accepted_loss_leaves_a_catalogue_that_the_writer_takes_whatever_was_damaged() {
    let fixture = Fixture::new(SMALL);
    let kept = std::fs::read(&fixture.layout.catalogue).unwrap();
    for no in [1, 2, fixture.newest_pack()] {
        let pack = fixture.pack(no);
        for part in parts(&fixture, no) {
            for at in [part.start + 12, part.end - 1] {
                let mut damaged = pack.clone();
                damaged[at] ^= 1;
                fixture.put_pack(no, &damaged);
                put(&fixture.layout.catalogue, &kept);
                let place = format!("pack {no} byte {at} of {:?}", part.kind);
                let report = rebuild_here(&fixture.layout, true).unwrap_or_else(|error| panic!("{place}: {error}"));
                assert!(!report.lost.is_empty(), "{place}");
                let reader = Reader::open(&fixture.layout).unwrap();
                reader
                    .list(&Filter::default(), &mut |entry| reader.original_bytes(entry.item, &mut std::io::sink()))
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
                drop(reader);
                // (The writer would cut the torn end; a copy of the newest pack is put back above.)
                let opened = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max));
                opened.unwrap_or_else(|error| panic!("{place}: {error}")).0.finish().unwrap();
                for extra in fixture.layout.list_packs().unwrap() {
                    if extra > no.max(fixture.newest_pack()) {
                        std::fs::remove_file(fixture.layout.pack(extra)).unwrap();
                    }
                }
            }
        }
        fixture.put_pack(no, &pack);
    }
}

#[test]
fn packs_that_are_older_than_the_catalogue_are_not_rebuilt_over() {
    let fixture = Fixture::new(SMALL);
    let newest = fixture.newest_pack();
    let before = dump(&fixture.layout);
    let last = parts(&fixture, newest).into_iter().rfind(|part| matches!(part.kind, Some(Kind::Commit))).unwrap();
    let commits: Vec<usize> = parts(&fixture, newest)
        .iter()
        .filter(|part| matches!(part.kind, Some(Kind::Commit)))
        .map(|part| part.end)
        .filter(|end| *end != last.end)
        .collect();
    let pack = fixture.pack(newest);
    let cut = commits.last().copied().unwrap_or(0);
    if cut == 0 {
        std::fs::remove_file(fixture.layout.pack(newest)).unwrap();
    } else {
        fixture.put_pack(newest, &pack[..cut]);
    }
    let error = rebuild_here(&fixture.layout, false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert_eq!(dump(&fixture.layout), before);
    let report = rebuild_here(&fixture.layout, true).unwrap();
    assert!(!report.lost.is_empty());
    Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap().0.finish().unwrap();
}

#[test]
fn a_torn_tail_is_reported_and_left_for_the_writer() {
    let fixture = Fixture::new(SMALL);
    let newest = fixture.newest_pack();
    let pack = fixture.pack(newest);
    let before = dump(&fixture.layout);
    let part = &parts(&fixture, 1)[1];
    let torn = &fixture.pack(1)[part.start..part.end + 30];
    for tail in [&torn[..10], torn, b"rubbish".as_slice()] {
        let longer = [pack.as_slice(), tail].concat();
        fixture.put_pack(newest, &longer);
        let report = check(&fixture.layout);
        assert!(report.ok, "{report:?}");
        let found = report.torn_tail.unwrap();
        assert_eq!((found.pack, found.offset, found.bytes), (newest, pack.len() as u64, tail.len() as u64));
        let report = rebuild_here(&fixture.layout, false).unwrap();
        assert_eq!(report.torn_tail.unwrap().bytes, tail.len() as u64);
        assert_eq!(dump(&fixture.layout), before);
        assert_eq!(fixture.pack(newest), longer);
    }
    let (writer, mended) = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
    assert!(mended[0].contains("belong to no complete batch"), "{mended:?}");
    writer.finish().unwrap();
    assert!(check(&fixture.layout).ok);
}

#[test]
fn complete_batches_behind_the_acknowledged_one_are_told_and_taken_over_by_a_rebuild() {
    let fixture = Fixture::new(SMALL);
    let kept = std::fs::read(&fixture.layout.catalogue).unwrap();
    let (writer, _) = Writer::open(options(&fixture.layout, 1 << 30)).unwrap();
    let handle = writer.handle();
    wait(handle.call(|core| core.event("later", "a test", serde_json::Value::Null))).unwrap();
    let head = wait(handle.commit()).unwrap();
    drop(handle);
    writer.finish().unwrap();
    let after = dump(&fixture.layout);
    put(&fixture.layout.catalogue, &kept);
    let report = check(&fixture.layout);
    assert!(report.ok && report.unacknowledged == 1, "{report:?}");
    assert_eq!(rebuild_here(&fixture.layout, false).unwrap().head, head);
    assert_eq!(dump(&fixture.layout), after);
}

#[test]
fn an_index_without_a_seal_is_a_torn_tail_for_everybody() {
    let fixture = Fixture::new(SMALL);
    let parts = parts(&fixture, 1);
    let index = parts.iter().find(|part| part.kind.is_none()).unwrap();
    let pack = fixture.pack(1);
    // As if the process had ended between index and seal, when this pack was the newest.
    for no in 2..=fixture.newest_pack() {
        std::fs::remove_file(fixture.layout.pack(no)).unwrap();
    }
    for end in [index.end, index.end - 3, index.end + 40] {
        std::fs::remove_file(&fixture.layout.catalogue).unwrap();
        fixture.put_pack(1, &pack[..end]);
        let report = check(&fixture.layout);
        assert_eq!(report.torn_tail.unwrap().offset, index.start as u64, "{end}");
        let report = rebuild_here(&fixture.layout, false).unwrap();
        assert_eq!(report.torn_tail.unwrap().offset, index.start as u64, "{end}");
        let (writer, mended) = Writer::open(options(&fixture.layout, 1 << 30)).unwrap();
        assert!(!mended.is_empty());
        writer.finish().unwrap();
        let report = check(&fixture.layout);
        assert!(report.ok && report.torn_tail.is_none(), "{end}: {report:?}");
    }
}

#[test]
fn a_locked_archive_is_not_rebuilt_and_another_archives_catalogue_is_left_alone() {
    let fixture = Fixture::new(SMALL);
    let (writer, _) = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
    assert_eq!(rebuild_here(&fixture.layout, false).unwrap_err().kind, ErrorKind::Locked);
    // Verifying goes on beside the writer.
    assert!(check(&fixture.layout).ok);
    writer.finish().unwrap();
    let other = Fixture::new(SMALL);
    let foreign = std::fs::read(&other.layout.catalogue).unwrap();
    put(&fixture.layout.catalogue, &foreign);
    assert!(rebuild_here(&fixture.layout, false).is_err());
    assert!(std::fs::read(&fixture.layout.catalogue).unwrap() == foreign);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to acknowledged bytes: no panic, and never called whole.
    #[test]
    fn no_mutation_of_a_pack_goes_unnoticed(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..5, any::<u8>(), 1usize..90), 1..5),
        which in any::<prop::sample::Index>(),
        with_catalogue in any::<bool>(),
    ) {
        thread_local!(static FIXTURE: Fixture = Fixture::new(SMALL));
        FIXTURE.with(|fixture| -> std::result::Result<(), TestCaseError> {
            let no = which.index(fixture.newest_pack() as usize) as u64 + 1;
            let pack = fixture.pack(no);
            let mut changed = pack.clone();
            for (at, edit, byte, len) in &edits {
                if changed.is_empty() {
                    break;
                }
                let at = at.index(changed.len());
                let end = (at + len).min(changed.len());
                match edit {
                    0 => changed[at] = *byte,
                    1 => changed[at..end].fill(*byte),
                    2 => drop(changed.drain(at..end)),
                    3 => {
                        let part = changed[at..end].to_vec();
                        changed.splice(at..at, part);
                    }
                    _ => changed.truncate(at),
                }
            }
            prop_assume!(!changed.starts_with(&pack));
            let aside = fixture.folder.path().join("aside");
            fixture.put_pack(no, &changed);
            if !with_catalogue {
                std::fs::rename(&fixture.layout.catalogue, &aside).unwrap();
            }
            let report = verify(&fixture.layout, &VerifyOptions::default(), &mut |_, _| {});
            if !with_catalogue {
                std::fs::rename(&aside, &fixture.layout.catalogue).unwrap();
            }
            fixture.put_pack(no, &pack);
            let report = report.unwrap();
            prop_assert!(!report.ok);
            prop_assert!(!with_catalogue || !report.damaged.is_empty(), "{:?}", report);
            Ok(())
        })?;
    }
}
