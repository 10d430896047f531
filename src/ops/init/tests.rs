//! The dialogue without a terminal, and the configuration that it ends with, read back.

use std::path::Path;

use clap::CommandFactory as _;

use super::answers::{Access, Answers, HttpLogin, Keep, Kind, Place};
use super::dialogue::{Dialogue, REFUSALS_MAX, Step, Topic};
use super::guess::Guess;
use super::questions::{self, Question};
use super::render::{self, SecretAt};
use crate::base::secret::Secret;
use crate::config::{self, Settings, SourceSettings};
use crate::net::TlsMode;
use crate::sources::{Blocked, FolderSeen, Looked, Reports};

struct Talk {
    dialogue: Dialogue,
    folder: tempfile::TempDir,
}

impl Talk {
    fn new() -> Talk {
        let folder = tempfile::tempdir().unwrap();
        let dialogue = Dialogue::new(folder.path().join("gatepost.toml"), folder.path().join("archive"));
        Talk { dialogue, folder }
    }

    fn question(&self) -> Question {
        match self.dialogue.next() {
            Step::Ask(question) => question,
            step => panic!("no question: {step:?}"),
        }
    }

    /// The question must be about this.
    fn says(&mut self, topic: Topic, text: &str) {
        assert_eq!(self.question().topic, topic);
        self.dialogue.answer(topic, text).unwrap();
    }

    fn takes_default(&mut self, topic: Topic) {
        let default = self.question().default.unwrap();
        self.says(topic, &default);
    }

    /// Up to a server that was reached.
    fn reached(kind: &str, login: &str, server: &str) -> Talk {
        let mut talk = Talk::new();
        talk.says(Topic::Kind, kind);
        talk.says(Topic::Login, login);
        if let Step::Search { .. } = talk.dialogue.next() {
            talk.dialogue.found(Vec::new());
        }
        talk.says(Topic::Server, server);
        let Step::Reach(places) = talk.dialogue.next() else { panic!("{:?}", talk.dialogue.next()) };
        talk.dialogue.reached(places[0].clone(), Vec::new());
        talk
    }

    fn looked(&mut self, blocked: Option<Blocked>) {
        assert_eq!(self.dialogue.next(), Step::Try);
        let folder = |name: &str, items, found, is_junk| FolderSeen {
            name: name.into(),
            items,
            reports: Some(Reports { found, of: items }),
            is_junk,
            epoch: None,
        };
        let folders = vec![folder("INBOX", 3, 0, false), folder("Sent", 2, 0, false), folder("Junk", 1, 1, true)];
        self.dialogue.tried(Looked { blocked, folders });
    }

    fn settings(&self, secret: &SecretAt<'_>) -> Settings {
        let text = render::text(&self.dialogue.answers, "journal", secret);
        config::parse(&self.folder.path().join("gatepost.toml"), &text)
            .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }
}

#[test]
fn a_mailbox_over_imap_from_the_first_question_to_the_file() {
    let mut talk = Talk::reached("1", "journal@corp.example", "mail.corp.example");
    let asked = talk.question();
    assert!(asked.is_secret && asked.default.is_none());
    talk.says(Topic::Secret, "correct \"horse\" \\ ü");
    talk.looked(None);
    assert_eq!(
        talk.question().text[1..],
        ["  1  INBOX: 3 mails", "  2  Sent: 2 mails", "  3  Junk: 1 mail, journal reports: 1 of the newest 1"]
    );
    talk.takes_default(Topic::Folders);
    let delete = talk.question();
    assert!(delete.text.join(" ").contains("only after its bytes were written, synced, read back"), "{delete:?}");
    talk.takes_default(Topic::Delete);
    talk.takes_default(Topic::Domains);
    talk.takes_default(Topic::Archive);
    talk.takes_default(Topic::Keep);
    talk.takes_default(Topic::Out);
    assert_eq!(talk.dialogue.next(), Step::Write);
    assert_eq!(talk.dialogue.answers.keep, Some(Keep::Sealed));
    let settings = talk.settings(&SecretAt::Ref { key: "secret", value: "journal".into() });
    assert_eq!(settings.notices, Vec::<String>::new());
    assert_eq!(settings.archive.path, talk.folder.path().join("archive"));
    assert_eq!(settings.people.internal_domains, ["corp.example"]);
    let profile = &settings.profiles[0];
    assert!(!profile.delete && profile.name == "journal");
    let SourceSettings::Imap(imap) = &profile.source else { panic!("another source") };
    assert_eq!((imap.host.as_str(), imap.port, imap.tls), ("mail.corp.example", 993, TlsMode::Implicit));
    assert_eq!(
        (imap.username.as_str(), imap.folders.as_slice()),
        ("journal@corp.example", &["INBOX".to_owned(), "Junk".to_owned()][..])
    );
    // A folder that cannot be written to, then one that can.
    talk.dialogue.written(Err("no rights".into()));
    talk.says(Topic::Keep, "env JOURNAL_PASSWORD");
    talk.takes_default(Topic::Out);
    assert_eq!(talk.dialogue.next(), Step::Write);
    talk.dialogue.written(Ok(()));
    assert_eq!(talk.dialogue.next(), Step::Done);
}

