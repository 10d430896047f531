//! What is special about drafts, unauthenticated senders and addresses that are wrapped.

use super::*;
use crate::agent::policies::Selection;
use crate::journal::DecodeOptions;
use crate::people::{Origin, PeopleOptions, Person, PersonId};

/// Anna is known, in the group Sales; policies are changed by the test.
struct Rules {
    people: People,
    policies: Policies,
}

impl Rules {
    fn route(&self, decoded: &Decoded) -> Routing {
        super::route(decoded, &self.people, &self.policies, Timestamp::UNIX_EPOCH)
    }
}

fn rules(change: impl FnOnce(&mut Policies)) -> Rules {
    let anna = Address::parse("anna@corp.example").unwrap();
    let person = Person {
        id: PersonId("anna".into()),
        name: None,
        addresses: [(anna, Origin::Config)].into(),
        legacy: vec!["/o=Org/cn=anna".into()],
        groups: vec!["Sales".into()],
    };
    let options = PeopleOptions {
        internal_domains: vec!["corp.example".into()],
        persons: vec![person],
        ..PeopleOptions::default()
    };
    let mut policies = Policies { unknown_internal: UnknownInternal::Create, ..Policies::default() };
    change(&mut policies);
    Rules { people: People::build(&options, &[]).unwrap(), policies }
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
    let flag = rules(|_| {});
    let no_sent = rules(|policies| policies.unauthenticated_sender = UnauthenticatedSender::NoSent);
    let forged = decoded("Sender: anna@corp.example\r\nRecipient: bob@corp.example\r\n", ANONYMOUS);
    let routing = flag.route(&forged);
    assert_eq!(filed(&routing), ["anna sent", "bob@corp.example inbox"]);
    assert_eq!(routing.flags_of(&forged), [flags::UNAUTHENTICATED_SENDER]);
    let routing = no_sent.route(&forged);
    assert_eq!(filed(&routing), ["bob@corp.example inbox"]);
    assert_eq!(routing.flags_of(&forged), [flags::UNAUTHENTICATED_SENDER]);

    let lone = decoded("Sender: anna@corp.example\r\nRecipient: x@partner.example\r\n", ANONYMOUS);
    let routing = no_sent.route(&lone);
    assert_eq!(filed(&routing), ["unassigned inbox"], "nothing falls between");
    assert!(routing.filings[0].because.contains("no_sent"));

    let honest = decoded("Sender: x@partner.example\r\nRecipient: anna@corp.example\r\n", ANONYMOUS);
    assert!(!no_sent.route(&honest).unauthenticated, "a stranger need not authenticate");
    let internal = decoded("Sender: anna@corp.example\r\nTo: bob@corp.example\r\n", "");
    assert!(!no_sent.route(&internal).unauthenticated);
}

#[test]
fn a_draft_is_never_sent() {
    let mut draft = decoded("Sender: anna@corp.example\r\nRecipient: anna@corp.example\r\n", "");
    draft.flags.push(flags::DRAFT.into());
    assert_eq!(filed(&rules(|_| {}).route(&draft)), ["anna inbox"]);
    draft.envelope.recipients.clear();
    assert_eq!(filed(&rules(|_| {}).route(&draft)), ["unassigned inbox"]);
}

#[test]
fn wrapped_addresses_reach_their_owner_and_open_no_archive() {
    let rules = rules(|_| {});
    for address in ["prvs=1234abcd=anna@corp.example", "EX:/o=Org/cn=Anna", "IMCEAEX-_o=Org_cn=anna@corp.example"] {
        let item = decoded(&format!("Sender: x@partner.example\r\nTo: {address}\r\n"), "");
        assert_eq!(filed(&rules.route(&item)), ["anna inbox"], "{address}");
    }
    for made in ["IMCEAEX-_o=Org_cn=nobody@corp.example", "bounce-77-x=partner.example@corp.example"] {
        let item = decoded(&format!("Sender: x@partner.example\r\nTo: {made}\r\n"), "");
        assert_eq!(filed(&rules.route(&item)), ["unassigned inbox"], "{made}");
    }
    let item = decoded("Sender: prvs=1234abcd=new@corp.example\r\nTo: x@partner.example\r\n", "");
    assert_eq!(filed(&rules.route(&item)), ["new@corp.example sent"]);
}

