//! A connection that ends after any number of bytes, of every source that is no IMAP (`wire_cut.rs` is about that one):
//! the next run ends exactly where an undisturbed one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gatepost::archive::{Filter, Layout, Reader};
use gatepost::base::clock::{Clock, FixedClock};
use gatepost::base::digest::Digest;
use gatepost::base::fsio::Fs;
use gatepost::demo::corpus::Corpus;

use crate::support::bench::for_each_step_on;
use crate::support::cut::Cut;
use crate::support::dovecot::{Dovecot, Setup};
use crate::support::ews::{self, Ews};
use crate::support::gateways::{ews_table, options, table};
use crate::support::history::{Polled, run_on};
use crate::support::points;

/// Everything that a run leaves: what is filed where, of how many items, and how many mails are still on the gateway.
#[derive(Debug, PartialEq, Eq)]
struct End {
    filings: Vec<(String, &'static str, Digest)>,
    items: u64,
    left: usize,
}

/// A mailbox of its own for each cut, behind a proxy that cuts.
trait Mailbox {
    fn proxy(&self) -> &Cut;
    fn polled(&self) -> &Polled;
    fn left(&self) -> usize;
}

struct Run<M> {
    mailbox: M,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    clock: Arc<FixedClock>,
}

impl<M: Mailbox> Run<M> {
    fn new(mailbox: M) -> Run<M> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = Arc::new(FixedClock::at("2026-11-21T10:00:00Z".parse().unwrap()));
        // Thousands of archives: in memory, where the system has such a place.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Run { mailbox, folder, runtime, clock }
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.folder.path().join("archive"), None)
    }

    fn once(&self) -> Result<(), String> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        run_on(self.mailbox.polled(), self.layout(), &self.runtime, Fs::real(), clock).map(|_| ())
    }

    /// What stands in the archive and what is still on the gateway are together all that ever was.
    fn end(&self, mails: &[Vec<u8>], when: &str) -> End {
        let reader = Reader::open(&self.layout()).unwrap();
        let catalogue = gatepost::archive::Catalogue::of(&self.layout()).unwrap();
        for mail in mails {
            let item = catalogue.item_by_sha256(&Digest::of(mail)).unwrap();
            let item = item.unwrap_or_else(|| panic!("{when}: a mail is not in the archive"));
            let mut out = Vec::new();
            reader.item_bytes(item, &mut out).unwrap();
            assert!(out == *mail, "{when}: item {item} is not what was on the gateway");
        }
        let mut filings = Vec::new();
        let mut take = |entry: gatepost::archive::Entry| {
            filings.push((entry.person, entry.folder.as_str(), entry.sha256));
            Ok(())
        };
        reader.list(&Filter::default(), &mut take).unwrap();
        filings.sort_unstable();
        End { filings, items: catalogue.last_item().unwrap(), left: self.mailbox.left() }
    }
}

/// Cuts each of these many bytes, and runs again an hour later: what failed is tried again only after a while.
fn cut_at_every<M: Mailbox>(stride: u64, mails: &[Vec<u8>], mailbox: impl Fn() -> M + Sync) {
    let undisturbed = Run::new(mailbox());
    undisturbed.once().unwrap();
    let end = undisturbed.end(mails, "undisturbed");
    assert_eq!((end.left, end.items), (0, mails.len() as u64));
    let bytes = undisturbed.mailbox.proxy().passed();
    let noticed = AtomicU64::new(0);
    // They wait for the other side most of the time.
    let cuts = for_each_step_on(8, |n| {
        let at = (n - 1) * stride;
        if at >= bytes {
            return false;
        }
        let when = format!("cut after {at} of {bytes} bytes");
        let run = Run::new(mailbox());
        run.mailbox.proxy().after(at);
        noticed.fetch_add(u64::from(run.once().is_err()), Relaxed);
        run.mailbox.proxy().after(u64::MAX);
        run.clock.advance(jiff::SignedDuration::from_hours(1));
        run.once().unwrap_or_else(|error| panic!("{when}; then: {error}"));
        assert_eq!(run.end(mails, &when), end, "{when}");
        true
    });
    points("the connection of another source ends after each byte", cuts);
    // The last bytes are of good-byes.
    assert!(noticed.into_inner() * 2 > cuts, "of {cuts} runs too few noticed");
}

/// Bytes between two cuts of a tiny session. One of EWS has ten times as many as one of POP3, most of them the same words
/// again and again: every byte of it takes half an hour (`GATEPOST_TEST_CUT_STRIDE=1`).
fn tiny_stride(usual: u64) -> u64 {
    std::env::var("GATEPOST_TEST_CUT_STRIDE").map_or(usual, |text| text.parse().unwrap())
}

