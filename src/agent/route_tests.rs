//! What is special about drafts, unauthenticated senders and addresses that are wrapped.

use super::*;
use crate::people::{Origin, PeopleOptions, Person, PersonId};

fn people(change: impl FnOnce(&mut PeopleOptions)) -> People {
    let anna = Address::parse("anna@corp.example").unwrap();
    let person = Person {
        id: PersonId("anna".into()),
        name: None,
        addresses: [(anna, Origin::Config)].into(),
        legacy: vec!["/o=Org/cn=anna".into()],
    };
    let mut options = PeopleOptions {
        internal_domains: vec!["corp.example".into()],
        unknown_internal: UnknownInternal::Create,
        create_max_per_item: 50,
        persons: vec![person],
        ..PeopleOptions::default()
    };
    change(&mut options);
    People::build(&options, &[]).unwrap()
}

fn decoded(envelope: &str, inner: &str) -> Decoded {
    let item = format!(
        "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=r\r\n\r\n--r\r\n\r\n{envelope}\r\n--r\r\n\
         Content-Type: message/rfc822\r\n\r\n{inner}Subject: x\r\n\r\nText\r\n--r--\r\n"
    );
    crate::journal::decode(&item.into_bytes(), &DecodeOptions::default()).unwrap()
}

fn filed(routing: &Routing) -> Vec<String> {
    routing.filings.iter().map(|filing| format!("{} {}", filing.person, filing.folder.as_str())).collect()
}

const ANONYMOUS: &str = "X-MS-Exchange-Organization-AuthAs: Anonymous\r\n";

#[test]
fn an_unauthenticated_sender_of_ours_is_flagged_or_left_out() {
    let flag = people(|_| {});
    let no_sent = people(|options| options.unauthenticated_sender = UnauthenticatedSender::NoSent);
    let forged = decoded("Sender: anna@corp.example\r\nRecipient: bob@corp.example\r\n", ANONYMOUS);
    let routing = route(&forged, &flag);
    assert_eq!(filed(&routing), ["anna sent", "bob@corp.example inbox"]);
    assert_eq!(routing.flags_of(&forged), [flags::UNAUTHENTICATED_SENDER]);
    let routing = route(&forged, &no_sent);
    assert_eq!(filed(&routing), ["bob@corp.example inbox"]);
    assert_eq!(routing.flags_of(&forged), [flags::UNAUTHENTICATED_SENDER]);

    let lone = decoded("Sender: anna@corp.example\r\nRecipient: x@partner.example\r\n", ANONYMOUS);
    let routing = route(&lone, &no_sent);
    assert_eq!(filed(&routing), ["unassigned inbox"], "nothing falls between");
    assert!(routing.filings[0].because.contains("no_sent"));

    let honest = decoded("Sender: x@partner.example\r\nRecipient: anna@corp.example\r\n", ANONYMOUS);
    assert!(!route(&honest, &no_sent).unauthenticated, "a stranger need not authenticate");
    let internal = decoded("Sender: anna@corp.example\r\nTo: bob@corp.example\r\n", "");
    assert!(!route(&internal, &no_sent).unauthenticated);
}

#[test]
fn a_draft_is_never_sent() {
    let mut draft = decoded("Sender: anna@corp.example\r\nRecipient: anna@corp.example\r\n", "");
    draft.flags.push(flags::DRAFT.into());
    assert_eq!(filed(&route(&draft, &people(|_| {}))), ["anna inbox"]);
    draft.envelope.recipients.clear();
    assert_eq!(filed(&route(&draft, &people(|_| {}))), ["unassigned inbox"]);
}

#[test]
fn wrapped_addresses_reach_their_owner_and_open_no_archive() {
    let people = people(|_| {});
    for address in ["prvs=1234abcd=anna@corp.example", "EX:/o=Org/cn=Anna", "IMCEAEX-_o=Org_cn=anna@corp.example"] {
        let item = decoded(&format!("Sender: x@partner.example\r\nTo: {address}\r\n"), "");
        assert_eq!(filed(&route(&item, &people)), ["anna inbox"], "{address}");
    }
    for made in ["IMCEAEX-_o=Org_cn=nobody@corp.example", "bounce-77-x=partner.example@corp.example"] {
        let item = decoded(&format!("Sender: x@partner.example\r\nTo: {made}\r\n"), "");
        assert_eq!(filed(&route(&item, &people)), ["unassigned inbox"], "{made}");
    }
    let item = decoded("Sender: prvs=1234abcd=new@corp.example\r\nTo: x@partner.example\r\n", "");
    assert_eq!(filed(&route(&item, &people)), ["new@corp.example sent"]);
}

#[test]
fn a_copy_for_nobody_of_ours_goes_to_whom_its_own_header_names() {
    let of = |noted: &str| {
        let item = format!(
            "X-Original-To: {noted}\r\nFrom: x@partner.example\r\nTo: anna@corp.example, new@corp.example\r\nSubject: x\r\n\r\nText\r\n"
        );
        let decoded = crate::journal::decode(&item.into_bytes(), &DecodeOptions::default()).unwrap();
        filed(&route(&decoded, &people(|_| {})))
    };
    assert_eq!(of("all@gateway.example"), ["anna inbox", "unassigned inbox"], "and creates nobody");
    assert_eq!(of("bob@corp.example"), ["bob@corp.example inbox"]);
}
