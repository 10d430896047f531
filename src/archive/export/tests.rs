//! Exports of small archives: written, interrupted, continued, extended, changed and compared.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::super::error::ErrorKind;
use super::super::test_support::options as archive_options;
use super::super::test_support::*;
use super::super::{Core, Filing, Filter, Folder, Reader, Writer};
use super::manifest::{Part, SUMS, read};
use super::state::WORK;
use super::*;
use crate::base::digest::Digest;

const FORMATS: [Format; 4] = [Format::Eml, Format::Mbox, Format::Maildir, Format::Zip];

fn options(format: Format) -> ExportOptions {
    ExportOptions::new(format, Timestamp::UNIX_EPOCH)
}

fn everything(reader: &Reader) -> Vec<Entry> {
    let mut all = Vec::new();
    reader
        .list(&Filter::default(), &mut |entry| {
            all.push(entry);
            Ok(())
        })
        .unwrap();
    all
}

/// Exports these, as if they were all that the archive has.
fn export_some(
    reader: &Reader,
    entries: &[Entry],
    dir: &Path,
    options: ExportOptions,
    watch: &dyn Watch,
) -> Result<ExportReport> {
    let mut give = |visit: &mut dyn FnMut(Entry) -> Result<()>| entries.iter().cloned().try_for_each(visit);
    export(reader, &Selection::default(), &mut give, dir, options, watch)
}

fn export_all(reader: &Reader, dir: &Path, options: ExportOptions) -> Result<ExportReport> {
    export_some(reader, &everything(reader), dir, options, &Unwatched)
}

fn export_filter(reader: &Reader, filter: &Filter, dir: &Path, options: ExportOptions) -> Result<ExportReport> {
    let selection = Selection { filter: filter.clone(), search: None };
    export(reader, &selection, &mut |visit| reader.list(filter, visit), dir, options, &Unwatched)
}

fn manifest(dir: &Path, name: &str) -> Vec<ManifestEntry> {
    let mut entries = Vec::new();
    let manifest = read(&dir.join(name), &mut |_, part| {
        if let Part::Entry(entry) = part {
            entries.push(*entry);
        }
        Ok(())
    });
    assert!(manifest.unwrap().complete);
    entries
}

/// Every file with its bytes, links and folders without.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(path: &Path, at: &str, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{at}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => walk(&entry.path(), &format!("{name}/"), all),
                kind if kind.is_file() => _ = all.insert(name, std::fs::read(entry.path()).unwrap()),
                _ => {}
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, "", &mut all);
    all
}

fn check(dir: &Path, archive: Option<&Reader>) -> ExportCheck {
    verify_export(dir, archive, &Unwatched).unwrap()
}

fn is_good(dir: &Path, archive: Option<&Reader>) {
    let check = check(dir, archive);
    assert!(check.is_good(), "{:#?}", check.differences);
    // `SHA256SUMS` says the same of every file but itself.
    let mut files = files(dir);
    let sums = String::from_utf8(files.remove(SUMS).unwrap()).unwrap();
    for line in sums.lines() {
        let (sum, file) = line.split_once("  ").unwrap();
        assert_eq!(sum, Digest::of(&files.remove(file).unwrap()).to_string(), "{file}");
    }
    files.retain(|name, _| !name.ends_with("/maildirfolder"));
    assert!(files.is_empty(), "{:?}", files.keys());
}

