//! Single moments of a crash, each by its name: what the tests of every step have found once, and what
//! they can only meet by chance.

use gatepost::archive::{Catalogue, ErrorKind};
use gatepost::base::fsio::{Fail, Fs, How, Op};

use super::support::bench::{Bench, Setup, bulky, few, varied};
use super::support::history::{self, History};

fn mails() -> Vec<super::support::bench::Put> {
    few(51, 24)
}

/// What a run does, in order; enough for several packs.
fn undisturbed() -> (Bench, History) {
    let bench = Bench::holding(Setup::default(), &mails());
    let (history, said) = history::record(&bench, &[None]);
    said[0].as_ref().unwrap();
    (bench, history)
}

/// The number (from 1) of the first operation for which this holds.
fn first(history: &History, is: impl Fn(&Op) -> bool) -> u64 {
    history.ops.iter().position(is).expect("the run has such an operation") as u64 + 1
}

/// Fails there, and then goes through.
fn fails_and_goes_on(at: u64, for_good: bool) -> Bench {
    let bench = Bench::holding(Setup::default(), &mails());
    let (_, said) = history::record(&bench, &[Some(Fail { at, for_good, how: How::Error }), None]);
    assert!(said[0].is_err());
    said[1].as_ref().unwrap();
    bench.nothing_is_lost("after the second run");
    assert!(bench.state().left.is_empty());
    bench
}

fn packs(bench: &Bench) -> Vec<std::path::PathBuf> {
    let mut packs: Vec<_> =
        std::fs::read_dir(bench.layout().packs()).unwrap().map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

fn is_read_only(path: &std::path::Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().readonly()
}

/// The process ended between the creation of a pack and its first byte.
#[test]
fn a_pack_that_was_created_and_never_written_does_not_stop_the_next_run() {
    let (_, history) = undisturbed();
    let at = first(&history, |op| matches!(op, Op::Write { path, .. } if path.ends_with("000001.pack.zst")));
    fails_and_goes_on(at, true);
    let at = first(&history, |op| matches!(op, Op::Write { path, .. } if path.ends_with("000002.pack.zst")));
    fails_and_goes_on(at, true);
}

/// Read-only is what a pack becomes when its seal is acknowledged: an unsealed one that is read-only cannot
/// be opened by the next run, unless that is root.
#[test]
fn a_pack_whose_seal_failed_can_be_written_by_the_next_run() {
    let (_, history) = undisturbed();
    let at = first(&history, |op| *op == Op::Step("seal committed"));
    for for_good in [false, true] {
        let bench = Bench::holding(Setup::default(), &mails());
        let (_, said) = history::record(&bench, &[Some(Fail { at, for_good, how: How::Error })]);
        assert!(said[0].is_err());
        assert!(packs(&bench).iter().all(|pack| !is_read_only(pack)));
    }
    let bench = fails_and_goes_on(at, false);
    let sealed = Catalogue::of(&bench.layout()).unwrap().packs().unwrap();
    for ((_, bytes, sealed), pack) in sealed.iter().zip(packs(&bench)) {
        assert_eq!(*sealed, is_read_only(&pack), "{}", pack.display());
        assert_eq!(*bytes, std::fs::metadata(&pack).unwrap().len());
    }
}

/// A crash between the two halves of a seal leaves an index that no seal follows. What is written next
/// must not lie in front of the rest of it.
#[test]
fn an_index_without_its_seal_is_set_aside() {
    let bench = Bench::holding(Setup::default(), &mails());
    history::run(&bench, Fs::real()).unwrap();
    let newest = packs(&bench).pop().unwrap();
    let mut index = 0x184D_2A58u32.to_le_bytes().to_vec();
    index.extend(50_000u32.to_le_bytes());
    index.extend(b"GPix");
    index.resize(8 + 50_000, 7);
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes.extend(&index);
    std::fs::write(&newest, bytes).unwrap();
    bench.put(&few(52, 1)[0]);
    history::run(&bench, Fs::real()).unwrap();
    bench.nothing_is_lost("after the index was found");
    for ((_, bytes, _), pack) in Catalogue::of(&bench.layout()).unwrap().packs().unwrap().iter().zip(packs(&bench)) {
        assert_eq!(*bytes, std::fs::metadata(&pack).unwrap().len(), "{}", pack.display());
    }
    let torn: Vec<_> = std::fs::read_dir(bench.layout().torn()).unwrap().collect();
    assert_eq!(torn.len(), 1);
}

/// The catalogue is older than a pack that is missing, so that it cannot know of it; later packs tell.
#[test]
fn a_pack_missing_before_later_ones_is_damage_and_not_the_end() {
    let (bench, history) = undisturbed();
    let all = packs(&bench);
    assert!(all.len() >= 3, "{}", all.len());
    std::fs::copy(&history.catalogues[0], bench.layout().catalogue).unwrap();
    for missing in [&all[0], &all[1]] {
        let aside = bench.folder().join("aside");
        std::fs::rename(missing, &aside).unwrap();
        let error = history::open(&bench, Fs::real()).map(|_| ()).expect_err("a pack is missing");
        assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
        std::fs::rename(&aside, missing).unwrap();
    }
    history::open(&bench, Fs::real()).unwrap().0.finish().unwrap();
    bench.nothing_is_lost("with the old catalogue and all packs");
}

/// With the catalogue on another volume it is made before the archive has its place; what an interrupted
/// creation left there is nobody's, and the next one may take it away. Anything else stays.
#[test]
fn an_interrupted_creation_with_the_catalogue_elsewhere_is_done_again() {
    let setup = Setup { catalogue_elsewhere: true, ..Setup::default() };
    for step in 1..=20 {
        let bench = Bench::holding(setup.clone(), &few(53, 2));
        let said = bench.once(Some(&format!("exit:{step}")));
        assert!(said.is_hit(), "{said}");
        let said = bench.once(None);
        assert_eq!(said.code, Some(0), "after ending at {step}: {said}");
        bench.is_in_order(&format!("ended at {step}"));
    }
    let bench = Bench::holding(setup, &few(53, 2));
    assert_eq!(bench.once(None).code, Some(0));
    std::fs::rename(bench.archive(), bench.folder().join("elsewhere")).unwrap();
    let before = std::fs::read(bench.layout().catalogue).unwrap();
    let said = bench.once(None);
    assert_eq!(said.code, Some(1), "the catalogue of another archive: {said}");
    assert_eq!(std::fs::read(bench.layout().catalogue).unwrap(), before);
}

/// A disk that fills up while the largest item is on its way: the rest of the file is not there.
#[test]
fn a_large_item_that_fails_in_the_middle_is_fetched_again() {
    let mut mails = varied();
    mails.truncate(4);
    mails.push(bulky(9, 3_000_000));
    let bench = Bench::holding(Setup::default(), &mails);
    for at in [14, 15, 16, 17, 18, 20, 22, 24] {
        bench.once(Some(&format!("fail:{at}:forever:SHORT")));
        bench.nothing_is_lost(&format!("{at}"));
    }
    let said = bench.once(None);
    assert_eq!(said.code, Some(0), "{said}");
    bench.is_in_order("in the end");
    assert!(bench.state().left.is_empty());
}
