//! Random histories in lock step with a model of what must be in the archive: arrivals, duplicates, other clients that
//! expunge, UIDVALIDITY changes, restored servers, crashes and failing disks, other policies and people.
//!
//! The model knows nothing of how gatepost works. After each run it says what must stand in the archive, for whom, and
//! what may be left on the gateway; `GATEPOST_MODEL_SEED=N` runs one history again, `GATEPOST_MODEL_HISTORIES=N` more of them.

use std::collections::{BTreeMap, BTreeSet};

use gatepost::archive::{Catalogue, Filter};
use gatepost::base::digest::Digest;
use gatepost::demo::corpus::{Corpus, Generated};
use gatepost::demo::mailbox::Mail;
use gatepost::demo::random::Random;

use super::support::bench::{Bench, Put, Setup};
use super::support::points;

const STEPS: usize = 36;
const HISTORIES: u64 = 40;

/// What must be so, by the events alone.
struct Model {
    /// Every mail of the history by the digest of its bytes.
    mails: BTreeMap<Digest, Generated>,
    /// Seen by a run that went through.
    archived: BTreeSet<Digest>,
    /// The profile keeps mail between people of the company out.
    external_only: bool,
    delete: bool,
}

impl Model {
    fn is_excluded(&self, mail: &Generated) -> bool {
        let internal = |address: &str| address.ends_with("@corp.example");
        let envelope = &mail.envelope;
        let sender = envelope.sender.as_deref().is_some_and(internal);
        self.external_only && sender && envelope.recipients.iter().all(|recipient| internal(&recipient.address))
    }

    /// A run went through while these were on the gateway.
    fn ran(&mut self, there: &BTreeSet<Digest>) {
        for digest in there {
            if !self.is_excluded(&self.mails[digest]) {
                self.archived.insert(*digest);
            }
        }
    }

    /// What a run that went through leaves of it.
    fn left(&self, there: &BTreeSet<Digest>) -> BTreeSet<Digest> {
        let stays = |digest: &&Digest| !self.delete || !self.archived.contains(*digest);
        there.iter().filter(stays).copied().collect()
    }
}