/// What a login is tried with is what is written, but for the place of the password.
#[test]
fn a_trial_logs_in_with_what_will_be_written() {
    let mut talk = Talk::reached("imap", "journal", "127.0.0.1:1143");
    let odd = "pa\"ss\\wörd\t{ env = 'x' } # \u{1F600}";
    talk.says(Topic::Secret, odd);
    let trial = talk.dialogue.trial();
    let secret = Secret::new(odd.into());
    let text = render::text(&trial, "journal", &SecretAt::Literal(&secret));
    let settings = config::parse(Path::new("/nowhere/gatepost.toml"), &text).unwrap();
    let options = settings.profiles[0].source_options().unwrap();
    assert!(!format!("{options:?}").contains("ss\\"), "{options:?}");
    let crate::sources::SourceOptions::Imap(options) = options else { panic!("another source") };
    let crate::net::login::Login::Password(password) = &options.login else { panic!("another login") };
    assert_eq!(password.expose(), odd);
}

#[test]
fn every_kind_of_gateway_becomes_a_configuration_that_is_read_back() {
    let secret = SecretAt::Ref { key: "env", value: "JOURNAL_PASSWORD".into() };
    for (kind, login, place) in [
        (Kind::Imap, "journal", Place::Server { host: "::1".into(), port: 143, tls: TlsMode::StartTls }),
        (Kind::Imap, "journal", Place::Server { host: "localhost".into(), port: 1143, tls: TlsMode::None }),
        (Kind::Pop3, "journal", Place::Server { host: "pop.example".into(), port: 995, tls: TlsMode::Implicit }),
        (Kind::Gateway, "mbx-2a20", Place::Server { host: "gw.example".into(), port: 995, tls: TlsMode::Implicit }),
        (Kind::Gateway, "mbx-2a20", Place::Server { host: "gw.example".into(), port: 110, tls: TlsMode::StartTls }),
        (Kind::Ews, "CORP\\journal", Place::Url("https://mail.example/EWS/Exchange.asmx".into())),
        (Kind::Ews, "journal@corp.example", Place::Autodiscover { domain: "corp.example".into() }),
        (Kind::Google, "journal@corp.example", Kind::Google.fixed_place().unwrap()),
    ] {
        let mut talk = Talk::new();
        let answers = &mut talk.dialogue.answers;
        *answers = Answers {
            kind: Some(kind),
            login: Some(login.into()),
            place: Some(place.clone()),
            http_login: Some(HttpLogin::Ntlm),
            access: Some(Access::Password),
            ca_file: Some("/etc/it's \"a\" ca.pem".into()),
            delete: Some(true),
            domains: Some(vec!["corp.example".into(), "*.corp.example".into()]),
            archive: Some("/var/lib/gatepost/archive".into()),
            ..Answers::default()
        };
        let settings = talk.settings(&secret);
        let (source, profile) = (&settings.profiles[0].source, &settings.profiles[0]);
        assert_eq!((source.login(), profile.delete), (login, true), "{place:?}");
        match (source, &place) {
            (SourceSettings::Imap(imap), Place::Server { host, port, tls }) => {
                assert_eq!((&imap.host, imap.port, imap.tls), (host, *port, *tls));
            }
            (SourceSettings::Pop3(pop3), Place::Server { host, port, tls }) => {
                assert_eq!((&pop3.host, pop3.ports[0]), (host, (*port, *tls)));
            }
            (SourceSettings::Ews(ews), Place::Url(url)) => assert_eq!(ews.url.as_ref(), Some(url)),
            (SourceSettings::Ews(ews), Place::Autodiscover { .. }) => assert_eq!(ews.url, None),
            (source, place) => panic!("{source:?} {place:?}"),
        }
    }
}

