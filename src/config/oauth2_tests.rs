//! `[profile.imap.oauth2]`: what is accepted, and every refusal read aloud.

use std::path::{Path, PathBuf};

use super::doc::{self, Doc};
use super::keys;
use super::oauth2::{OAuth2Settings, oauth2};
use super::raw::Table;
use crate::net::oauth::{ClientProof, Grant, Protocol};

/// The settings that the lines of the table make, and all that was found wrong with them.
fn read(lines: &str, protocol: Protocol, folder: &Path) -> (Option<OAuth2Settings>, String) {
    let (source, keys) = match protocol {
        Protocol::Imap => ("imap", &keys::PROFILE_IMAP),
        Protocol::Pop3 => ("pop3", &keys::PROFILE_POP3),
        Protocol::Ews => ("ews", &keys::PROFILE_EWS),
    };
    let text = format!(
        "[[profile]]\nname = \"journal\"\n[profile.{source}]\nusername = \"journal@corp.example\"\n[profile.{source}.oauth2]\n{lines}\n"
    );
    let file = PathBuf::from("FILE");
    let tree = doc::parse(&file, &text).unwrap();
    let doc = Doc::new(&file, &text);
    doc.set_token_folder("tokens".into());
    let top = Table::top(&doc, &tree);
    let profile = top.tables("profile", &keys::PROFILE, "name").pop().unwrap();
    let settings = oauth2(&profile.table(source, keys).unwrap(), folder, protocol);
    let mistakes = match doc.finish() {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    };
    (settings, mistakes)
}

fn good(lines: &str, protocol: Protocol) -> crate::net::oauth::OAuth2Options {
    let (settings, mistakes) = read(lines, protocol, Path::new(""));
    assert_eq!(mistakes, "", "{lines}");
    settings.unwrap().options().unwrap()
}

fn mistakes(lines: &str) -> String {
    let (settings, mistakes) = read(lines, Protocol::Imap, Path::new(""));
    assert!(!mistakes.is_empty(), "accepted: {settings:?}");
    mistakes
}

const MICROSOFT: &str =
    "provider = \"microsoft\"\ntenant = \"corp.example\"\nclient_id = \"app\"\nclient_secret = \"word\"";

#[test]
fn microsoft_needs_four_lines() {
    let options = good(MICROSOFT, Protocol::Imap);
    assert_eq!(options.token_url, "https://login.microsoftonline.com/corp.example/oauth2/v2.0/token");
    assert_eq!(options.scope, "https://outlook.office365.com/.default");
    assert_eq!((options.client_id.as_str(), options.login.as_str()), ("app", "journal@corp.example"));
    assert_eq!(options.folder.as_deref(), Some(Path::new("tokens")));
    assert!(
        matches!(options.grant, Grant::ClientCredentials(ClientProof::SecretInBody(secret)) if secret.expose() == "word")
    );
    let person = MICROSOFT.replace("client_secret", "refresh_token");
    for (protocol, right) in [(Protocol::Imap, "IMAP"), (Protocol::Pop3, "POP"), (Protocol::Ews, "EWS")] {
        let options = good(&person, protocol);
        let scope = format!("https://outlook.office365.com/{right}.AccessAsUser.All offline_access");
        assert_eq!(options.scope, scope);
        assert!(matches!(options.grant, Grant::RefreshToken { token, proof: None } if token.expose() == "word"));
    }
    let device = MICROSOFT.replace("client_secret = \"word\"", "grant = \"device_code\"");
    let options = good(&device, Protocol::Imap);
    assert!(matches!(options.grant, Grant::DeviceCode { proof: None }));
    let url = "https://login.microsoftonline.com/corp.example/oauth2/v2.0/devicecode";
    assert_eq!(options.device_url.as_deref(), Some(url));
}

