//! A few dozen sample items for the demo: what a journal mailbox holds on an ordinary day, and the odd
//! ones. The same bytes every time.
//!
//! All names are invented, all domains are reserved ones.

use jiff::Timestamp;

use super::draft::Draft;
use super::message::Attachment;
use super::random::Random;
use super::report::{EnvelopeEncoding, ExpectedFiling, direct, through};
use crate::mail::envelope::{Envelope, Recipient, Role, Via};

/// One item of the demo mailbox.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What is special about it.
    pub name: &'static str,
    pub item: Vec<u8>,
    /// When the gateway received it.
    pub date: Timestamp,
    /// Of the original; empty where it has none.
    pub message_id: String,
    /// Rising; empty for what cannot be decoded and for what has no internal address.
    pub filings: Vec<ExpectedFiling>,
    /// False: it is to be quarantined.
    pub decodes: bool,
}

fn to(address: &str) -> Recipient {
    direct(Role::To, address)
}

fn cc(address: &str) -> Recipient {
    direct(Role::Cc, address)
}

fn bcc(address: &str) -> Recipient {
    direct(Role::Bcc, address)
}

fn received(address: &str) -> Recipient {
    direct(Role::Recipient, address)
}

fn member(address: &str, list: &str) -> Recipient {
    through(Role::To, address, Via::Expanded, list)
}

/// Who has an archive in the demo: every internal address of the samples that is not a list.
pub const PEOPLE: [&str; 6] = [ANNA, BOB, CAROL, DAVE, ERIN, FRANK];

const ANNA: &str = "anna@corp.example";
const BOB: &str = "bob@corp.example";
const CAROL: &str = "carol@corp.example";
const DAVE: &str = "dave@corp.example";
const ERIN: &str = "erin@corp.example";
const FRANK: &str = "frank@corp.example";
const TEAM: &str = "team@corp.example";
const ALL: &str = "all@corp.example";
const OLGA: &str = "olga@customer.example";
const PAUL: &str = "paul@supplier.example";