#[test]
fn logins_with_tokens_become_tables_that_are_read_back() {
    let secret = SecretAt::Ref { key: "secret", value: "journal".into() };
    for (kind, access) in [
        (Kind::Microsoft, Access::Device),
        (Kind::Microsoft, Access::Application),
        (Kind::Google, Access::ServiceAccount),
    ] {
        let mut talk = Talk::new();
        talk.says(Topic::Kind, kind.word());
        assert!(talk.dialogue.answer(Topic::Login, "journal").is_err(), "a token is for an address");
        talk.says(Topic::Login, "journal@corp.example");
        let Step::Reach(places) = talk.dialogue.next() else { panic!("{:?}", talk.dialogue.next()) };
        talk.dialogue.reached(places[0].clone(), Vec::new());
        let number = questions::accesses(kind).iter().position(|(_, one)| *one == access).unwrap() + 1;
        talk.says(Topic::Access, &number.to_string());
        match access {
            Access::Device | Access::Application => {
                talk.takes_default(Topic::Tenant);
                talk.says(Topic::ClientId, "2f7d4f1e-0000-4000-8000-5d6c2b1a9e30");
            }
            Access::ServiceAccount => {
                let file = talk.folder.path().join("key.json");
                std::fs::write(&file, "{}").unwrap();
                talk.says(Topic::ServiceAccount, &file.display().to_string());
            }
            Access::Password => unreachable!(),
        }
        match access {
            Access::Application => talk.says(Topic::Secret, "client secret"),
            Access::Device => {
                talk.takes_default(Topic::Archive);
                assert_eq!(talk.dialogue.next(), Step::SignIn);
                talk.dialogue.signed_in(Ok(()));
            }
            Access::ServiceAccount | Access::Password => {}
        }
        talk.looked(None);
        talk.says(Topic::Folders, "1");
        talk.takes_default(Topic::Delete);
        talk.takes_default(Topic::Domains);
        if access != Access::Device {
            talk.takes_default(Topic::Archive);
        }
        if access == Access::Application {
            talk.takes_default(Topic::Keep);
        }
        talk.takes_default(Topic::Out);
        assert_eq!(talk.dialogue.next(), Step::Write);
        let settings = talk.settings(&secret);
        let SourceSettings::Imap(imap) = &settings.profiles[0].source else { panic!("another source") };
        assert!(matches!(imap.login, config::LoginSettings::OAuth2(_)), "{imap:?}");
        assert_eq!(Some(imap.host.as_str()), kind.fixed_place().map(|place| place.host()).as_deref());
    }
}

#[test]
fn a_refused_login_is_tried_three_times_and_not_a_fourth() {
    let mut talk = Talk::reached("imap", "journal@corp.example", "mail.corp.example");
    for left in (1..REFUSALS_MAX).rev() {
        talk.says(Topic::Secret, "wrong");
        talk.looked(Some(Blocked::Login));
        let asked = talk.question();
        let times = if left == 1 { "once more".to_owned() } else { format!("{left} times more") };
        assert!(asked.is_secret && asked.text[0].contains(&times), "{asked:?}");
    }
    talk.says(Topic::Secret, "wrong again");
    talk.looked(Some(Blocked::Login));
    let Step::GiveUp(why) = talk.dialogue.next() else { panic!("{:?}", talk.dialogue.next()) };
    assert!(why.contains("not locked"), "{why}");
}

#[test]
fn a_mistake_can_be_mended_on_the_way() {
    let mut talk = Talk::reached("imap", "jurnal@corp.example", "mail.corp.example");
    assert!(talk.dialogue.answer(Topic::Secret, "").is_err() && talk.dialogue.answer(Topic::Secret, "a\nb").is_err());
    talk.says(Topic::Secret, "right, for another login");
    talk.looked(Some(Blocked::Login));
    // Nothing: the login was wrong.
    talk.says(Topic::Secret, "");
    talk.says(Topic::Login, "journal@corp.example");
    talk.says(Topic::Secret, "right");
    // The server went away: another one is asked for.
    talk.looked(Some(Blocked::Reach));
    talk.says(Topic::Server, "other.corp.example:143");
    let Step::Reach(places) = talk.dialogue.next() else { panic!() };
    assert_eq!(places, [Place::Server { host: "other.corp.example".into(), port: 143, tls: TlsMode::StartTls }]);
    talk.dialogue.unreached(true);
    let asked = talk.question();
    assert!(asked.topic == Topic::CaFile && asked.default.is_none(), "there is no way round it: {asked:?}");
    assert!(talk.dialogue.answer(Topic::CaFile, "/nowhere/ca.pem").unwrap_err().contains("/nowhere/ca.pem"));
    let ca = talk.folder.path().join("ca.pem");
    std::fs::write(&ca, "x").unwrap();
    talk.says(Topic::CaFile, &ca.display().to_string());
    let Step::Reach(places) = talk.dialogue.next() else { panic!() };
    talk.dialogue.unreached(false);
    talk.says(Topic::Server, "mail.corp.example");
    talk.dialogue.reached(places[0].clone(), Vec::new());
    assert_eq!(talk.dialogue.next(), Step::Try, "the password is still known");
}