#[test]
fn an_export_is_exact_and_hides_bcc_from_all_but_the_sender() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let dir = fixture.folder.path().join("out");
    let report = export_all(&reader, &dir, options(Format::Eml)).unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let entries = manifest(&dir, "manifest.json");
    assert_eq!(entries.len() as u64, report.exported);
    assert_eq!(report.redacted * 2, report.exported);
    for entry in &entries {
        let bytes = std::fs::read(dir.join(&entry.file)).unwrap();
        let original = &fixture.mails[entry.id as usize - 1].original;
        assert_eq!(entry.sha256_original, Digest::of(original));
        assert_eq!((entry.sha256_exported, entry.size), (Digest::of(&bytes), bytes.len() as u64));
        assert_eq!(entry.redacted, entry.person == BOB);
        assert_eq!(entry.redacted, bytes != *original);
        assert_eq!(entry.redacted, !String::from_utf8_lossy(&bytes).contains("secret-"));
        assert_eq!((entry.because.as_str(), entry.received), ("envelope", now()));
        let modified = std::fs::metadata(dir.join(&entry.file)).unwrap().modified().unwrap();
        assert_eq!(Timestamp::try_from(modified).unwrap(), entry.received);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&dir.join(&entry.file)), 0o600);
            assert_eq!(mode(dir.join(&entry.file).parent().unwrap()), 0o700);
        }
    }
    is_good(&dir, Some(&reader));
    // Another kind of export, or somebody's folder, is left alone.
    let with_envelope = ExportOptions { envelope: true, ..options(Format::Eml) };
    let error = export_all(&reader, &dir, with_envelope).unwrap_err();
    assert!(error.what.ends_with("it holds another export: eml of everything"), "{error}");
    assert!(export_all(&reader, &dir, options(Format::Mbox)).is_err());
    let person = Filter { person: Some(BOB.into()), ..Filter::default() };
    assert!(export_filter(&reader, &person, &dir, options(Format::Eml)).is_err());
    let full = fixture.folder.path().join("full");
    assert_eq!(export_filter(&reader, &person, &full, with_envelope).unwrap().redacted, 0);
    for entry in manifest(&full, "manifest.json") {
        assert_eq!(entry.sha256_exported, entry.sha256_original);
    }
    std::fs::remove_file(full.join("manifest.json")).unwrap();
    let error = export_filter(&reader, &person, &full, with_envelope).unwrap_err();
    assert!(error.what.contains("no export of gatepost"), "{error}");
}

#[test]
fn a_message_that_cannot_be_had_does_not_keep_the_others_back() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let chunk = reader.item(1).unwrap().chunks[0];
    let place = reader.catalogue.chunk(&chunk.sha256).unwrap().unwrap();
    let whole = fixture.pack(place.pack);
    let mut pack = whole.clone();
    pack[place.offset as usize + 100] ^= 1;
    fixture.put_pack(place.pack, &pack);
    for format in FORMATS {
        let reader = Reader::open(&fixture.layout).unwrap();
        let dir = fixture.folder.path().join(format.as_str());
        let report = export_all(&reader, &dir, options(format)).unwrap();
        let lost = report.failed.len() as u64;
        assert!(lost > 0 && report.failed.iter().all(|failure| failure.damaged));
        assert!(report.exported > lost);
        assert_eq!(manifest(&dir, "manifest.json").len() as u64, report.exported);
        let found = check(&dir, None);
        assert_eq!((found.differences.as_slice(), found.not_exported), (&[][..], lost));
    }
    // Once the archive is mended, the next run brings what was missing.
    fixture.put_pack(place.pack, &whole);
    for format in FORMATS {
        let reader = Reader::open(&fixture.layout).unwrap();
        let dir = fixture.folder.path().join(format.as_str());
        let since_last = ExportOptions { since_last: true, ..options(format) };
        let report = export_all(&reader, &dir, since_last).unwrap();
        assert!(report.exported > 0 && report.failed.is_empty());
        assert_eq!(check(&dir, None).not_exported, 0);
        is_good(&dir, Some(&reader));
    }
}

#[test]
fn each_run_adds_what_is_new_and_leaves_the_rest() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let all = everything(&reader);
    let total = all.len() as u64;
    for format in FORMATS {
        let dir = fixture.folder.path().join(format.as_str());
        let since_last = ExportOptions { since_last: true, ..options(format) };
        let first = export_some(&reader, &all[..10], &dir, since_last, &Unwatched).unwrap();
        assert_eq!((first.exported, first.manifest.as_deref()), (10, Some("manifest.json")));
        let before = files(&dir);
        let second = export_some(&reader, &all[5..], &dir, since_last, &Unwatched).unwrap();
        assert_eq!((second.exported, second.kept, second.earlier), (total - 10, 0, 5));
        assert_eq!((second.manifest.as_deref(), second.withdrawn.len()), (Some("manifest-0002.json"), 0));
        assert_eq!(manifest(&dir, "manifest-0002.json").len() as u64, total - 10);
        let after = files(&dir);
        for (name, bytes) in &before {
            let now = &after[name];
            assert!(now == bytes || name == SUMS || (format == Format::Mbox && now.starts_with(bytes)), "{name}");
        }
        is_good(&dir, Some(&reader));
        // Nothing new: nothing is changed, whichever way it is asked for.
        for again in [since_last, options(format)] {
            let report = export_some(&reader, &all, &dir, again, &Unwatched).unwrap();
            let (here, earlier) = if again.since_last { (0, total) } else { (total, 0) };
            assert_eq!((report.exported, report.kept, report.earlier, report.manifest), (here, here, earlier, None));
            assert_eq!(files(&dir), after);
        }
        let check = check(&dir, None);
        assert_eq!((check.runs, check.messages, check.head), (2, total, Some(reader.head().unwrap())));
    }
}