/// The drafts that become one ordinary report each.
fn drafts() -> Vec<Draft> {
    let brochure = || Attachment {
        name: "brochure.pdf".into(),
        media_type: "application/pdf".into(),
        // About 60 KB as base64; the same bytes in every mail that carries it.
        bytes: [b"%PDF-1.4\n".to_vec(), Random::new(60).bytes(44_000)].concat(),
    };
    let small = |name: &str, seed| Attachment {
        name: name.into(),
        media_type: "application/octet-stream".into(),
        bytes: Random::new(seed).bytes(2_500),
    };
    let draft = Draft::new;
    vec![
        draft("internal, one recipient", ANNA, vec![to(BOB)], "Lunch on Thursday", "Shall we say half past twelve?"),
        draft(
            "internal, To and Cc",
            BOB,
            vec![to(ANNA), cc(CAROL)],
            "Re: Lunch on Thursday",
            "Gladly. Carol joins us.",
        ),
        draft("internal with Bcc", CAROL, vec![to(DAVE), cc(ERIN), bcc(FRANK)], "Rota for March", "As discussed."),
        draft("outbound", ANNA, vec![to(OLGA)], "Your order 4711", "It leaves our house today."),
        draft(
            "outbound with internal Cc",
            ANNA,
            vec![to(OLGA), cc(BOB)],
            "Offer 2026-17",
            "Please find the offer below.",
        ),
        draft("outbound with Bcc", DAVE, vec![to(PAUL), bcc(ERIN)], "Delivery dates", "When may we expect it?"),
        draft("inbound", OLGA, vec![received(ANNA)], "Question about order 4711", "Is the address right?"),
        draft("inbound to two", PAUL, vec![received(DAVE), received(BOB)], "Invoice 88", "Payable within 30 days."),
        Draft {
            shown_to: "Anna <anna@corp.example>",
            ..draft(
                "inbound with a hidden recipient",
                PAUL,
                vec![received(ANNA), received(FRANK)],
                "Price list",
                "Valid from April.",
            )
        },
        Draft {
            shown_to: "Team <team@corp.example>",
            ..draft(
                "distribution list",
                ERIN,
                vec![member(ANNA, TEAM), member(BOB, TEAM), member(CAROL, TEAM)],
                "Stand-up moved",
                "Ten o'clock from now on.",
            )
        },
        Draft {
            shown_to: "all@corp.example",
            ..draft(
                "list within a list",
                FRANK,
                vec![member(ANNA, ALL), member(DAVE, ALL), member(ERIN, ALL), member(FRANK, ALL)],
                "Fire drill",
                "Please leave the building at three.",
            )
        },
        Draft {
            shown_to: "Team <team@corp.example>",
            ..draft("list from outside", OLGA, vec![member(BOB, TEAM), member(CAROL, TEAM)], "Thank you", "Well done.")
        },
        draft(
            "forwarded by a mailbox",
            PAUL,
            vec![through(Role::Cc, DAVE, Via::Forwarded, ERIN)],
            "While you are away",
            "Erin's mailbox passes this on.",
        ),
        draft(
            "forwarded to the outside",
            CAROL,
            vec![through(Role::To, "bob@home.test", Via::Forwarded, BOB)],
            "Keys",
            "They are at the front desk.",
        ),
        Draft {
            on_behalf_of: Some(ERIN),
            ..draft("sent on behalf", FRANK, vec![to(ANNA), to(PAUL)], "Appointment", "Erin asks for a date.")
        },
        draft("to oneself", ANNA, vec![to(ANNA)], "Note", "Buy stamps."),
        Draft {
            encoding: EnvelopeEncoding::Base64,
            ..draft("envelope part in base64", BOB, vec![to(CAROL), cc(OLGA)], "Minutes", "Attached below.")
        },
        Draft {
            attachments: vec![brochure()],
            ..draft("recurring attachment, first", ANNA, vec![to(BOB)], "Brochure", "The final one.")
        },
        Draft {
            attachments: vec![brochure()],
            ..draft("recurring attachment, second", BOB, vec![to(OLGA)], "Our brochure", "With kind regards.")
        },
        Draft {
            attachments: vec![brochure(), small("prices.bin", 7)],
            ..draft("recurring attachment, third", OLGA, vec![received(CAROL)], "Fwd: Our brochure", "Page 3?")
        },
        Draft {
            attachments: vec![small("drawing.bin", 8)],
            ..draft("attachment", DAVE, vec![to(ERIN)], "Drawing", "Revision C.")
        },
        Draft {
            html: Some("<html><body><h1>News</h1><p>All about <b>us</b>.</p></body></html>"),
            ..draft("HTML", "news@supplier.example", vec![received(BOB)], "Newsletter", "All about us.")
        },
        Draft {
            html: Some("<p>Grüße aus <i>Köln</i></p>"),
            ..draft("HTML with umlauts", CAROL, vec![to(ANNA)], "=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße aus Köln")
        },
        draft("subject in RFC 2047", DAVE, vec![to(BOB)], "=?utf-8?B?w4RuZGVydW5nIGRlciBQbMOkbmU=?=", "Siehe unten."),
        draft(
            "subject in raw UTF-8",
            ERIN,
            vec![to(FRANK)],
            "Übergabe – nächste Woche",
            "Bitte prüfen: Äpfel, Öl, Übersicht.",
        ),
        draft("subject in Latin-1", PAUL, vec![received(ERIN)], "=?iso-8859-1?Q?R=E9union?=", "A demain."),
        Draft {
            inner_bcc: "frank@corp.example",
            ..draft("Bcc header inside", DAVE, vec![to(ANNA), bcc(FRANK)], "Budget", "Frank knows.")
        },
        draft(
            "mixed case addresses",
            "Anna@Corp.Example",
            vec![to("BOB@corp.example")],
            "Capitals",
            "One person, not two.",
        ),
        draft("empty sender", "", vec![received(ANNA)], "Undeliverable: Offer 2026-17", "The mailbox is full."),
    ]
}