fn tiny(count: usize) -> Vec<Vec<u8>> {
    let mail =
        |n| format!("From: anna@corp.example\r\nTo: bob@corp.example\r\nMessage-ID: <{n}@x>\r\n\r\nHello {n}\r\n");
    (1..=count).map(|n| mail(n).into_bytes()).collect()
}

fn larger(seed: u64) -> Vec<Vec<u8>> {
    Corpus::small(seed, 30).iter().map(|generated| generated.item).collect()
}

struct Pop3<'a> {
    dovecot: &'a Dovecot,
    user: String,
    proxy: Cut,
    polled: Polled,
}

impl Pop3<'_> {
    /// Every login has a mailbox of its own.
    fn new<'a>(dovecot: &'a Dovecot, user: &str, mails: &[Vec<u8>]) -> Pop3<'a> {
        dovecot.deliver(user, "INBOX", mails);
        let proxy = Cut::before(dovecot.pop3_port);
        let polled = Polled { options: options(&table("pop3", proxy.port, user)), folder: "INBOX" };
        Pop3 { dovecot, user: user.to_owned(), proxy, polled }
    }
}

impl Mailbox for Pop3<'_> {
    fn proxy(&self) -> &Cut {
        &self.proxy
    }

    fn polled(&self) -> &Polled {
        &self.polled
    }

    fn left(&self) -> usize {
        ["new", "cur"].iter().map(|name| count(&self.dovecot.maildir(&self.user).join(name))).sum()
    }
}

fn count(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn pop3(stride: impl Fn(u64) -> u64, mails: &[Vec<u8>]) {
    // Not a new process for each of thousands of connections.
    let further = "service pop3-login {\n service_count = 0\n process_min_avail = 2\n}\nservice pop3 {\n service_count = 1000\n}\n";
    let Some(dovecot) = Dovecot::start(&Setup { further, ..Setup::default() }) else { return };
    let measured = Run::new(Pop3::new(&dovecot, "first", mails));
    measured.once().unwrap();
    let (stride, next) = (stride(measured.mailbox.proxy.passed()), AtomicU64::new(0));
    cut_at_every(stride, mails, || Pop3::new(&dovecot, &format!("j{}", next.fetch_add(1, Relaxed)), mails));
}

#[test]
fn pop3_cut_off_after_every_byte_of_a_tiny_session() {
    pop3(|_| tiny_stride(1), &tiny(1));
}

#[test]
fn pop3_cut_off_anywhere_in_a_larger_session() {
    pop3(|bytes| bytes / 120, &larger(91));
}

struct OverEws {
    ews: Ews,
    proxy: Cut,
    polled: Polled,
}

impl OverEws {
    fn new(setup: ews::Setup, mails: &[Vec<u8>]) -> OverEws {
        let ews = Ews::start(setup);
        ews.deliver(mails);
        let proxy = Cut::before(ews.port);
        let further = if setup.ntlm { "auth = \"ntlm\"\nusername = \"CORP\\\\journal\"" } else { "" };
        let polled = Polled { options: options(&ews_table(proxy.port, further)), folder: "inbox" };
        OverEws { ews, proxy, polled }
    }
}

impl Mailbox for OverEws {
    fn proxy(&self) -> &Cut {
        &self.proxy
    }

    fn polled(&self) -> &Polled {
        &self.polled
    }

    fn left(&self) -> usize {
        self.ews.left()
    }
}

fn over_ews(stride: impl Fn(u64) -> u64, setup: ews::Setup, mails: &[Vec<u8>]) {
    let measured = Run::new(OverEws::new(setup, mails));
    measured.once().unwrap();
    cut_at_every(stride(measured.mailbox.proxy.passed()), mails, || OverEws::new(setup, mails));
}

#[test]
fn ews_cut_off_all_over_a_tiny_session() {
    over_ews(|_| tiny_stride(31), ews::Setup::default(), &tiny(1));
}

#[test]
fn ews_cut_off_anywhere_in_a_larger_session() {
    over_ews(|bytes| bytes / 120, ews::Setup::default(), &larger(92));
}

#[test]
fn ews_with_ntlm_cut_off_anywhere() {
    let setup = ews::Setup { ntlm: true, ..ews::Setup::default() };
    over_ews(|bytes| bytes / 60, setup, &tiny(4));
}