/// What went and came back lies there still: it is told again, and not written again.
#[test]
fn what_is_filed_again_after_it_was_withdrawn_is_told_again() {
    for format in FORMATS {
        let fixture = Fixture::new(SMALL);
        let dir = fixture.folder.path().join("out");
        let since_last = ExportOptions { since_last: true, ..options(format) };
        let run = || export_all(&Reader::open(&fixture.layout).unwrap(), &dir, since_last).unwrap();
        let changed = |job: fn(&mut Core) -> Result<()>| {
            let (writer, _) = Writer::open(archive_options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
            let archive = writer.handle();
            wait(archive.call(move |core| job(core).and_then(|()| core.close()))).unwrap();
            drop(archive);
            writer.finish().unwrap();
        };
        let total = run().exported;
        let before = files(&dir);
        changed(|core| core.withdraw(1, BOB, Folder::Inbox, "a test"));
        let gone = run();
        assert_eq!((gone.exported, gone.withdrawn.len(), gone.withdrawn[0].id), (0, 1, 1), "{format:?}");
        changed(|core| {
            let filing = Filing { person: BOB.into(), folder: Folder::Inbox, because: "a test".into() };
            core.file(1, vec![filing], Vec::new(), 1)
        });
        let again = run();
        assert_eq!((again.exported, again.kept, again.earlier), (1, 1, total - 1), "{format:?}");
        assert_eq!(manifest(&dir, "manifest-0003.json").len(), 1);
        is_good(&dir, None);
        let after = files(&dir);
        assert!(before.iter().all(|(name, bytes)| name == SUMS || after[name] == *bytes), "{format:?}");
        // Told twice, and there once.
        assert_eq!(run().manifest, None);
    }
}

/// Ends the work after so many messages.
struct Until(Cell<u64>);

impl Watch for Until {
    fn begin(&self, _: Phase, _: u64, _: u64) {}

    fn done(&self, _: u64, _: u64) {}

    fn is_told_to_stop(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

/// A folder without what says when it was made.
fn lasting(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(dir);
    files.retain(|name, _| !name.ends_with(".zip") && name != SUMS && !name.starts_with("manifest"));
    files
}

#[test]
fn an_export_that_is_stopped_anywhere_comes_to_the_same_end() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let all = everything(&reader);
    let volume = VolumeLimits { messages: 7, ..VolumeLimits::default() };
    for format in FORMATS {
        let options = ExportOptions { volume, ..options(format) };
        let straight = fixture.folder.path().join(format!("{}-straight", format.as_str()));
        export_some(&reader, &all[..20], &straight, options, &Unwatched).unwrap();
        export_some(&reader, &all, &straight, options, &Unwatched).unwrap();
        let dir = fixture.folder.path().join(format.as_str());
        let mut stops = 0;
        for entries in [&all[..20], &all[..]] {
            let mut patience = 1;
            let before = if dir.exists() { files(&dir) } else { BTreeMap::new() };
            loop {
                let watch = Until(Cell::new(patience));
                let report = export_some(&reader, entries, &dir, options, &watch).unwrap();
                if report.interrupted.is_none() {
                    break;
                }
                stops += 1;
                assert!(check(&dir, None).differences.iter().any(|found| found.found == Found::Interrupted));
                // What was appended and not noted, as a kill would leave it.
                let is_open = |name: &str, len: usize| {
                    name.ends_with(".mbox.part") || before.get(name).is_some_and(|before| before.len() < len)
                };
                let open = files(&dir).into_iter().filter(|(name, bytes)| is_open(name, bytes.len()));
                for (name, bytes) in open.filter(|(name, _)| name.contains(".mbox")) {
                    std::fs::write(dir.join(name), [bytes, b"From half".to_vec()].concat()).unwrap();
                }
                patience += if format == Format::Zip { 9 } else { 4 };
            }
            is_good(&dir, Some(&reader));
        }
        assert!(stops > 4, "{stops}");
        assert_eq!(lasting(&dir), lasting(&straight), "{format:?}");
        assert_eq!(manifest(&dir, "manifest-0002.json"), manifest(&straight, "manifest-0002.json"));
        assert!(!dir.join(WORK).exists());
    }
}

#[test]
fn what_an_interrupted_run_noted_is_believed_only_where_it_stands_there() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    for format in FORMATS {
        let volume = VolumeLimits { messages: 5, ..VolumeLimits::default() };
        let options = ExportOptions { volume, ..options(format) };
        for damage in 0..3 {
            let dir = fixture.folder.path().join(format!("{}-{damage}", format.as_str()));
            let all = everything(&reader);
            export_some(&reader, &all, &dir, options, &Until(Cell::new(17))).unwrap();
            let name = files(&dir).into_keys().find(|name| !name.starts_with(WORK)).unwrap();
            let path = dir.join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            match damage {
                0 => std::fs::remove_file(&path).unwrap(),
                1 => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    std::fs::write(&path, bytes).unwrap();
                }
                _ => std::fs::write(dir.join(WORK).join("state.sqlite3"), "no database").unwrap(),
            }
            let report = export_some(&reader, &all, &dir, options, &Unwatched).unwrap();
            assert_eq!(report.exported, all.len() as u64);
            is_good(&dir, Some(&reader));
        }
    }
}