#[test]
fn other_servers_are_named_by_address() {
    let lines = "token_url = \"https://login.example/token\"\nclient_id = \"app\"\nclient_secret = \"word\"\nclient_auth = \"basic\"\nproxy = \"http://proxy.example:3128\"\ntoken_folder = \"kept\"";
    let options = good(lines, Protocol::Pop3);
    assert_eq!((options.token_url.as_str(), options.scope.as_str()), ("https://login.example/token", ""));
    assert_eq!(options.proxy.unwrap().authority(), "proxy.example:3128");
    assert_eq!(options.folder.as_deref(), Some(Path::new("kept")));
    assert!(matches!(options.grant, Grant::ClientCredentials(ClientProof::SecretInHeader(_))));
    // A provider's rights at another address: a national cloud.
    let options = good(&format!("{MICROSOFT}\ntoken_url = \"https://login.example/token\""), Protocol::Imap);
    assert_eq!(options.token_url, "https://login.example/token");
}

#[test]
fn files_are_looked_at_when_a_token_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let lines = "provider = \"google\"\nservice_account = \"reader.json\"";
    let (settings, mistakes) = read(lines, Protocol::Imap, folder.path());
    assert_eq!(mistakes, "");
    let refused = || {
        let error = settings.as_ref().unwrap().options().unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "FOLDER")
    };
    let missing = refused();
    assert!(missing.contains("service_account: FOLDER/reader.json: cannot be read: "), "{missing}");
    made("reader.json", "{\"type\": \"service_account\", \"private_key\": \"hunter2\"}");
    insta::assert_snapshot!(refused(), @r#"
    FILE:5: profile "journal" → imap → oauth2 → service_account: FOLDER/reader.json is not the key file of a service account
      hint: in the Google Cloud console: IAM, service accounts, the account, keys, add key, JSON
    "#);
    let pair = MICROSOFT.replace("client_secret = \"word\"", "certificate = \"pair.pem\"");
    let (settings, _) = read(&pair, Protocol::Imap, folder.path());
    made("pair.pem", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----");
    let error = settings.unwrap().options().unwrap_err().to_string();
    assert!(error.contains("key: ") && error.contains("holds no private key in PEM form"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn mistakes_are_told_all_at_once() {
    insta::assert_snapshot!(mistakes(""), @r#"
    the configuration has 3 mistakes:
    FILE:5: profile "journal" → imap → oauth2: does not say by what right a token is asked for
      hint: name client_secret, or certificate and key, or refresh_token, or service_account; or write grant = "device_code" for a person who signs in once
    FILE:5: profile "journal" → imap → oauth2 → client_id: is missing
      hint: the application's ID as the provider shows it: client_id = "…"
    FILE:5: profile "journal" → imap → oauth2 → provider: is missing
      hint: write provider = "microsoft" or "google", or name the server with token_url
    "#);
    insta::assert_snapshot!(mistakes("provider = \"microsft\"\nclient_secret = \"word\"\nclient_auth = \"post\""), @r#"
    the configuration has 3 mistakes:
    FILE:5: profile "journal" → imap → oauth2 → client_id: is missing
      hint: the application's ID as the provider shows it: client_id = "…"
    FILE:6: profile "journal" → imap → oauth2 → provider: "microsft" is not known
      hint: did you mean "microsoft"? It is one of: microsoft, google
    FILE:8: profile "journal" → imap → oauth2 → client_auth: "post" is not known
      hint: it is one of: body, basic
    "#);
    insta::assert_snapshot!(mistakes("provider = \"microsoft\"\nclient_id = \"app\"\nclient_secret = \"word\"\ncertificate = \"a.pem\""), @r#"
    the configuration has 2 mistakes:
    FILE:5: profile "journal" → imap → oauth2 → tenant: is missing
      hint: the directory's ID or a domain of it: tenant = "corp.example"
    FILE:9: profile "journal" → imap → oauth2 → certificate: stands beside client_secret (line 8)
      hint: an application proves itself by one of them
    "#);
    insta::assert_snapshot!(mistakes(&MICROSOFT.replace("corp.example", "common")), @r#"
    FILE:7: profile "journal" → imap → oauth2 → tenant: "common" is no directory, and an application asks one for its token
      hint: the directory's ID or a domain of it: tenant = "corp.example"
    "#);
    insta::assert_snapshot!(mistakes(&MICROSOFT.replace("corp.example", "../x")), @r#"
    FILE:7: profile "journal" → imap → oauth2 → tenant: "../x" is neither an ID nor a domain
      hint: the directory's ID or a domain of it: tenant = "corp.example"
    "#);
    insta::assert_snapshot!(mistakes("token_url = \"http://login.example/token\"\ndevice_url = \"login.example\"\nproxy = \"socks5://proxy.example\"\ngrant = \"device_code\"\nclient_id = \"app\""), @r#"
    the configuration has 4 mistakes:
    FILE:5: profile "journal" → imap → oauth2 → scope: is missing
      hint: the rights as the provider names them, with blanks between: scope = "mail.read"
    FILE:6: profile "journal" → imap → oauth2 → token_url: would send secrets in clear text to another machine
      hint: write the whole address: "https://login.example.com/oauth2/token"
    FILE:7: profile "journal" → imap → oauth2 → device_url: is no URL
      hint: write the whole address: "https://login.example.com/oauth2/token"
    FILE:8: profile "journal" → imap → oauth2 → proxy: is not an http:// URL
      hint: write proxy = "http://proxy.corp.example:3128", or with a login "http://user@…" and proxy_password
    "#);
    insta::assert_snapshot!(mistakes("provider = \"google\"\ngrant = \"device_code\"\nclient_id = \"app\""), @r#"
    FILE:7: profile "journal" → imap → oauth2 → grant: Google gives no right to mail by device code
      hint: use a service account: service_account = "journal-reader.json"
    "#);
    insta::assert_snapshot!(mistakes("service_account = \"a.json\"\nclient_id = \"app\"\ntenant = \"corp.example\"\nkey = \"a.key\""), @r#"
    the configuration has 3 mistakes:
    FILE:7: profile "journal" → imap → oauth2 → client_id: has no place beside grant = "service_account"
      hint: leave it out, or name another grant
    FILE:8: profile "journal" → imap → oauth2 → tenant: has no place beside grant = "service_account"
      hint: leave it out, or name another grant
    FILE:9: profile "journal" → imap → oauth2 → key: has no place beside grant = "service_account"
      hint: leave it out, or name another grant
    "#);
    insta::assert_snapshot!(mistakes("provider = \"google\"\ngrant = \"client_credentials\"\nclient_id = \"app\"\nsignature = \"rs256\"\nsubject = \"a@corp.example\""), @r#"
    the configuration has 3 mistakes:
    FILE:5: profile "journal" → imap → oauth2 → client_secret: is missing
      hint: an application proves itself by client_secret, or by certificate and key
    FILE:9: profile "journal" → imap → oauth2 → signature: stands without certificate
      hint: add it, or leave this out
    FILE:10: profile "journal" → imap → oauth2 → subject: has no place beside grant = "client_credentials"
      hint: leave it out, or name another grant
    "#);
}

#[test]
fn debug_shows_no_secret() {
    let (settings, _) = read(&format!("{MICROSOFT}\nclient_auth = \"body\""), Protocol::Imap, Path::new(""));
    let settings = settings.unwrap();
    let shown = format!("{settings:?} {:?}", settings.options().unwrap());
    assert!(!shown.contains("word"), "{shown}");
}

#[test]
fn the_day_on_which_a_client_secret_ends() {
    let with = |day: &str| format!("{MICROSOFT}\nclient_secret_expires = {day}");
    for day in ["\"2027-01-31\"", "2027-01-31"] {
        let (settings, mistakes) = read(&with(day), Protocol::Imap, Path::new(""));
        assert_eq!(mistakes, "");
        let ends = settings.unwrap().ends().map(|(what, until)| (what, until.to_string()));
        assert_eq!(ends, Some(("the client secret", "2027-01-31T00:00:00Z".to_owned())));
    }
    for day in ["\"31.1.2027\"", "true", "\"2027-02-30\"", "\"2027-01-31T10:00:00Z\"", "2027"] {
        let said = mistakes(&with(day));
        assert!(said.contains("client_secret_expires") && said.contains("is no day"), "{day}: {said}");
    }
    let (settings, _) = read(MICROSOFT, Protocol::Imap, Path::new(""));
    assert_eq!(settings.unwrap().ends(), None);
}