#[test]
fn a_copy_for_nobody_of_ours_goes_to_whom_its_own_header_names() {
    let of = |noted: &str| {
        let item = format!(
            "X-Original-To: {noted}\r\nFrom: x@partner.example\r\nTo: anna@corp.example, new@corp.example\r\nSubject: x\r\n\r\nText\r\n"
        );
        let decoded = crate::journal::decode(&item.into_bytes(), &DecodeOptions::default()).unwrap();
        filed(&rules(|_| {}).route(&decoded))
    };
    assert_eq!(of("all@gateway.example"), ["anna inbox", "unassigned inbox"], "and creates nobody");
    assert_eq!(of("bob@corp.example"), ["bob@corp.example inbox"]);
}

#[test]
fn the_scope_leaves_out_what_is_surely_of_the_other_side() {
    let external = rules(|policies| policies.scope = Scope::External);
    let internal = rules(|policies| policies.scope = Scope::Internal);
    let out = |rules: &Rules, item: &Decoded| rules.route(item).excluded;
    let of = |envelope: &str| decoded(envelope, "");
    let inside = of("Sender: anna@corp.example\r\nTo: bob@corp.example\r\n");
    let outgoing = of("Sender: anna@corp.example\r\nTo: x@partner.example\r\n");
    let incoming = of("Sender: x@partner.example\r\nRecipient: anna@corp.example\r\n");
    let both = of("Sender: anna@corp.example\r\nTo: bob@corp.example\r\nTo: x@partner.example\r\n");
    assert_eq!(out(&external, &inside).as_deref(), Some("scope = \"external\""));
    assert_eq!(out(&internal, &outgoing).as_deref(), Some("scope = \"internal\""));
    assert_eq!(out(&internal, &incoming).as_deref(), Some("scope = \"internal\""));
    for item in [&outgoing, &incoming, &both] {
        assert_eq!(out(&external, item), None);
    }
    for item in [&inside, &both] {
        assert_eq!(out(&internal, item), None);
    }
    let nobody = of("Sender: <>\r\nTo: anna@corp.example\r\n");
    assert_eq!((out(&external, &nobody), out(&internal, &nobody)), (None, None), "in doubt it is archived");
    let forged = decoded("Sender: anna@corp.example\r\nTo: bob@corp.example\r\n", ANONYMOUS);
    assert_eq!(out(&external, &forged), None, "a sender who only says to be ours is outside");
}

#[test]
fn chosen_people_alone_get_copies_and_the_policy_is_named() {
    let item = decoded("Sender: anna@corp.example\r\nTo: bob@corp.example\r\n", "");
    let with = |change: fn(&mut Policies)| {
        let routing = rules(change).route(&item);
        routing.excluded.clone().map_or_else(|| filed(&routing), |policy| vec![policy])
    };
    assert_eq!(with(|p| p.include = Selection::new(["bob@corp.example"], [])), ["bob@corp.example inbox"]);
    assert_eq!(with(|p| p.include = Selection::new([], ["sales"])), ["anna sent"]);
    assert_eq!(with(|p| p.exclude = Selection::new(["ANNA"], [])), ["bob@corp.example inbox"]);
    assert_eq!(with(|p| p.exclude = Selection::new(["Anna@corp.example"], [])), ["bob@corp.example inbox"]);
    assert_eq!(with(|p| p.include = Selection::new(["carl"], [])), ["include_people and include_groups"]);
    let all_out = |p: &mut Policies| {
        p.exclude = Selection::new([], ["SALES"]);
        p.unknown_internal = UnknownInternal::Exclude;
    };
    assert_eq!(with(all_out), ["exclude_people or exclude_groups, unknown_internal = \"exclude\""]);
}

