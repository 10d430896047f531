//! Logins, pins and proxies as they are written, and every way to write them wrong.

use super::*;
use crate::net::login::Login;

const PIN: &str = "tls_fingerprint = \"SHA256:E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55\"";
const TOKENS: &str = "oauth2 = { token_url = \"https://login.corp.example/token\", client_id = \"journal\", client_secret = { env = \"X\" } }";

fn text(kind: &str, lines: &str) -> String {
    let place = match kind {
        "ews" if !lines.contains("url = \"") || lines.contains("token_url") => {
            "url = \"https://mail.corp.example/EWS/Exchange.asmx\"\n"
        }
        "ews" => "",
        _ => "host = \"mail.corp.example\"\n",
    };
    format!(
        "archive = {{ path = \"mail\" }}\n[[profile]]\nname = \"journal\"\ndelete = false\n[profile.{kind}]\n{place}\
         username = \"journal@corp.example\"\n{lines}\n"
    )
}

fn source(kind: &str, lines: &str) -> Result<SourceSettings, String> {
    let settings = parse(Path::new("/nowhere/gatepost.toml"), &text(kind, lines)).map_err(|error| error.to_string())?;
    Ok(settings.profiles.into_iter().next().unwrap().source)
}

fn login(source: &SourceSettings) -> &LoginSettings {
    match source {
        SourceSettings::Imap(imap) => &imap.login,
        SourceSettings::Pop3(pop3) => &pop3.login,
        SourceSettings::Ews(ews) => &ews.login,
    }
}

#[test]
fn logins_are_what_is_there() {
    const PASSWORD: &str = "password = \"x\"";
    for (kind, lines, password) in [
        ("imap", PASSWORD.to_owned(), true),
        ("pop3", format!("{PASSWORD}\nauth = \"user\""), true),
        ("ews", format!("{PASSWORD}\nauth = \"ntlm\""), true),
        ("imap", TOKENS.to_owned(), false),
        ("imap", format!("{TOKENS}\nauth = \"xoauth2\""), false),
        ("pop3", format!("{TOKENS}\nauth = \"oauthbearer\""), false),
        ("ews", TOKENS.to_owned(), false),
        ("ews", format!("{TOKENS}\nauth = \"oauth2\""), false),
    ] {
        let source = source(kind, &lines).unwrap_or_else(|error| panic!("{kind} {lines}: {error}"));
        match login(&source) {
            LoginSettings::Password(_) => assert!(password, "{kind} {lines}"),
            LoginSettings::OAuth2(_) => assert!(!password, "{kind} {lines}"),
            other => panic!("{other:?}"),
        }
        if let SourceSettings::Ews(ews) = &source {
            assert_eq!(ews.auth == EwsAuth::OAuth2, !password, "{lines}");
        }
    }
    let external = "auth = \"external\"\nclient_certificate = \"journal.pem\"\nclient_key = \"journal.key\"";
    for kind in ["imap", "pop3"] {
        let source = source(kind, external).unwrap();
        assert!(matches!(login(&source).login(), Ok(Login::Certificate)));
    }
}

#[test]
fn pins_certificates_and_proxies_are_read() {
    let lines = format!(
        "password = \"x\"\n{PIN}\nclient_certificate = \"a.pem\"\nclient_key = \"a.key\"\n\
         proxy = \"http://CORP\\\\user@[::1]:3128/\"\nproxy_password = \"secret\""
    );
    let SourceSettings::Ews(ews) = source("ews", &lines).unwrap() else { panic!() };
    let empty = crate::net::trust::Fingerprint::of(b"");
    assert_eq!(ews.trust.fingerprint, Some(empty));
    assert_eq!(ews.trust.identity.as_ref().unwrap().key, Path::new("/nowhere/a.key"));
    let proxy = ews.options().unwrap().proxy.unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 3128));
    let (user, password) = proxy.login.unwrap();
    assert_eq!((user.as_str(), password.expose()), ("CORP\\user", "secret"));
    let gateway = format!("mailbox_id = \"mbx-1\"\npassword = \"x\"\n{PIN}");
    let settings = text("gateway", &gateway).replace("username = \"journal@corp.example\"\n", "");
    let settings = parse(Path::new("/nowhere/gatepost.toml"), &settings).unwrap();
    let SourceSettings::Pop3(pop3) = &settings.profiles[0].source else { panic!() };
    assert_eq!(pop3.trust.fingerprint, Some(empty));
}

