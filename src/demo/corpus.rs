//! Thousands of generated journal reports whose expected filings are known, for tests and benchmarks.
//!
//! The same seed and options give the same bytes on every machine. Items are made one at a time; nothing
//! here holds the whole corpus.
//!
//! What a corpus looks like: 30 people in corp.example, strangers outside; a bit more than half of the
//! mails internal or outbound, the rest inbound; lists, Bcc and a few mails to oneself; about a third of
//! the mails with attachments, of which about a third recur; sizes of text and attachments are log-normal.

use jiff::Timestamp;

use super::message::{Attachment, Message};
use super::random::Random;
use super::report::{EnvelopeEncoding, ExpectedFiling, Report, direct, expected_filings, through};
use crate::base::digest::Digest;
use crate::mail::envelope::{Envelope, Recipient, Role, Via};

/// 2026-01-01 00:00 UTC.
const FIRST_S: i64 = 1_767_225_600;
const PEOPLE: usize = 30;
const STRANGERS: usize = 200;
/// Attachments that more than one mail carries.
const RECURRING: usize = 40;
/// Medians at scale 1, and the deviation of the logarithm of both.
const TEXT_BYTES: f64 = 2_200.0;
const ATTACHMENT_BYTES: f64 = 28_000.0;
const SIGMA: f64 = 0.9;
const ATTACHMENT_BYTES_MAX: f64 = 4.0 * 1024.0 * 1024.0;

const WORDS: &[&str] = &[
    "order",
    "delivery",
    "meeting",
    "please",
    "tomorrow",
    "figures",
    "the",
    "and",
    "with",
    "regards",
    "invoice",
    "project",
    "we",
    "would",
    "like",
    "to",
    "confirm",
    "your",
    "offer",
    "schedule",
    "report",
    "quarter",
    "customer",
    "Prüfung",
    "Übersicht",
    "contract",
    "on",
    "Monday",
    "attached",
    "find",
    "changes",
    "question",
    "about",
    "team",
];

#[derive(Clone, Copy, Debug)]
pub struct CorpusOptions {
    /// Multiplies the sizes of texts and attachments: 1.0 gives about 45 KB an item, 0.02 about 3 KB.
    pub scale: f64,
    /// Percent of mails with an attachment.
    pub attachments_percent: u32,
    /// Percent of mails between strangers only, without any address of corp.example.
    pub foreign_percent: u32,
}

impl Default for CorpusOptions {
    fn default() -> CorpusOptions {
        CorpusOptions { scale: 1.0, attachments_percent: 36, foreign_percent: 0 }
    }
}

/// A seeded corpus; [`Corpus::iter`] makes its items.
#[derive(Clone, Debug)]
pub struct Corpus {
    seed: u64,
    count: usize,
    options: CorpusOptions,
}

/// One item with all that a test may want to know about it.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The journal report.
    pub item: Vec<u8>,
    /// When the gateway received it.
    pub date: Timestamp,
    pub envelope: Envelope,
    /// Of the original, with angle brackets.
    pub message_id: String,
    pub subject: String,
    pub original_sha256: Digest,
    pub original_len: usize,
    /// Rising; empty only for foreign items.
    pub filings: Vec<ExpectedFiling>,
    /// Numbers of the recurring attachments that it carries.
    pub recurring: Vec<usize>,
}

impl Corpus {
    pub fn new(seed: u64, count: usize) -> Corpus {
        Corpus::with(seed, count, CorpusOptions::default())
    }

    /// About 3 KB an item, for tests that need many.
    pub fn small(seed: u64, count: usize) -> Corpus {
        Corpus::with(seed, count, CorpusOptions { scale: 0.02, ..CorpusOptions::default() })
    }

    pub fn with(seed: u64, count: usize, options: CorpusOptions) -> Corpus {
        Corpus { seed, count, options }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Generated> + '_ {
        (0..self.count).map(|n| self.get(n))
    }