#[test]
fn what_others_wrote_into_an_mbox_is_not_cut_off() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let all = everything(&reader);
    let dir = fixture.folder.path().join("out");
    let since_last = ExportOptions { since_last: true, ..options(Format::Mbox) };
    export_some(&reader, &all[..10], &dir, since_last, &Unwatched).unwrap();
    let path = dir.join("bob@corp.example/Inbox.mbox");
    let longer = [std::fs::read(&path).unwrap(), b"From x\n\nmine\n\n".to_vec()].concat();
    std::fs::write(&path, &longer).unwrap();
    let error = export_some(&reader, &all, &dir, since_last, &Unwatched).unwrap_err();
    assert!(error.what.contains("is not what was exported") && error.hint.is_some(), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), longer);
}

#[test]
fn a_work_folder_of_others_is_left_alone() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let dir = fixture.folder.path().join("out");
    let work = dir.join(WORK);
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("letter.txt"), "mine").unwrap();
    let error = export_all(&reader, &dir, options(Format::Eml)).unwrap_err();
    assert!(error.what.ends_with("is not gatepost's"), "{error}");
    std::fs::remove_file(work.join("letter.txt")).unwrap();
    std::fs::write(work.join("state.sqlite3"), "half").unwrap();
    export_all(&reader, &dir, options(Format::Eml)).unwrap();
    is_good(&dir, Some(&reader));
}

#[test]
fn two_runs_in_one_folder_do_not_meet() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let dir = fixture.folder.path().join("out");
    let mut other = None;
    let mut give = |visit: &mut dyn FnMut(Entry) -> Result<()>| {
        // While this run is at work another one begins.
        let another = Reader::open(&fixture.layout)?;
        other = Some(export_all(&another, &dir, options(Format::Eml)));
        everything(&reader).into_iter().try_for_each(visit)
    };
    export(&reader, &Selection::default(), &mut give, &dir, options(Format::Eml), &Unwatched).unwrap();
    let error = other.unwrap().unwrap_err();
    assert_eq!((error.kind, error.what.as_str()), (ErrorKind::Locked, "another export is at work in this folder"));
    is_good(&dir, None);
}

#[test]
fn a_plain_run_mends_what_is_missing_or_was_changed() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    for format in FORMATS {
        let dir = fixture.folder.path().join(format.as_str());
        export_all(&reader, &dir, options(format)).unwrap();
        let whole = files(&dir);
        let mail = |name: &&String| name.contains('/') || name.ends_with(".zip");
        let mut names = whole.keys().filter(mail).filter(|name| !name.ends_with("maildirfolder"));
        let (first, last) = (names.next().unwrap(), names.next_back());
        std::fs::remove_file(dir.join(first)).unwrap();
        if let Some(last) = last {
            std::fs::write(dir.join(last), "changed").unwrap();
        }
        let report = export_all(&reader, &dir, options(format));
        match format {
            Format::Eml | Format::Maildir => {
                let report = report.unwrap();
                assert_eq!((report.exported - report.kept, report.manifest), (2, None));
                assert_eq!(files(&dir), whole);
            }
            // In there nothing can be mended, and nothing may be added to what is not ours.
            Format::Mbox | Format::Zip => assert!(report.is_err()),
        }
    }
}

