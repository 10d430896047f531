//! Mails for the bench: of every kind, bulky ones, and any number of small ones.

use std::sync::Arc;

use gatepost::demo::corpus::Corpus;
use gatepost::demo::random::Random;
use gatepost::demo::samples::samples;
use jiff::Timestamp;

/// A mail to be put on the gateway.
#[derive(Clone)]
pub struct Put {
    pub bytes: Arc<[u8]>,
    pub date: Option<Timestamp>,
}

/// A plain mail that hardly compresses.
pub fn bulky(seed: u64, bytes: usize) -> Put {
    let mut random = Random::new(seed);
    let mut text = format!(
        "From: Anna <anna@corp.example>\r\nTo: bob@corp.example\r\nSubject: bulk {seed}\r\n\
         Message-ID: <bulk-{seed}@corp.example>\r\n\r\n"
    );
    while text.len() < bytes {
        for byte in random.bytes(70) {
            text.push(char::from(33 + byte % 90));
        }
        text.push_str("\r\n");
    }
    Put { bytes: text.into_bytes().into(), date: None }
}

/// The samples, and a few bulky ones so that a pack of 1 MiB rolls over.
pub fn varied() -> Vec<Put> {
    let mut all: Vec<Put> =
        samples().into_iter().map(|sample| Put { bytes: sample.item.into(), date: Some(sample.date) }).collect();
    all.insert(5, bulky(1, 700_000));
    all.insert(20, bulky(2, 700_000));
    all
}

/// A few small mails.
pub fn few(seed: u64, count: usize) -> Vec<Put> {
    Corpus::small(seed, count)
        .iter()
        .map(|generated| Put { bytes: generated.item.into(), date: Some(generated.date) })
        .collect()
}