    /// The n-th item, whatever was made before it.
    pub fn get(&self, n: usize) -> Generated {
        let mut random = Random::new(self.seed ^ (n as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95));
        let envelope = self.envelope(&mut random);
        let date = Timestamp::from_second(FIRST_S + n as i64 * 37).unwrap_or(Timestamp::UNIX_EPOCH);
        let sender = envelope.sender.clone().unwrap_or_default();
        let domain = sender.rsplit_once('@').map_or("corp.example", |(_, domain)| domain);
        let shown = |role| shown(&envelope, role);
        let (attachments, recurring) = self.attachments(&mut random);
        let subject = format!("{} {} {n}", word(&mut random), word(&mut random));
        let subject = if subject.is_ascii() { subject } else { format!("Re: figures {n}") };
        let message = Message {
            trace: vec![(
                "Received".into(),
                format!(
                    "from client.{domain} by mail.corp.example with ESMTPS;\r\n\t{}",
                    super::message::rfc5322_date(date)
                ),
            )],
            from: format!("<{sender}>"),
            to: shown(Role::To),
            cc: shown(Role::Cc),
            bcc: String::new(),
            subject: subject.clone(),
            date,
            message_id: format!("<{:016x}.{n}@{domain}>", random.draw()),
            text: text(&mut random, self.size(TEXT_BYTES)),
            html: None,
            attachments,
        };
        let message = match random.chance(25) {
            true => Message { html: Some(format!("<html><body><p>{}</p></body></html>", message.text)), ..message },
            false => message,
        };
        let original = message.write();
        let report = Report {
            envelope: &envelope,
            from: &message.from,
            to: &message.to,
            subject: &subject,
            message_id: &message.message_id,
            date,
            original: &original,
            encoding: if random.chance(5) { EnvelopeEncoding::Base64 } else { EnvelopeEncoding::Plain },
            forked: false,
            serial: 0,
        };
        Generated {
            item: report.write(),
            date,
            filings: expected_filings(&envelope),
            message_id: message.message_id.clone(),
            subject,
            original_sha256: Digest::of(&original),
            original_len: original.len(),
            envelope,
            recurring,
        }
    }

    fn envelope(&self, random: &mut Random) -> Envelope {
        let mut recipients: Vec<Recipient> = Vec::new();
        let foreign = random.chance(self.options.foreign_percent);
        let kind = random.below(100);
        let sender = if foreign || kind >= 55 { stranger(random) } else { person(random) };
        if foreign {
            recipients.push(direct(Role::To, &stranger(random)));
        } else if kind >= 55 {
            // Inbound: the roles are not provable, and Bcc hides among them.
            for _ in 0..=random.below(3) {
                recipients.push(direct(Role::Recipient, &person(random)));
            }
        } else {
            let outbound = kind >= 30;
            recipients.push(direct(Role::To, &if outbound { stranger(random) } else { person(random) }));
            for _ in 0..random.below(3) {
                recipients.push(direct(Role::Cc, &if random.chance(70) { person(random) } else { stranger(random) }));
            }
            if random.chance(10) {
                recipients.push(direct(Role::Bcc, &person(random)));
            }
            if random.chance(4) {
                recipients.push(direct(Role::To, &sender));
            }
        }
        if !foreign && random.chance(12) {
            let list = format!("list{}@corp.example", random.below(6));
            for _ in 0..3 + random.below(8) {
                recipients.push(through(Role::To, &person(random), Via::Expanded, &list));
            }
        }
        // Exchange names each recipient once.
        let mut seen = std::collections::BTreeSet::new();
        recipients.retain(|recipient| seen.insert(recipient.address.clone()));
        Envelope { sender: Some(sender), on_behalf_of: None, recipients }
    }

    fn attachments(&self, random: &mut Random) -> (Vec<Attachment>, Vec<usize>) {
        let (mut all, mut recurring) = (Vec::new(), Vec::new());
        if !random.chance(self.options.attachments_percent) {
            return (all, recurring);
        }
        for _ in 0..=random.below(3) {
            let seed = if random.chance(33) {
                let n = random.below(RECURRING);
                if recurring.contains(&n) {
                    continue;
                }
                recurring.push(n);
                self.seed.wrapping_add(n as u64)
            } else {
                random.draw()
            };
            all.push(self.attachment(seed));
        }
        (all, recurring)
    }

