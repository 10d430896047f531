//! People from a real directory: OpenLDAP with the attributes of Active Directory.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost::base::secret::Secret;
use gatepost::net::TlsMode;
use gatepost::net::trust::Trust;
use gatepost::people::directory::{Entry, Roster, Terms};
use gatepost::people::ldap::{self, Disabled, LdapError, LdapOptions};
use gatepost::people::{People, PeopleOptions};

use crate::support::slapd::{Cutter, PASSWORD, READER, SUFFIX, Setup, Slapd, account, group, user};

const ANNA: &str = "00112233-4455-6677-8899-aabbccddeeff";
const BOB: &str = "10112233-4455-6677-8899-aabbccddeeff";
const CARL: &str = "20112233-4455-6677-8899-aabbccddeeff";

fn options(slapd: &Slapd, tls: TlsMode) -> LdapOptions {
    LdapOptions {
        host: "localhost".into(),
        port: if tls == TlsMode::Implicit { slapd.ldaps_port } else { slapd.ldap_port },
        tls,
        trust: Trust { ca_file: Some(slapd.ca_file.clone()), ..Trust::default() },
        login: Some((READER.into(), Secret::new(PASSWORD.into()))),
        ..LdapOptions::default()
    }
}

fn three() -> String {
    let anna = [
        "mail: anna@corp.example",
        "proxyAddresses: SMTP:anna@corp.example",
        "proxyAddresses: smtp:a.example@corp.example",
        "proxyAddresses: X500:/o=Old/cn=Anna",
        "userPrincipalName: anna@corp.local",
        "legacyExchangeDN: /o=Org/ou=First/cn=Recipients/cn=anna",
        "displayName: Anna Example",
    ];
    let carl = ["mail: carl@corp.example", "userAccountControl: 514"];
    user("Anna", ANNA, &anna) + &user("Bob", BOB, &["mail: bob@corp.example"]) + &user("Carl", CARL, &carl)
}

async fn refused(options: &LdapOptions) -> LdapError {
    ldap::load(options).await.unwrap_err()
}