/// All sample items in the order of their arrival.
pub fn samples() -> Vec<Sample> {
    let mut all: Vec<Sample> = drafts().iter().enumerate().map(|(n, draft)| draft.sample(n)).collect();
    let n = all.len();
    // Exchange forks a mail that leaves the organisation and also stays in it: two reports, of which each
    // knows half of the recipients, and whose originals differ in the trace.
    let fork = Draft::new("fork", ANNA, vec![to(BOB), to(OLGA), cc(CAROL)], "Kick-off", "On Monday at nine.");
    let half = |recipients| Envelope { sender: Some(ANNA.into()), on_behalf_of: None, recipients };
    all.push(fork.report(n, "mail.corp.example", half(vec![to(BOB), cc(CAROL)]), true, 1));
    all.push(fork.report(n, "edge.corp.example", half(vec![to(OLGA)]), true, 2));
    let twice = Draft::new("the same item twice", ERIN, vec![to(DAVE)], "Parcel", "It is downstairs.").sample(n + 1);
    all.push(twice.clone());
    all.push(twice);
    all.push(Draft::new("plain copy", BOB, vec![to(ANNA)], "A copy without a report", "Hello.").plain(n + 2));
    all.push(Draft::new("plain copy, inbound", PAUL, vec![to(CAROL)], "Another copy", "Hello.").plain(n + 3));
    all.push(Sample {
        name: "undecodable",
        item: undecodable(),
        date: super::draft::at(n + 4),
        message_id: String::new(),
        filings: Vec::new(),
        decodes: false,
    });
    all
}

/// Bytes that are no mail: no header, no line of text.
fn undecodable() -> Vec<u8> {
    // Neither a colon nor a line break, so that nothing in it can pass for a header field.
    Random::new(404).bytes(1_800).into_iter().map(|byte| if byte < 0x80 { byte | 0x80 } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_every_time_and_all_domains_reserved() {
        let (one, two) = (samples(), samples());
        assert_eq!(one.len(), 36);
        for (a, b) in one.iter().zip(&two) {
            assert_eq!(a.item, b.item, "{}", a.name);
        }
        for sample in &one {
            for found in String::from_utf8_lossy(&sample.item).split('@').skip(1) {
                let domain = found.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-'))).next().unwrap();
                let reserved = ["example", "test", "invalid", "generator"];
                let last = domain.rsplit('.').next().unwrap().to_lowercase();
                assert!(!sample.decodes || reserved.contains(&last.as_str()), "{}: {domain}", sample.name);
            }
        }
    }

    #[test]
    fn the_odd_ones_are_there() {
        let all = samples();
        let of = |name: &str| all.iter().filter(|sample| sample.name == name).collect::<Vec<_>>();
        let forks = of("fork");
        assert_eq!(forks[0].message_id, forks[1].message_id);
        assert_ne!(forks[0].item, forks[1].item);
        let twice = of("the same item twice");
        assert_eq!(twice[0].item, twice[1].item);
        assert_eq!(of("undecodable")[0].item.iter().filter(|byte| matches!(byte, b':' | b'\n')).count(), 0);
        let filed = |name: &str| of(name)[0].filings.iter().map(|f| (f.person.as_str(), f.folder)).collect::<Vec<_>>();
        assert_eq!(filed("outbound with Bcc"), [(DAVE, "sent"), (ERIN, "inbox")]);
        assert_eq!(filed("forwarded by a mailbox"), [(DAVE, "inbox"), (ERIN, "inbox")]);
        assert_eq!(filed("sent on behalf"), [(ANNA, "inbox"), (ERIN, "sent"), (FRANK, "sent")]);
        for filing in all.iter().flat_map(|sample| &sample.filings) {
            assert!(PEOPLE.contains(&filing.person.as_str()), "{}", filing.person);
        }
        assert_eq!(filed("to oneself"), [(ANNA, "inbox"), (ANNA, "sent")]);
    }
}