#[test]
fn a_server_that_only_dns_vouches_for_is_confirmed_by_a_person() {
    let at = |host: &str| Guess {
        place: Place::Server { host: host.into(), port: 993, tls: TlsMode::Implicit },
        why: "named by DNS".into(),
    };
    let asked = |host| questions::server(Kind::Imap, &[at(host)], Some("corp.example"));
    assert!(asked("imap.corp.example").may_be_assumed);
    assert!(!asked("imap.hoster.example").may_be_assumed);
    assert!(asked("imap.hoster.example").text.iter().any(|line| line.contains("imap.hoster.example")));
}

#[test]
fn what_the_server_takes_decides_how_to_log_in() {
    for (schemes, known) in [
        (&["Basic"][..], Some(HttpLogin::Basic)),
        (&["Negotiate", "NTLM"], Some(HttpLogin::Ntlm)),
        (&["NTLM", "Basic"], None),
        (&[], None),
    ] {
        let mut talk = Talk::new();
        talk.says(Topic::Kind, "ews");
        talk.says(Topic::Login, "CORP\\journal");
        talk.says(Topic::Server, "mail.corp.example");
        let Step::Reach(places) = talk.dialogue.next() else { panic!() };
        talk.dialogue.reached(places[0].clone(), schemes.iter().map(|scheme| (*scheme).to_owned()).collect());
        assert_eq!(talk.dialogue.answers.http_login, known, "{schemes:?}");
        let next = talk.question().topic;
        assert_eq!(next, if known.is_some() { Topic::Secret } else { Topic::HttpLogin });
    }
}

#[test]
fn an_archive_goes_where_nothing_else_lies_and_a_configuration_is_not_lost() {
    let mut talk = Talk::new();
    let folder = talk.folder.path().to_owned();
    let full = folder.join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter.txt"), "x").unwrap();
    let why = talk.dialogue.answer(Topic::Archive, &full.display().to_string()).unwrap_err();
    assert!(why.contains("something else than an archive"), "{why}");
    assert!(talk.dialogue.answer(Topic::Archive, "~/mail").is_err());
    assert!(talk.dialogue.answer(Topic::Archive, &folder.join("new").display().to_string()).is_ok());

    let mut talk = Talk::reached("pop3", "journal", "pop.corp.example");
    talk.says(Topic::Secret, "secret");
    talk.looked(None);
    talk.takes_default(Topic::Delete);
    assert!(talk.dialogue.answer(Topic::Domains, " ").is_err(), "a login without a domain suggests none");
    talk.says(Topic::Domains, "corp.example");
    talk.takes_default(Topic::Archive);
    talk.says(Topic::Keep, "file");
    let there = folder.join("there.toml");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&there, "# mine").unwrap();
    talk.says(Topic::Out, &there.display().to_string());
    let asked = talk.question();
    assert!(asked.topic == Topic::Overwrite && !asked.may_be_assumed, "--yes overwrites nothing");
    talk.says(Topic::Overwrite, "no");
    assert_eq!(talk.question().topic, Topic::Out);
    talk.says(Topic::Out, &there.display().to_string());
    talk.says(Topic::Overwrite, "yes");
    assert_eq!(talk.dialogue.next(), Step::Write);
}

/// What cannot be asked must be sayable up front.
#[test]
fn the_flags_that_questions_name_exist() {
    let command = super::args::Probe::command();
    let flags: Vec<String> = command.get_arguments().filter_map(|one| one.get_long().map(str::to_owned)).collect();
    let answers = Answers { access: Some(Access::Application), ..Answers::default() };
    let all = [
        questions::kind(),
        questions::login(Kind::Imap),
        questions::server(Kind::Imap, &[], None),
        questions::server(Kind::Ews, &[], None),
        questions::ca_file(),
        questions::http_login(&[]),
        questions::access(Kind::Google),
        questions::tenant(None),
        questions::client_id(),
        questions::service_account(),
        questions::secret(Kind::Imap, &answers, 0),
        questions::folders(&[]),
        questions::delete(),
        questions::domains(None),
        questions::keep(&answers),
        questions::out(Path::new("x")),
        questions::overwrite(Path::new("x")),
    ];
    for question in all {
        let named = question.flag.split([' ', ',']).filter_map(|word| word.strip_prefix("--"));
        let named: Vec<&str> = named.collect();
        assert!(!named.is_empty(), "{question:?}");
        assert!(named.iter().all(|flag| flags.iter().any(|known| known == flag)), "{named:?} of {flags:?}");
    }
}
