//! Measurements by hand, see `tests/bench/`; nothing here fails for being slow.

mod growth;
mod once;
mod tools;

use std::time::Instant;

use gatepost::agent::policies::Policies;
use gatepost::agent::route::route;
use gatepost::demo::corpus::Corpus;
use gatepost::journal::{self, DecodeOptions};
use gatepost::people::{People, PeopleOptions};

use crate::support::dovecot::{Dovecot, Setup};

const USER: &str = "journal";

/// Rounds of which the best counts, on both sides.
const ROUNDS: usize = 5;

#[test]
#[ignore = "a measurement"]
fn decoding_and_one_connection() {
    let items = std::env::var("GATEPOST_BENCH_ITEMS").map_or(2_000, |items| items.parse().unwrap());
    let Some(dovecot) = Dovecot::start(&Setup::default()) else { return };
    let corpus: Vec<Vec<u8>> = Corpus::new(71, items).iter().map(|generated| generated.item).collect();
    dovecot.deliver(USER, "INBOX", &corpus);
    let megabytes = corpus.iter().map(Vec::len).sum::<usize>() as f64 / 1e6;
    let options = DecodeOptions::default();
    let people =
        People::build(&PeopleOptions { internal_domains: vec!["corp.example".into()], ..Default::default() }, &[]);
    let (people, policies) = (people.unwrap(), Policies::default());
    let best = |what: &str, work: &mut dyn FnMut()| {
        let seconds = (0..ROUNDS).map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_secs_f64()
        });
        let rate = megabytes / seconds.fold(f64::INFINITY, f64::min);
        eprintln!("{what}: {items} items, {megabytes:.0} MB: {rate:.0} MB/s");
        rate
    };
    let mut filings = 0;
    let mut all = |decode: fn(&dyn gatepost::base::bytes::ByteSource, &DecodeOptions) -> _| {
        for item in &corpus {
            let decoded: journal::Decoded = Result::unwrap(decode(item, &options));
            filings += route(&decoded, &people, &policies, jiff::Timestamp::UNIX_EPOCH).filings.len();
        }
    };
    let decoding = best("decode and route, one core", &mut || all(journal::decode_undigested));
    let hashing = best("decode with its digests and route, one core", &mut || all(journal::decode));
    let connection = best("one IMAP connection", &mut || {
        let bytes = dovecot.client(USER).drain("INBOX");
        assert!(bytes as f64 / 1e6 > megabytes, "{bytes}");
    });
    eprintln!("{filings} filings");
    eprintln!(
        "decoding is {:.2} times as fast as the connection, {:.2} times with hashing",
        decoding / connection,
        hashing / connection
    );
}