struct History {
    seed: u64,
    random: Random,
    bench: Bench,
    corpus: Corpus,
    made: usize,
    model: Model,
    /// The mailbox as it was at some time, for a server that is restored.
    backup: Vec<Mail>,
    validity: u32,
    tell: String,
    faults: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let model = Model { mails: BTreeMap::new(), archived: BTreeSet::new(), external_only: false, delete: true };
        History {
            seed,
            random: Random::new(seed),
            bench: Bench::new(Setup::default()),
            corpus: Corpus::small(seed, 100_000),
            made: 0,
            model,
            backup: Vec::new(),
            validity: 0,
            tell: String::new(),
            faults: 0,
        }
    }

    fn note(&mut self, what: String) {
        self.tell += &format!("\n  {what}");
    }

    fn there(&self) -> BTreeSet<Digest> {
        self.bench.mails().iter().map(|mail| Digest::of(&mail.bytes)).collect()
    }

    fn arrive(&mut self) {
        let count = 1 + self.random.below(4);
        for _ in 0..count {
            let mail = self.corpus.get(self.made);
            self.made += 1;
            self.bench.put(&Put { bytes: mail.item.clone().into(), date: Some(mail.date) });
            self.model.mails.insert(Digest::of(&mail.item), mail);
        }
        self.note(format!("{count} arrive"));
    }

    /// The same bytes once more, whether or not the first still are on the gateway.
    fn duplicate(&mut self) {
        let known: Vec<Digest> = self.model.mails.keys().copied().collect();
        let Some(digest) = self.random.pick(&known) else { return };
        let mail = self.model.mails[digest].clone();
        self.bench.put(&Put { bytes: mail.item.into(), date: Some(mail.date) });
        self.note("one arrives again".into());
    }

    /// Another client takes a mail away. What was not archived by then is not gatepost's to keep.
    fn expunge(&mut self) {
        let uids = self.bench.gateway.uids("INBOX");
        let Some(uid) = self.random.pick(&uids).copied() else { return };
        let digest = Digest::of(&self.bench.gateway.message("INBOX", uid).unwrap().bytes);
        self.bench.gateway.expunge("INBOX", uid);
        self.note(format!("another client expunges {uid}"));
        if !self.there().contains(&digest) && !self.stands(&digest) {
            self.bench.forget(&digest);
        }
    }

    fn stands(&self, digest: &Digest) -> bool {
        self.bench.reader().is_some()
            && Catalogue::of(&self.bench.layout()).unwrap().item_by_sha256(digest).unwrap().is_some()
    }

    fn change_uidvalidity(&mut self) {
        self.validity += 1;
        self.bench.gateway.set_uidvalidity("INBOX", 1_000_000 + self.validity);
        self.note("another UIDVALIDITY".into());
    }

    fn restore(&mut self) {
        // What came after the backup is lost with the server, unless it was archived.
        let gone: Vec<Digest> = self.there().into_iter().collect();
        let backup = self.backup.clone();
        self.note(format!("the server is restored with {} mails", backup.len()));
        self.bench.restore(backup);
        let there = self.there();
        for digest in gone {
            if !there.contains(&digest) && !self.stands(&digest) {
                self.bench.forget(&digest);
            }
        }
    }

    fn configure(&mut self) {
        self.model.external_only = self.random.chance(30);
        self.model.delete = self.random.chance(70);
        // Known beforehand or created by a report: the archive is the same one.
        let known = if self.random.chance(50) {
            "[[people.person]]\nid = \"user03@corp.example\"\nname = \"Three\"\n"
        } else {
            ""
        };
        let (external_only, delete) = (self.model.external_only, self.model.delete);
        let scope = if external_only { "scope = \"external\"" } else { "" };
        self.bench.configure(|setup| setup.delete = delete);
        self.bench.reconfigure(&format!("unknown_internal = \"create\"\n{known}"), scope);
        self.note(format!(
            "delete = {delete}, external mail only: {external_only}, {} people named",
            known.len().min(1)
        ));
    }

    /// What a run before that ended early has archived is archived, whatever a later policy says of it.
    fn take_stock(&mut self) {
        let stands: Vec<Digest> = self.there().into_iter().filter(|digest| self.stands(digest)).collect();
        self.model.archived.extend(stands);
    }

    /// A run that ends in the middle, or whose disk fails: nothing may be lost, and nothing else is promised.
    fn disturbed(&mut self) {
        self.take_stock();
        let at = 1 + self.random.below(60);
        let fault = match self.random.below(4) {
            0 => format!("fail:{at}:forever:EIO"),
            1 => format!("fail:{at}:once:ENOSPC"),
            _ => format!("exit:{at}"),
        };
        let there = self.there();
        let said = self.bench.once(Some(&fault));
        self.note(format!("a run with {fault}: {:?}", said.code));
        if said.code == Some(0) || said.code == Some(2) {
            self.went_through(&there);
        } else {
            self.faults += 1;
            self.bench.nothing_is_lost(&self.tell);
        }
    }

    fn undisturbed(&mut self) {
        self.take_stock();
        let there = self.there();
        let said = self.bench.once(None);
        self.note(format!("a run: {:?}", said.code));
        assert!(matches!(said.code, Some(0 | 2)), "seed {}{}: {said}", self.seed, self.tell);
        self.went_through(&there);
    }

    fn went_through(&mut self, there: &BTreeSet<Digest>) {
        self.model.ran(there);
        self.bench.nothing_is_lost(&self.tell);
        assert_eq!(self.there(), self.model.left(there), "seed {}: what is left{}", self.seed, self.tell);
        for digest in &self.model.archived {
            assert!(self.stands(digest), "seed {}: {digest} is missing{}", self.seed, self.tell);
        }
    }

    /// Everything that the model knows, and nothing else, each once and for each person that it concerns.
    fn ends(&mut self) {
        self.undisturbed();
        let mut found = Vec::new();
        let reader = self.bench.reader().unwrap();
        let add = &mut |entry: gatepost::archive::Entry| {
            found.push((entry.message_id.unwrap_or_default(), entry.person, entry.folder.as_str()));
            Ok(())
        };
        reader.list(&Filter::default(), add).unwrap();
        found.sort_unstable();
        let mut expected = Vec::new();
        for (digest, mail) in &self.model.mails {
            // A crash may have archived what a policy of a later run would not.
            if self.stands(digest) {
                let filings = mail.filings.iter();
                expected.extend(filings.map(|filing| (mail.message_id.clone(), filing.person.clone(), filing.folder)));
            }
        }
        expected.sort_unstable();
        assert_eq!(found, expected, "seed {}{}", self.seed, self.tell);
        self.bench.is_in_order(&self.tell);
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.arrive(),
            30..36 => self.duplicate(),
            36..42 => self.expunge(),
            42..46 => self.change_uidvalidity(),
            46..50 => self.backup = self.bench.mails(),
            50..53 => self.restore(),
            53..60 => self.configure(),
            60..82 => self.disturbed(),
            _ => self.undisturbed(),
        }
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds: Vec<u64> = match number("GATEPOST_MODEL_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("GATEPOST_MODEL_HISTORIES").unwrap_or(HISTORIES)).collect(),
    };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let faults = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let mut history = History::new(*seed);
                    (0..STEPS).for_each(|_| history.step());
                    history.ends();
                    faults.fetch_add(history.faults, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    points("random histories", faults.into_inner());
}