#[test]
fn zip_volumes_are_exports_of_their_own() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let dir = fixture.folder.path().join("out");
    let volume = VolumeLimits { messages: 9, ..VolumeLimits::default() };
    let report = export_all(&reader, &dir, ExportOptions { volume, ..options(Format::Zip) }).unwrap();
    let volumes: Vec<String> = files(&dir).into_keys().filter(|name| name.ends_with(".zip")).collect();
    assert_eq!(volumes.len() as u64, report.exported.div_ceil(9));
    let mut messages = 0;
    for volume in &volumes {
        let mut zip = ::zip::ZipArchive::new(std::fs::File::open(dir.join(volume)).unwrap()).unwrap();
        let out = fixture.folder.path().join(volume);
        zip.extract(&out).unwrap();
        is_good(&out, Some(&reader));
        messages += check(&out, None).messages;
    }
    assert_eq!(messages, report.exported);
}

#[test]
fn every_change_of_an_export_is_found() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    for format in FORMATS {
        let dir = fixture.folder.path().join(format.as_str());
        let all = everything(&reader);
        export_some(&reader, &all[..12], &dir, options(format), &Unwatched).unwrap();
        export_all(&reader, &dir, options(format)).unwrap();
        is_good(&dir, Some(&reader));
        let mail = files(&dir).into_keys().find(|name| name.contains('/') || name.ends_with(".zip")).unwrap();
        let in_file = |change: &dyn Fn(&mut Vec<u8>), name: &str| {
            let mut bytes = std::fs::read(dir.join(name)).unwrap();
            change(&mut bytes);
            std::fs::write(dir.join(name), bytes).unwrap();
        };
        let text = |name: &str, from: &str, to: &str| {
            let text = std::fs::read_to_string(dir.join(name)).unwrap();
            assert!(text.contains(from), "{name}: {from}");
            std::fs::write(dir.join(name), text.replacen(from, to, 1)).unwrap();
        };
        let (first, second) = ("manifest.json", "manifest-0002.json");
        type Change<'a> = &'a dyn Fn();
        let changes: [(Found, Change<'_>); 14] = [
            (Found::Missing, &|| std::fs::remove_file(dir.join(&mail)).unwrap()),
            (Found::Changed, &|| in_file(&|bytes| bytes[50] ^= 1, &mail)),
            (Found::Changed, &|| in_file(&|bytes| bytes.push(b'\n'), &mail)),
            (Found::Changed, &|| in_file(&|bytes| _ = bytes.pop(), &mail)),
            (Found::Extra, &|| std::fs::write(dir.join("more.eml"), "").unwrap()),
            (Found::Extra, &|| std::fs::write(dir.join(ANNA).join("deep"), "").unwrap()),
            (Found::Sums, &|| in_file(&|bytes| bytes[0] ^= 1, SUMS)),
            (Found::Sums, &|| in_file(&|bytes| bytes.truncate(bytes.len() / 2), SUMS)),
            (Found::Missing, &|| std::fs::remove_file(dir.join(SUMS)).unwrap()),
            (Found::Manifest, &|| text(first, "\"run\": 1", "\"run\": 1 ")),
            (Found::Manifest, &|| text(second, "\"complete\": true", "\"complete\": false")),
            (Found::Manifest, &|| in_file(&|bytes| bytes.truncate(bytes.len() / 2), second)),
            (Found::Missing, &|| std::fs::remove_file(dir.join(first)).unwrap()),
            (Found::Extra, &|| std::fs::remove_file(dir.join(second)).unwrap()),
        ];
        for (n, (expected, change)) in changes.into_iter().enumerate() {
            // Of the person's folder of a zip there is none; without the second manifest a mail of it is left over.
            if format == Format::Zip && n == 5 || format == Format::Mbox && n == 13 {
                continue;
            }
            let before = files(&dir);
            change();
            // Without its first manifest and without a work folder it is no export at all.
            match verify_export(&dir, None, &Unwatched) {
                Ok(check) => {
                    let kinds: Vec<Found> = check.differences.iter().map(|difference| difference.found).collect();
                    assert!(kinds.contains(&expected), "{format:?}, change {n}: {:#?}", check.differences);
                }
                Err(error) => assert!(n == 12 && error.what.contains("no manifest.json"), "{error}"),
            }
            for name in files(&dir).keys().filter(|name| !before.contains_key(*name)) {
                std::fs::remove_file(dir.join(name)).unwrap();
            }
            before.iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
            assert!(check(&dir, None).is_good());
        }
    }
}