fn names(entries: &[Entry]) -> Vec<&str> {
    let mut names: Vec<_> = entries.iter().map(|entry| entry.main.as_ref().unwrap().local()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn people_come_over_every_protection() {
    let Some(slapd) = Slapd::start(&three()) else { return };
    for tls in [TlsMode::Implicit, TlsMode::StartTls, TlsMode::None] {
        let entries = ldap::load(&options(&slapd, tls)).await.unwrap();
        assert_eq!(names(&entries), ["anna", "bob", "carl"], "{tls:?}");
        let anna = entries.iter().find(|entry| entry.key == ANNA).unwrap();
        let addresses: Vec<_> = anna.addresses.iter().map(|address| address.as_str()).collect();
        assert_eq!(addresses, ["a.example@corp.example", "anna@corp.example", "anna@corp.local"]);
        assert_eq!(anna.legacy, ["/o=Old/cn=Anna", "/o=Org/ou=First/cn=Recipients/cn=anna"]);
        assert_eq!(anna.name.as_deref(), Some("Anna Example"));
        let disabled: Vec<_> = entries.iter().filter(|entry| entry.disabled).map(|entry| entry.key.as_str()).collect();
        assert_eq!(disabled, [CARL]);
    }
}

#[tokio::test]
async fn no_login_is_sent_where_the_protection_fails() {
    let Some(slapd) = Slapd::start(&three()) else { return };
    for tls in [TlsMode::Implicit, TlsMode::StartTls] {
        let unknown = LdapOptions { trust: Trust::default(), ..options(&slapd, tls) };
        let error = refused(&unknown).await;
        assert!(error.what.contains("certificate is not trusted"), "{error}");
        assert!(error.hint.unwrap().contains("ca_file"));
        let other_name = LdapOptions { host: "127.0.0.1".into(), ..options(&slapd, tls) };
        let error = refused(&other_name).await;
        assert!(error.what.contains("is for another name"), "{error}");
    }
    let mixed_up = LdapOptions { port: slapd.ldap_port, ..options(&slapd, TlsMode::Implicit) };
    let error = refused(&mixed_up).await;
    assert!(error.hint.unwrap().contains("ldaps:// is usually on port 636"), "{}", error.what);
    let Some(plain) = Slapd::with(Setup { without_tls: true }, &three()) else { return };
    let error = refused(&options(&plain, TlsMode::StartTls)).await;
    assert!(error.what.contains("refused TLS") && error.what.contains("the login was not sent"), "{error}");
}

#[tokio::test]
async fn refusals_are_told_in_the_servers_words() {
    let Some(slapd) = Slapd::start(&three()) else { return };
    let good = options(&slapd, TlsMode::Implicit);
    let login = |password: &str| Some((READER.to_owned(), Secret::new(password.into())));
    let error = refused(&LdapOptions { login: login("wrong"), ..good.clone() }).await;
    assert!(
        error.refused
            && error.what.ends_with("refused the login cn=reader,dc=corp,dc=example: invalid credentials (49)")
    );
    assert_eq!(error.hint.as_deref(), Some("check `bind_dn` and the password"));
    let error = refused(&LdapOptions { base: vec!["ou=none,dc=corp,dc=example".into()], ..good.clone() }).await;
    assert!(!error.refused && error.what.contains("ou=none") && error.what.contains("no such object (32)"), "{error}");
    let error = refused(&LdapOptions { base: vec!["no DN".into()], ..good.clone() }).await;
    assert!(error.what.contains("invalid DN (34)"), "{error}");
    // Who may see nothing gets an error or nobody, never a part.
    match ldap::load(&LdapOptions { login: None, base: vec![SUFFIX.into()], ..good.clone() }).await {
        Ok(entries) => assert!(entries.is_empty()),
        Err(error) => assert!(error.what.contains("refused"), "{error}"),
    }
    let error = refused(&LdapOptions { port: 1, ..good.clone() }).await;
    assert!(error.what.contains("refused the connection"), "{error}");
}

#[tokio::test]
async fn twenty_thousand_people_page_by_page() {
    let ldif: String = (0..20_000)
        .map(|n| {
            let mail = format!("mail: p{n}@corp.example");
            let alias = format!("proxyAddresses: smtp:alias{n}@corp.example");
            user(&format!("P{n}"), &format!("{n:08x}-4455-6677-8899-aabbccddeeff"), &[&mail, &alias])
        })
        .collect();
    let Some(slapd) = Slapd::start(&ldif) else { return };
    let started = Instant::now();
    let entries = ldap::load(&options(&slapd, TlsMode::Implicit)).await.unwrap();
    let loaded = started.elapsed().as_secs_f64();
    let nobody = HashSet::new();
    let terms = Terms { now: jiff::Timestamp::now(), drop_max_percent: Some(20), never_owners: &nobody };
    let first = Roster::renewed(None, "", &entries, &[], terms).unwrap().roster;
    let roster = Roster::renewed(Some(&first), "", &entries, &[], terms).unwrap().roster;
    let bytes = roster.to_json();
    let directory = Some(Arc::new(Roster::parse(&bytes).unwrap()));
    let people = People::build(&PeopleOptions { directory, ..PeopleOptions::default() }, &[]).unwrap();
    assert_eq!(people.len(), 20_000);
    eprintln!(
        "20,000 people loaded in {loaded:.2} s; with roster ({} KiB) and snapshot in {:.2} s",
        bytes.len() / 1024,
        started.elapsed().as_secs_f64()
    );
    assert_eq!(entries.len(), 20_000);
    assert!(entries.iter().all(|entry| entry.addresses.len() == 2));
    // Without pages the server stops at its limit: that is no list.
    let error = refused(&LdapOptions { page_size: 0, ..options(&slapd, TlsMode::Implicit) }).await;
    assert!(error.what.contains("size limit exceeded (4)"), "{error}");
}

#[tokio::test]
async fn accounts_of_openldap_have_their_own_key() {
    let Some(slapd) = Slapd::start(&account("anna", &["mail: anna@corp.example", "mail: a.e@corp.example"])) else {
        return;
    };
    let entries = ldap::load(&options(&slapd, TlsMode::StartTls)).await.unwrap();
    assert_eq!((entries.len(), entries[0].addresses.len(), entries[0].key.len()), (1, 2, 36));
    slapd.modify(&format!("dn: uid=anna,{SUFFIX}\nchangetype: modrdn\nnewrdn: uid=wed\ndeleteoldrdn: 1\n"));
    let renamed = ldap::load(&options(&slapd, TlsMode::StartTls)).await.unwrap();
    assert_eq!(renamed[0].key, entries[0].key);
}

#[tokio::test]
async fn groups_within_groups_decide_who_is_archived() {
    let posix = format!(
        "dn: cn=Desk,{SUFFIX}\nobjectClass: posixGroup\ncn: Desk\ngidNumber: 7\nmemberUid: dora\nmemberUid: nobody\n\n"
    );
    let people = three() + &account("dora", &["mail: dora@corp.example"]);
    let groups = [
        group("Inner", &["Bob", "Outer"]),
        group("Outer", &["Anna", "Inner", "Nobody"]),
        group("Left", &["Bob"]),
        posix,
    ];
    let Some(slapd) = Slapd::start(&(people + &groups.concat())) else { return };
    let with = |include: &[&str], exclude: &[&str], groups: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        LdapOptions {
            include_groups: owned(include),
            exclude_groups: owned(exclude),
            groups: owned(groups),
            ..options(&slapd, TlsMode::None)
        }
    };
    let outer_dn = format!("CN=outer, {SUFFIX}");
    for (include, exclude, expected) in [
        (&["outer"][..], &[][..], &["anna", "bob"][..]),
        (&[&outer_dn], &["Left"], &["anna"]),
        (&[], &["Outer"], &["carl", "dora"]),
        (&["Desk", "Left"], &[], &["bob", "dora"]),
    ] {
        let entries = ldap::load(&with(include, exclude, &[])).await.unwrap();
        assert_eq!(names(&entries), expected, "{include:?} {exclude:?}");
    }
    let entries = ldap::load(&with(&[], &[], &["Inner", "Desk"])).await.unwrap();
    let groups: BTreeMap<_, _> =
        entries.iter().map(|e| (e.main.as_ref().unwrap().local(), e.groups.join(","))).collect();
    let expected = [("anna", "Inner"), ("bob", "Inner"), ("carl", ""), ("dora", "Desk")];
    assert_eq!(groups, expected.map(|(name, groups)| (name, groups.to_owned())).into());
    let error = refused(&with(&[], &["Lfet"], &[])).await;
    assert!(error.what.contains("has no group \"Lfet\""), "{error}");
}

#[tokio::test]
async fn disabled_accounts_are_left_out_when_told_to() {
    let Some(slapd) = Slapd::start(&three()) else { return };
    let skip = LdapOptions { disabled: Disabled::Skip, ..options(&slapd, TlsMode::None) };
    assert_eq!(names(&ldap::load(&skip).await.unwrap()), ["anna", "bob"]);
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_an_error_wherever_it_dies() {
    let Some(slapd) = Slapd::start(&three()) else { return };
    let cutter = Cutter::before(slapd.ldap_port);
    let options =
        LdapOptions { port: cutter.port, page_size: 2, exclude_groups: vec![], ..options(&slapd, TlsMode::None) };
    assert_eq!(ldap::load(&options).await.unwrap().len(), 3);
    let all = cutter.passed();
    for bytes in (0..all).step_by(7) {
        cutter.cut_after(bytes);
        let error = refused(&options).await;
        assert!(error.what.contains("ended the connection") || error.what.contains("no answer"), "{bytes}: {error}");
        assert!(!error.refused);
    }
    cutter.cut_after(u64::MAX);
    assert_eq!(ldap::load(&options).await.unwrap().len(), 3);
}

/// Says something and goes silent.
fn speaker(says: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            std::thread::spawn(move || {
                let _ = client.write_all(says);
                let _ = client.read_to_end(&mut Vec::new());
            });
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_directory_is_named() {
    let silent = Duration::from_millis(300);
    for (says, expected) in [
        (&b"* OK IMAP4rev1 ready\r\n"[..], "sends something that is no LDAP"),
        (b"0\x05\x02\x01\x01d\x00", "is no LDAP"),
        (b"0\x84\x7f\xff\xff\xff", "announces an answer of 2147483647 bytes"),
        (b"0\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", "did not give all its people within 300ms"),
        (b"", "did not give all its people within 300ms"),
    ] {
        let options = LdapOptions {
            host: "127.0.0.1".into(),
            port: speaker(says),
            tls: TlsMode::None,
            login: Some((READER.into(), Secret::new(PASSWORD.into()))),
            timeout: silent,
            ..LdapOptions::default()
        };
        let error = refused(&options).await;
        assert!(error.what.contains(expected), "{says:?}: {error}");
    }
}

/// What Active Directory does and OpenLDAP cannot be brought to do: answers as written, one list for each request.
fn scripted(answers: Vec<Vec<Vec<u8>>>) -> LdapOptions {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        for answer in answers {
            let mut head = [0; 2];
            // A client that has heard enough hangs up.
            if client.read_exact(&mut head).is_err() {
                return;
            }
            let mut length = usize::from(head[1]);
            if length & 0x80 != 0 {
                let mut octets = vec![0; length & 0x7f];
                client.read_exact(&mut octets).unwrap();
                length = octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet));
            }
            let mut request = vec![0; length];
            client.read_exact(&mut request).unwrap();
            // The id is the first element: 02 01 id.
            assert_eq!(request[..2], [2, 1]);
            for content in answer {
                client.write_all(&tlv(0x30, &[tlv(2, &request[2..3]), content].concat())).unwrap();
            }
        }
        let _ = client.read_to_end(&mut Vec::new());
    });
    LdapOptions {
        host: "127.0.0.1".into(),
        port,
        tls: TlsMode::None,
        login: Some((READER.into(), Secret::new(PASSWORD.into()))),
        ..LdapOptions::default()
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

fn octets(text: &str) -> Vec<u8> {
    tlv(4, text.as_bytes())
}

fn done(tag: u8, code: u8, said: &str) -> Vec<u8> {
    tlv(tag, &[tlv(10, &[code]), octets(""), octets(said)].concat())
}

fn bound() -> Vec<Vec<u8>> {
    vec![done(0x61, 0, "")]
}

fn found(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let attribute = |(name, values): &(&str, &[&[u8]])| {
        let values: Vec<u8> = values.iter().flat_map(|value| tlv(4, value)).collect();
        tlv(0x30, &[octets(name), tlv(0x31, &values)].concat())
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    tlv(0x64, &[octets(dn), tlv(0x30, &attributes)].concat())
}

fn root() -> Vec<Vec<u8>> {
    let contexts: &[&[u8]] = &[b"DC=corp,DC=example", b"CN=Configuration,DC=corp,DC=example"];
    let root = found("", &[("defaultNamingContext", &contexts[..1]), ("namingContexts", contexts)]);
    vec![root, done(0x65, 0, "")]
}

fn reference(url: &str) -> Vec<u8> {
    tlv(0x73, &octets(url))
}

/// The end of a page; without a cookie it is the last.
fn page(cookie: &str) -> Vec<u8> {
    let value = tlv(0x30, &[tlv(2, &[0]), octets(cookie)].concat());
    let control = tlv(0x30, &[octets("1.2.840.113556.1.4.319"), tlv(4, &value)].concat());
    [done(0x65, 0, ""), tlv(0xa0, &control)].concat()
}

const GUID: &[u8] = b"0123456789abcdef";

#[tokio::test]
async fn active_directory_gives_long_attributes_in_parts_and_refers_to_itself() {
    let first: &[&[u8]] = &[b"SMTP:anna@corp.example", b"smtp:a1@corp.example"];
    let anna = found(
        "CN=Anna,DC=corp,DC=example",
        &[("objectGUID", &[GUID]), ("proxyAddresses", &[]), ("proxyAddresses;range=0-1", first)],
    );
    let bob =
        found("CN=Bob,DC=corp,DC=example", &[("objectGUID", &[b"\xff123456789abcdef"]), ("mail", &[b"b@c.example"])]);
    let part = |range: &str, value: &[u8]| {
        let name = format!("proxyAddresses;range={range}");
        vec![found("CN=Anna,DC=corp,DC=example", &[(name.as_str(), &[value])]), done(0x65, 0, "")]
    };
    let own = reference("ldap://ForestDnsZones.corp.example/DC=ForestDnsZones,DC=corp,DC=example");
    let options = scripted(vec![
        bound(),
        root(),
        vec![anna, page("more")],
        vec![bob, own, page("")],
        part("2-2", b"smtp:a2@corp.example"),
        part("3-*", b"smtp:a3@corp.example"),
    ]);
    let entries = ldap::load(&options).await.unwrap();
    let anna = entries.iter().find(|entry| entry.key == "33323130-3534-3736-3839-616263646566").unwrap();
    let addresses: Vec<_> = anna.addresses.iter().map(|address| address.local()).collect();
    assert_eq!((addresses, entries.len()), (vec!["a1", "a2", "a3", "anna"], 2));
}

#[tokio::test]
async fn half_a_list_is_never_a_list() {
    let anna = || found("CN=Anna,DC=corp,DC=example", &[("objectGUID", &[GUID]), ("mail", &[b"anna@corp.example"])]);
    let notice = tlv(0x30, &[tlv(2, &[0]), done(0x78, 52, "the server is going down")].concat());
    let without_key = found("CN=Bob,DC=corp,DC=example", &[("mail", &[b"bob@corp.example"])]);
    for (answers, expected) in [
        (vec![anna(), done(0x65, 0, "")], "without saying whether it is the last"),
        (vec![anna(), done(0x65, 51, "try later")], "busy (51): try later"),
        (vec![anna(), done(0x65, 4, "")], "size limit exceeded (4)"),
        (vec![anna(), done(0x65, 3, "")], "time limit exceeded (3)"),
        (vec![anna(), reference("ldap://b.example/DC=b,DC=corp,DC=example"), page("")], "elsewhere: ldap://b.example/"),
        (vec![anna(), without_key, page("")], "CN=Bob,DC=corp,DC=example has neither objectGUID nor entryUUID"),
        (vec![anna(), page("more")], "busy (51)"),
    ] {
        let more = vec![done(0x65, 51, "")];
        let error = refused(&scripted(vec![bound(), root(), answers, more])).await;
        assert!(error.what.contains(expected), "{expected}: {error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(&notice));
    let error = refused(&LdapOptions { port, ..scripted(vec![]) }).await;
    assert!(error.what.contains("ends the connection: the server is going down"), "{error}");
}

#[tokio::test]
async fn active_directory_says_in_numbers_why_a_login_is_refused() {
    let said = "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 775, v2580\0";
    let error = refused(&scripted(vec![vec![done(0x61, 49, said)]])).await;
    assert!(error.refused && error.what.contains("data 775"), "{error}");
    assert!(error.hint.unwrap().starts_with("the account is locked"));
}