#[test]
fn what_has_no_envelope_is_filed_by_headers_or_not() {
    let item = b"From: x@partner.example\r\nTo: anna@corp.example\r\nSubject: x\r\n\r\nText\r\n".to_vec();
    let plain = crate::journal::decode(&item, &DecodeOptions::default()).unwrap();
    assert_eq!(filed(&rules(|_| {}).route(&plain)), ["anna inbox"]);
    let strict = |policies: &mut Policies| policies.not_enveloped = NotEnveloped::Unassigned;
    let routing = rules(strict).route(&plain);
    assert_eq!(filed(&routing), ["unassigned inbox"]);
    assert!(routing.filings[0].because.contains("not_enveloped"));
    let report = decoded("Sender: x@partner.example\r\nTo: anna@corp.example\r\n", "");
    assert_eq!(filed(&rules(strict).route(&report)), ["anna inbox"]);
}

/// Whatever the policies, an item has filings or a reason for having none, and never both.
#[test]
fn every_combination_of_policies_leaves_one_outcome() {
    let mut items = Vec::new();
    for (sender, recipient) in [
        ("anna@corp.example", "bob@corp.example"),
        ("anna@corp.example", "x@partner.example"),
        ("x@partner.example", "y@partner.example"),
        ("x@partner.example", "EX:/o=Org/cn=nobody"),
        ("<>", "anna@corp.example"),
    ] {
        for inner in ["", ANONYMOUS] {
            items.push(decoded(&format!("Sender: {sender}\r\nTo: {recipient}\r\n"), inner));
        }
    }
    for (from, to) in [("anna@corp.example", "bob@corp.example"), ("x@partner.example", "y@partner.example")] {
        let item = format!("From: {from}\r\nTo: {to}\r\n\r\nText\r\n").into_bytes();
        items.push(crate::journal::decode(&item, &DecodeOptions::default()).unwrap());
    }
    let mut suspect = items[0].clone();
    suspect.flags.push(flags::UNTRUSTED_REPORT.into());
    items.push(suspect);
    let mut draft = items[0].clone();
    draft.flags.push(flags::DRAFT.into());
    items.push(draft);
    let selections = [Selection::default(), Selection::new(["anna"], []), Selection::new(["nobody"], ["sales"])];
    let mut seen = 0;
    for scope in [Scope::All, Scope::External, Scope::Internal] {
        for unknown in [UnknownInternal::Create, UnknownInternal::Unassigned, UnknownInternal::Exclude] {
            for non_internal in [NonInternal::Unassigned, NonInternal::Exclude] {
                for not_enveloped in [NotEnveloped::Headers, NotEnveloped::Unassigned] {
                    for sender in [UnauthenticatedSender::Flag, UnauthenticatedSender::NoSent] {
                        for (include, exclude) in
                            selections.iter().flat_map(|one| selections.iter().map(move |two| (one, two)))
                        {
                            let rules = rules(|policies| {
                                *policies = Policies {
                                    scope,
                                    include: include.clone(),
                                    exclude: exclude.clone(),
                                    unknown_internal: unknown,
                                    non_internal,
                                    not_enveloped,
                                    unauthenticated_sender: sender,
                                    create_max_per_item: 1,
                                };
                            });
                            for item in &items {
                                let routing = rules.route(item);
                                assert_ne!(routing.filings.is_empty(), routing.excluded.is_none(), "{routing:?}");
                                assert!(!(routing.suspect && routing.excluded.is_some()), "{routing:?}");
                                let told = routing.filings.iter().all(|filing| !filing.because.is_empty());
                                assert!(told && routing.excluded.as_deref() != Some(""), "{routing:?}");
                                for filing in &routing.filings {
                                    let known = routing.people.iter().any(|person| person.person == filing.person);
                                    assert!(known, "{routing:?}");
                                }
                                seen += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(seen, 3 * 3 * 2 * 2 * 2 * 9 * 14);
}
