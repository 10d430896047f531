//! People from a real directory: OpenLDAP with the attributes of Active Directory.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gatepost::base::secret::Secret;
use gatepost::net::TlsMode;
use gatepost::people::directory::Entry;
use gatepost::people::ldap::{self, Disabled, LdapError, LdapOptions};

use crate::support::slapd::{PASSWORD, READER, SUFFIX, Setup, Slapd, account, group, user};

const ANNA: &str = "00112233-4455-6677-8899-aabbccddeeff";
const BOB: &str = "10112233-4455-6677-8899-aabbccddeeff";
const CARL: &str = "20112233-4455-6677-8899-aabbccddeeff";

fn options(slapd: &Slapd, tls: TlsMode) -> LdapOptions {
    LdapOptions {
        host: "localhost".into(),
        port: if tls == TlsMode::Implicit { slapd.ldaps_port } else { slapd.ldap_port },
        tls,
        ca_file: Some(slapd.ca_file.clone()),
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
        let unknown = LdapOptions { ca_file: None, ..options(&slapd, tls) };
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
    eprintln!("20,000 people loaded in {:.2} s", started.elapsed().as_secs_f64());
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

/// Between client and server: passes on so many bytes of what the server says, then is gone.
struct Cutter {
    port: u16,
    bytes: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
    connections: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(server: u16) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (bytes, passed) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        let connections = Arc::new(AtomicUsize::new(0));
        let (limit, count, made) = (bytes.clone(), passed.clone(), connections.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                made.fetch_add(1, Relaxed);
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut from, mut to) = (server, client);
                let (limit, count) = (limit.clone(), count.clone());
                std::thread::spawn(move || {
                    let mut left = limit.load(Relaxed);
                    let mut buffer = [0; 4096];
                    while left > 0 {
                        let Ok(read @ 1..) = from.read(&mut buffer) else { break };
                        let pass = left.min(read as u64);
                        if to.write_all(&buffer[..pass as usize]).is_err() {
                            break;
                        }
                        left -= pass;
                        count.fetch_add(pass, Relaxed);
                    }
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                });
            }
        });
        Cutter { port, bytes, passed, connections }
    }

    fn cut_after(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_an_error_wherever_it_dies() {
    let Some(slapd) = Slapd::start(&three()) else { return };
    let cutter = Cutter::before(slapd.ldap_port);
    let options =
        LdapOptions { port: cutter.port, page_size: 2, exclude_groups: vec![], ..options(&slapd, TlsMode::None) };
    assert_eq!(ldap::load(&options).await.unwrap().len(), 3);
    let all = cutter.passed.load(Relaxed);
    for bytes in (0..all).step_by(7) {
        cutter.cut_after(bytes);
        let error = refused(&options).await;
        assert!(error.what.contains("ended the connection") || error.what.contains("no answer"), "{bytes}: {error}");
        assert!(!error.refused);
    }
    assert!(cutter.connections.load(Relaxed) as u64 > all / 7);
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