#[test]
fn every_mistake_has_its_line_and_a_hint() {
    for (kind, lines, words) in [
        // Two ways beside each other.
        ("imap", format!("password = \"x\"\n{TOKENS}"), &["8:", "imap → password", "no password is ever sent"][..]),
        ("imap", format!("auth = \"plain\"\n{TOKENS}"), &["auth", "sends a password, but oauth2 is configured"]),
        ("pop3", format!("auth = \"user\"\n{TOKENS}"), &["auth", "sends a password, but oauth2 is configured"]),
        ("ews", format!("auth = \"ntlm\"\n{TOKENS}"), &["auth", "write auth = \"oauth2\""]),
        ("imap", "auth = \"xoauth2\"\npassword = \"x\"".into(), &["oauth2: is missing", "sends a token"]),
        ("ews", "auth = \"oauth2\"\npassword = \"x\"".into(), &["oauth2: is missing"]),
        ("ews", "auth = \"negotiate\"\npassword = \"x\"".into(), &["the account that gatepost runs as"]),
        ("imap", "auth = \"external\"".into(), &["client_certificate: is missing"]),
        (
            "imap",
            "auth = \"external\"\npassword = \"x\"\nclient_certificate = \"a\"\nclient_key = \"b\"".into(),
            &["imap → password", "client certificate alone"],
        ),
        // Halves.
        ("imap", "password = \"x\"\nclient_certificate = \"a\"".into(), &["client_key: is missing"]),
        ("imap", "password = \"x\"\nclient_key = \"a\"".into(), &["client_certificate: is missing"]),
        ("ews", "password = \"x\"\nproxy_password = \"y\"".into(), &["proxy_password: stands without proxy"]),
        (
            "ews",
            "password = \"x\"\nproxy = \"http://a:1\"\nproxy_password = \"y\"".into(),
            &["proxy_password: stands without a user"],
        ),
        // Where there is no TLS.
        (
            "imap",
            format!("password = \"x\"\ntls = \"none\"\nallow_plaintext = true\n{PIN}"),
            &["tls_fingerprint: needs TLS"],
        ),
        ("ews", format!("password = \"x\"\nurl = \"http://localhost/EWS\"\n{PIN}"), &["tls_fingerprint: needs TLS"]),
        (
            "ews",
            "password = \"x\"\nurl = \"http://localhost/EWS\"\nproxy = \"http://a:1\"".into(),
            &["ews → proxy: stands beside an http:// URL"],
        ),
        // Words.
        ("imap", "password = \"x\"\ntls_fingerprint = \"sha256:12\"".into(), &["is no SHA-256 fingerprint", "openssl"]),
        ("imap", "password = \"x\"\nauth = \"xoauth\"".into(), &["did you mean \"xoauth2\"?"]),
        ("ews", "password = \"x\"\nproxy = \"https://a:1\"".into(), &["is not an http:// URL"]),
        ("ews", "password = \"x\"\nproxy = \"http://a\"".into(), &["names no port"]),
        ("ews", "password = \"x\"\nproxy = \"http://@a:1\"".into(), &["has no user before the @"]),
        ("ews", "password = \"x\"\nproxy = \"http://a b:1\"".into(), &["does not name a host"]),
    ] {
        let error = source(kind, &lines).err().unwrap_or_else(|| panic!("no mistake: {kind} {lines}"));
        for word in words {
            assert!(error.contains(word), "{kind} {lines}: {word:?} is missing: {error}");
        }
        assert!(error.contains("hint: "), "{error}");
    }
    let error = source("ews", "password = \"x\"\nproxy = \"http://user:hunter2@a:1\"").unwrap_err();
    assert!(error.contains("holds a password") && !error.contains("hunter2"), "{error}");
    let unpinned = text("ews", &format!("password = \"x\"\n{PIN}")).replace("url =", "# url =");
    let error = parse(Path::new("/nowhere/gatepost.toml"), &unpinned).unwrap_err().to_string();
    assert!(error.contains("url: is missing") && error.contains("pins one server"), "{error}");
    let error = parse(
        Path::new("/nowhere/gatepost.toml"),
        &text("imap", "password = \"x\"").replace("delete = false", "delete = false\nrefused_retry = \"5s\""),
    );
    assert!(error.unwrap_err().to_string().contains("refused_retry: is less than a minute"));
}

#[test]
#[cfg(not(windows))]
fn the_accounts_own_login_is_for_windows() {
    let error = source("ews", "auth = \"negotiate\"").unwrap_err();
    assert!(error.contains("this is not Windows") && error.contains("ntlm"), "{error}");
}