    /// An attachment is its seed: the same one has the same name, size and bytes wherever it recurs.
    fn attachment(&self, seed: u64) -> Attachment {
        let mut random = Random::new(seed);
        let len = log_normal(&mut random, self.size(ATTACHMENT_BYTES)).min(ATTACHMENT_BYTES_MAX) as usize;
        // Half of what people attach is compressed already, the other half compresses well.
        let (suffix, media_type, bytes) = if random.chance(50) {
            ("pdf", "application/pdf", random.bytes(len))
        } else {
            let mut table = text(&mut random, len as f64).into_bytes();
            table.truncate(len);
            ("csv", "application/octet-stream", table)
        };
        Attachment { name: format!("file-{:08x}.{suffix}", seed as u32), media_type: media_type.into(), bytes }
    }

    fn size(&self, median: f64) -> f64 {
        median * self.options.scale
    }
}

fn shown(envelope: &Envelope, role: Role) -> String {
    let mut names: Vec<String> = Vec::new();
    for recipient in envelope.recipients.iter().filter(|recipient| recipient.role == role) {
        let name = format!("<{}>", recipient.via_address.as_ref().unwrap_or(&recipient.address));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(",\r\n\t")
}

fn person(random: &mut Random) -> String {
    format!("user{:02}@corp.example", random.below(PEOPLE))
}

fn stranger(random: &mut Random) -> String {
    let n = random.below(STRANGERS);
    format!("contact{n}@{}", ["customer.example", "supplier.example", "partner.test"][n % 3])
}

fn word(random: &mut Random) -> &'static str {
    random.pick(WORDS).copied().unwrap_or("word")
}

/// Log-normal around a median.
fn log_normal(random: &mut Random, median: f64) -> f64 {
    median * (SIGMA * random.normal()).exp()
}

/// Lines of words, about log-normal around `median` bytes and at most twelve times that.
fn text(random: &mut Random, median: f64) -> String {
    let wanted = log_normal(random, median).min(median * 12.0) as usize;
    let mut out = String::with_capacity(wanted + 80);
    let mut line = 0;
    while out.len() < wanted.max(20) {
        let next = word(random);
        out.push_str(next);
        line += next.len() + 1;
        out.push(if line > 66 { '\n' } else { ' ' });
        if line > 66 {
            line = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::demo::report::is_internal;

    #[test]
    fn items_depend_on_seed_and_number_only() {
        let corpus = Corpus::small(7, 50);
        let items: Vec<_> = corpus.iter().map(|generated| generated.item).collect();
        assert_eq!(items[31], Corpus::small(7, 99).get(31).item);
        assert_ne!(items[31], Corpus::small(8, 50).get(31).item);
    }

    #[test]
    fn every_item_is_filed_unless_it_is_foreign() {
        for generated in Corpus::small(1, 2_000).iter() {
            assert!(!generated.filings.is_empty());
            for filing in &generated.filings {
                let sender = generated.envelope.sender.as_ref().unwrap();
                let sent = filing.folder == "sent";
                assert!(is_internal(&filing.person) && !filing.person.starts_with("list"));
                assert!(if sent {
                    *sender == filing.person
                } else {
                    generated.envelope.recipients.iter().any(|recipient| recipient.address == filing.person)
                });
            }
            let at = generated.item.windows(generated.original_len);
            assert_eq!(at.filter(|bytes| Digest::of(bytes) == generated.original_sha256).count().min(1), 1);
        }
        let options = CorpusOptions { scale: 0.02, foreign_percent: 10, ..CorpusOptions::default() };
        let foreign = Corpus::with(1, 500, options).iter().filter(|generated| generated.filings.is_empty()).count();
        assert!((20..=90).contains(&foreign), "{foreign}");
    }

    #[test]
    fn sizes_and_recurrence_are_about_what_is_said() {
        let mut recurring: BTreeMap<usize, usize> = BTreeMap::new();
        let mut total = 0;
        for generated in Corpus::new(3, 600).iter() {
            total += generated.item.len();
            for n in generated.recurring {
                *recurring.entry(n).or_default() += 1;
            }
        }
        assert!((30_000..=60_000).contains(&(total / 600)), "{} bytes an item", total / 600);
        assert!(recurring.values().sum::<usize>() > 80, "{recurring:?}");
        let small: usize = Corpus::small(3, 600).iter().map(|generated| generated.item.len()).sum();
        assert!((2_000..=4_500).contains(&(small / 600)), "{} bytes an item", small / 600);
    }
}