#[test]
fn no_path_of_a_manifest_leads_out_of_the_folder() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let dir = fixture.folder.path().join("out");
    let all = everything(&reader);
    export_some(&reader, &all[..3], &dir, options(Format::Eml), &Unwatched).unwrap();
    let entry = manifest(&dir, "manifest.json").remove(0);
    let outside = fixture.folder.path().join("outside.eml");
    let bytes = std::fs::read(dir.join(&entry.file)).unwrap();
    std::fs::write(&outside, &bytes).unwrap();
    let manifest = std::fs::read_to_string(dir.join("manifest.json")).unwrap();
    let absolute = outside.to_str().unwrap().to_owned();
    for path in ["../outside.eml", "a/../../outside.eml", &absolute, "./x.eml", "a//x.eml", "C:/x.eml", ".", ""] {
        let path = path.replace('\\', "\\\\");
        std::fs::write(dir.join("manifest.json"), manifest.replace(&entry.file, &path)).unwrap();
        let found = check(&dir, None).differences;
        assert!(found.iter().any(|difference| difference.found == Found::Path), "{path}: {found:#?}");
    }
    std::fs::write(dir.join("manifest.json"), &manifest).unwrap();
    #[cfg(unix)]
    for link in [dir.join(&entry.file), dir.join(&entry.person)] {
        let aside = fixture.folder.path().join("aside");
        std::fs::rename(&link, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &link).unwrap();
        let found = check(&dir, None).differences;
        assert!(found.iter().any(|difference| difference.found == Found::Path), "{found:#?}");
        // Nor does a run write through it.
        if link.ends_with(&entry.person) {
            let error = export_some(&reader, &all, &dir, options(Format::Eml), &Unwatched).unwrap_err();
            assert!(error.what.contains("no folder"), "{error}");
        }
        std::fs::remove_file(&link).unwrap();
        std::fs::rename(&aside, &link).unwrap();
        let _ = std::fs::remove_dir_all(dir.join(WORK));
    }
    is_good(&dir, None);
}

#[test]
fn manifests_of_others_are_refused_with_a_reason() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let endless = format!("{{\"gatepost_export\": \"{}\"", "x".repeat(5 << 20));
    for (text, why) in [
        ("", "EOF"),
        ("[]", "a manifest of an export"),
        ("{}", "no entries"),
        ("{\"entries\": []}", "not one of gatepost's"),
        ("{\"gatepost_export\": 1, \"entries\": []}", "another version"),
        ("{\"gatepost_export\": 2, \"entries\": []}", "missing field"),
        (&endless, "too long"),
        (&"[".repeat(100_000), "a manifest of an export"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("manifest.json"), text).unwrap();
        let error = export_all(&reader, dir.path(), options(Format::Eml)).unwrap_err();
        assert!(error.what.contains(why) && error.hint.is_some(), "{why}: {error}");
        let found = check(dir.path(), None).differences;
        assert!(found[0].found == Found::Manifest && found[0].what.contains(why), "{why}: {found:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is written there");
    }
}

#[test]
fn a_record_is_one_moments_and_has_pages() {
    let fixture = Fixture::new(SMALL);
    let reader = Reader::open(&fixture.layout).unwrap();
    let dir = fixture.folder.path().join("record");
    let person = Filter { person: Some(BOB.into()), ..Filter::default() };
    let record = ExportOptions { kind: Kind::Record, ..options(Format::Eml) };
    let report = export_filter(&reader, &person, &dir, record).unwrap();
    let page = std::fs::read_to_string(dir.join("index.html")).unwrap();
    assert_eq!(page.matches("<tr><td>").count() as u64, report.exported);
    assert!(page.contains("Content-Security-Policy") && !page.contains("<script") && !page.contains("secret-"));
    assert!(page.contains("alias-bob@corp.example") && page.contains("named in the configuration"), "{page}");
    let table = std::fs::read_to_string(dir.join("index.csv")).unwrap();
    assert_eq!(csv::Reader::from_reader(table.as_bytes()).records().count() as u64, report.exported);
    for entry in manifest(&dir, "manifest.json") {
        assert!(page.contains(&format!("href=\"./{}\"", entry.file)) && table.contains(&entry.file));
        assert_eq!((entry.person.as_str(), entry.folder), (BOB, Folder::Inbox));
    }
    is_good(&dir, Some(&reader));
    let error = export_filter(&reader, &person, &dir, record).unwrap_err();
    assert!(error.what.contains("a whole record already"), "{error}");
    let export = export_filter(&reader, &person, &dir, options(Format::Eml)).unwrap_err();
    assert!(export.what.contains("another export: a record of person bob@corp.example"), "{export}");
}
