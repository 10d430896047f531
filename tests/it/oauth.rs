//! Tokens against a token server that takes nothing but what the standards say.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatepost::base::clock::FixedClock;
use gatepost::base::fsio::{Fail, Fs, How, Plan};
use gatepost::base::secret::Secret;
use gatepost::net::oauth::assertion::{Algorithm, PrivateKey, ServiceAccount, SigningKey};
use gatepost::net::oauth::{ClientProof, Grant, OAuth2Options, TokenError, TokenProblem, Tokens};
use gatepost::net::proxy::Proxy;
use jiff::SignedDuration;
use serde_json::json;

use crate::support::token_server::{
    CLIENT, HOST, Proof, Reply, SCOPE, SECRET, TokenServer, client_certificate, client_key_pem, service_account,
};

const LONG: Duration = Duration::from_secs(60);

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at("2026-03-04T05:06:07Z".parse().unwrap()))
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn options(server: &TokenServer, grant: Grant) -> OAuth2Options {
    OAuth2Options {
        token_url: server.url.clone(),
        device_url: Some(server.device_url.clone()),
        client_id: CLIENT.to_owned(),
        scope: SCOPE.to_owned(),
        login: "journal@corp.example".to_owned(),
        grant,
        ca_file: server.ca_file.clone(),
        proxy: None,
        timeout: LONG,
        folder: None,
    }
}

fn by_secret() -> Grant {
    Grant::ClientCredentials(ClientProof::SecretInBody(secret(SECRET)))
}

fn by_refresh() -> Grant {
    Grant::RefreshToken { token: secret("rt-configured"), proof: None }
}

fn tokens(options: OAuth2Options, clock: &Arc<FixedClock>) -> Tokens {
    Tokens::new(options, clock.clone(), Fs::real())
}

async fn token(tokens: &Tokens) -> String {
    tokens.current().await.unwrap().expose().to_owned()
}

async fn failure(tokens: &Tokens) -> TokenError {
    let error = tokens.current().await.unwrap_err();
    let shown = format!("{error} {error:?} {tokens:?}");
    for word in [SECRET, "s3cret", "rt-", "at-", "PRIVATE KEY"] {
        assert!(!shown.contains(word), "{word} in {shown}");
    }
    error
}

fn later(clock: &FixedClock, seconds: i64) {
    clock.advance(SignedDuration::from_secs(seconds));
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

fn certificate(algorithm: Algorithm) -> ClientProof {
    let key = PrivateKey::parse(&secret(&client_key_pem())).unwrap();
    ClientProof::Certificate(SigningKey::new(key, &client_certificate().0, algorithm).unwrap())
}

#[tokio::test]
async fn every_grant_is_asked_for_as_the_standards_say() {
    let clock = clock();
    for (proof, given) in [
        (Proof::Body, ClientProof::SecretInBody(secret(SECRET))),
        (Proof::Header, ClientProof::SecretInHeader(secret(SECRET))),
        (Proof::Assertion("PS256"), certificate(Algorithm::Ps256)),
        (Proof::Assertion("RS256"), certificate(Algorithm::Rs256)),
    ] {
        let server = TokenServer::start(proof, &clock);
        for grant in [
            Grant::ClientCredentials(given.clone()),
            Grant::RefreshToken { token: secret("rt-configured"), proof: Some(given.clone()) },
        ] {
            let tokens = tokens(options(&server, grant), &clock);
            let first = token(&tokens).await;
            // An assertion is good for one request.
            assert_ne!(tokens.instead_of(&secret(&first)).await.unwrap().expose(), first);
        }
        assert_eq!((server.asked(), server.refused()), (4, vec![]), "{proof:?}");
    }
    let server = TokenServer::start(Proof::Public, &clock);
    token(&tokens(options(&server, by_refresh()), &clock)).await;
    let account = ServiceAccount::parse(&secret(&service_account(&server.url))).unwrap();
    let subject = Some("journal@corp.example".to_owned());
    token(&tokens(options(&server, Grant::ServiceAccount { account, subject }), &clock)).await;
    assert_eq!((server.asked(), server.refused()), (2, vec![]));
}

#[tokio::test]
async fn a_token_serves_until_shortly_before_its_end() {
    let clock = clock();
    let server = TokenServer::start(Proof::Body, &clock);
    let tokens = tokens(options(&server, by_secret()), &clock);
    assert_eq!(token(&tokens).await, "at-1");
    later(&clock, 3600 - 5 * 60 - 1);
    assert_eq!(token(&tokens).await, "at-1");
    later(&clock, 1);
    assert_eq!(token(&tokens).await, "at-2");
    // A short life is used for three quarters.
    server.state().lifetime_s = 60;
    later(&clock, 3600);
    assert_eq!(token(&tokens).await, "at-3");
    later(&clock, 44);
    assert_eq!(token(&tokens).await, "at-3");
    later(&clock, 1);
    assert_eq!(token(&tokens).await, "at-4");
    assert_eq!((server.asked(), server.refused()), (4, vec![]));
    // One that the gateway refuses is not given out again, however long it is good for.
    let other = tokens.instead_of(&secret("at-4")).await.unwrap();
    assert_eq!((other.expose(), token(&tokens).await.as_str()), ("at-5", "at-5"));
    // Somebody else had it replaced meanwhile.
    assert_eq!(tokens.instead_of(&secret("at-4")).await.unwrap().expose(), "at-5");
    assert_eq!(server.asked(), 5);
}

#[tokio::test]
async fn sessions_that_come_together_ask_once() {
    let clock = clock();
    let server = TokenServer::start(Proof::Body, &clock);
    let tokens = tokens(options(&server, by_secret()), &clock);
    let together = futures_util::future::join_all((0..20).map(|_| token(&tokens))).await;
    assert_eq!((together, server.asked()), (vec!["at-1".to_owned(); 20], 1));
    let refused = secret("at-1");
    let together = futures_util::future::join_all((0..20).map(|_| tokens.instead_of(&refused))).await;
    assert!(together.iter().all(|token| token.as_ref().unwrap().expose() == "at-2"));
    assert_eq!(server.asked(), 2);
    // A refusal is shared, too; whoever comes later asks anew.
    later(&clock, 3600);
    server.next_says(401, &json!({ "error": "invalid_client" }));
    let together = futures_util::future::join_all((0..20).map(|_| failure(&tokens))).await;
    assert!(together.iter().all(|error| error.problem == TokenProblem::Refused));
    assert_eq!(server.asked(), 3);
    assert_eq!(token(&tokens).await, "at-4");
}

#[tokio::test]
async fn what_is_kept_serves_the_next_process_and_no_other_login() {
    let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
    let server = TokenServer::start(Proof::Body, &clock);
    let place = folder.path().join("a").join("archive.tokens");
    let kept = OAuth2Options { folder: Some(place.clone()), ..options(&server, by_secret()) };
    assert_eq!(token(&tokens(kept.clone(), &clock)).await, "at-1");
    assert_eq!(token(&tokens(kept.clone(), &clock)).await, "at-1");
    let file = files(&place).pop().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(SECRET) && !text.contains("s3cret"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&file)), (0o700, 0o600));
        for entry in std::fs::read_dir(&place).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }
    // Refused by the gateway: another one, for all processes.
    let other = tokens(kept.clone(), &clock);
    assert_eq!(other.instead_of(&secret("at-1")).await.unwrap().expose(), "at-2");
    assert_eq!(token(&tokens(kept.clone(), &clock)).await, "at-2");
    // Of another secret nothing is believed, and it says that it is wrong.
    let wrong = Grant::ClientCredentials(ClientProof::SecretInBody(secret("other")));
    let wrong = tokens(OAuth2Options { grant: wrong, ..kept.clone() }, &clock);
    assert_eq!(wrong.current().await.unwrap_err().problem, TokenProblem::Refused);
    // Nor of other rights.
    let rights = tokens(OAuth2Options { scope: "more".into(), ..kept.clone() }, &clock);
    rights.current().await.unwrap_err();
    assert_eq!(token(&tokens(kept.clone(), &clock)).await, "at-2");
    // What is damaged here is worth nothing: another token takes its place.
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert_eq!(token(&tokens(kept.clone(), &clock)).await, "at-3");
    assert_eq!(token(&tokens(kept, &clock)).await, "at-3");
}

#[tokio::test]
async fn a_refresh_token_that_is_replaced_is_kept_before_it_is_needed() {
    let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
    let server = TokenServer::start(Proof::Public, &clock);
    server.state().rotates = true;
    let kept = OAuth2Options { folder: Some(folder.path().join("t")), ..options(&server, by_refresh()) };
    // Each process asks once and ends; a token that was used twice would end it all.
    for _ in 0..4 {
        token(&tokens(kept.clone(), &clock)).await;
        later(&clock, 3600);
    }
    assert_eq!((server.asked(), server.refused()), (4, vec![]));
    let used: Vec<String> = server.state().requests.iter().map(|request| request["refresh_token"].clone()).collect();
    assert_eq!(used, ["rt-configured", "rt-1", "rt-2", "rt-3"]);
    // Another one in the configuration is a new beginning.
    server.state().refresh.insert("rt-new".into(), None);
    let grant = Grant::RefreshToken { token: secret("rt-new"), proof: None };
    token(&tokens(OAuth2Options { grant, ..kept.clone() }, &clock)).await;
    assert_eq!(server.state().requests[4]["refresh_token"], "rt-new");
    // A second mailbox with the same application is another login, and has its own.
    let place = folder.path().join("t");
    assert_eq!(files(&place).len(), 1);
    server.state().refresh.insert("rt-other".into(), None);
    let grant = Grant::RefreshToken { token: secret("rt-other"), proof: None };
    let other = OAuth2Options { login: "other@corp.example".into(), grant, ..kept };
    token(&tokens(other.clone(), &clock)).await;
    later(&clock, 3600);
    token(&tokens(other, &clock)).await;
    assert_eq!((files(&place).len(), server.refused()), (2, vec![]));
}

#[tokio::test]
async fn a_refresh_token_survives_every_failing_write() {
    for at in 1..=8 {
        let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
        let server = TokenServer::start(Proof::Public, &clock);
        server.state().rotates = true;
        let kept = OAuth2Options { folder: Some(folder.path().join("t")), ..options(&server, by_refresh()) };
        token(&tokens(kept.clone(), &clock)).await;
        later(&clock, 3600);
        // The disk fails once: the session goes on, and the next one keeps what could not be kept.
        let fail = Some(Fail { at, for_good: false, how: How::NoSpace });
        let failing = Tokens::new(kept.clone(), clock.clone(), Fs::with_plan(Plan { fail, ..Plan::default() }));
        token(&failing).await;
        later(&clock, 3600);
        token(&failing).await;
        drop(failing);
        later(&clock, 3600);
        token(&tokens(kept, &clock)).await;
        assert_eq!((server.asked(), server.refused()), (4, vec![]), "{at}");
    }
}

#[tokio::test]
async fn processes_do_not_use_a_refresh_token_twice() {
    let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
    let server = TokenServer::start(Proof::Public, &clock);
    server.state().rotates = true;
    let kept = OAuth2Options { folder: Some(folder.path().join("t")), ..options(&server, by_refresh()) };
    for round in 1..=3 {
        let processes: Vec<Tokens> = (0..8).map(|_| tokens(kept.clone(), &clock)).collect();
        let got = futures_util::future::join_all(processes.iter().map(token)).await;
        assert_eq!(got, vec![format!("at-{round}"); 8]);
        later(&clock, 3600);
    }
    assert_eq!((server.asked(), server.refused()), (3, vec![]));
}

#[tokio::test]
async fn a_kept_refresh_token_is_never_replaced_in_silence() {
    let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
    let server = TokenServer::start(Proof::Public, &clock);
    server.state().rotates = true;
    let place = folder.path().join("t");
    let kept = OAuth2Options { folder: Some(place.clone()), ..options(&server, by_refresh()) };
    token(&tokens(kept.clone(), &clock)).await;
    let file = files(&place).pop().unwrap();
    let whole = std::fs::read(&file).unwrap();
    for damaged in [&whole[..whole.len() - 3], b"", b"{}", b"\xff\xfe"] {
        std::fs::write(&file, damaged).unwrap();
        let error = failure(&tokens(kept.clone(), &clock)).await;
        assert_eq!(error.problem, TokenProblem::Configuration);
        assert!(error.hint.unwrap().contains("restore it"));
        assert_eq!(std::fs::read(&file).unwrap(), damaged);
    }
    assert_eq!(server.asked(), 1);
    // An old one out of a backup, long dead: what is configured is tried once, and says how it is.
    std::fs::write(&file, String::from_utf8(whole).unwrap().replace("rt-1", "rt-0")).unwrap();
    later(&clock, 3600);
    token(&tokens(kept.clone(), &clock)).await;
    assert_eq!(server.refused(), ["invalid_grant: the refresh token is not known"]);
    // Where nothing can be kept, a login that depends on it does not begin.
    std::fs::write(folder.path().join("no-folder"), "").unwrap();
    let nowhere = OAuth2Options { folder: Some(folder.path().join("no-folder")), ..kept };
    assert_eq!(failure(&tokens(nowhere.clone(), &clock)).await.problem, TokenProblem::Configuration);
    // The others do without.
    let server = TokenServer::start(Proof::Body, &clock);
    let nowhere = OAuth2Options { folder: nowhere.folder, ..options(&server, by_secret()) };
    assert_eq!(token(&tokens(nowhere, &clock)).await, "at-1");
}

#[tokio::test]
async fn a_person_signs_in_on_another_device() {
    let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
    let server = TokenServer::start(Proof::Public, &clock);
    let kept =
        OAuth2Options { folder: Some(folder.path().join("t")), ..options(&server, Grant::DeviceCode { proof: None }) };
    let tokens_of_device = tokens(kept.clone(), &clock);
    let nobody = failure(&tokens_of_device).await;
    assert_eq!((nobody.problem, server.asked()), (TokenProblem::Expired, 0));

    let waited = Mutex::new(Vec::new());
    let wait = |by: Duration| {
        waited.lock().unwrap().push(by.as_secs());
        clock.advance(SignedDuration::try_from(by).unwrap());
        std::future::ready(())
    };
    let shown = Mutex::new(Vec::new());
    let show = |prompt: &gatepost::net::oauth::DevicePrompt| {
        shown.lock().unwrap().push((prompt.url.clone(), prompt.code.clone(), prompt.expires_in.as_secs()));
    };
    server.state().device.extend(["authorization_pending", "slow_down", "authorization_pending"]);
    tokens_of_device.sign_in_with(show, wait).await.unwrap();
    assert_eq!(server.refused().len(), 3, "{:?}", server.refused());
    let told = shown.lock().unwrap().pop().unwrap();
    assert_eq!(told, ("https://login.example/device".into(), "WDJB-MJHT".into(), 900));
    // RFC 8628 §3.5: five seconds more after a slow_down.
    assert_eq!(*waited.lock().unwrap(), [5, 5, 10, 10]);
    assert_eq!(token(&tokens_of_device).await, "at-1");
    assert_eq!(tokens_of_device.refresh_token().await.unwrap().expose(), "rt-device");
    // The next process has it.
    later(&clock, 3600);
    assert_eq!(token(&tokens(kept, &clock)).await, "at-2");
}

#[tokio::test]
async fn a_sign_in_that_does_not_happen_says_why() {
    for (word, problem) in [
        ("access_denied", TokenProblem::Refused),
        ("expired_token", TokenProblem::Expired),
        ("invalid_grant", TokenProblem::Expired),
    ] {
        let clock = clock();
        let server = TokenServer::start(Proof::Public, &clock);
        let tokens = tokens(options(&server, Grant::DeviceCode { proof: None }), &clock);
        server.state().device.extend(["authorization_pending", word]);
        let wait = |by: Duration| {
            clock.advance(SignedDuration::try_from(by).unwrap());
            std::future::ready(())
        };
        let error = tokens.sign_in_with(|_| {}, wait).await.unwrap_err();
        assert_eq!(error.problem, problem, "{error}");
    }
    // Nobody comes, and the server goes on saying so: it ends with the code. A connection that breaks ends nothing.
    let clock = clock();
    let server = TokenServer::start(Proof::Public, &clock);
    let tokens = tokens(options(&server, Grant::DeviceCode { proof: None }), &clock);
    server.state().device.extend(["authorization_pending"; 1000]);
    server.state().replies.extend([None, None, Some(Reply::Cut(20))]);
    let waits = AtomicUsize::new(0);
    let wait = |by: Duration| {
        waits.fetch_add(1, Ordering::Relaxed);
        clock.advance(SignedDuration::try_from(by).unwrap());
        std::future::ready(())
    };
    assert_eq!(tokens.sign_in_with(|_| {}, wait).await.unwrap_err().problem, TokenProblem::Expired);
    let waits = waits.into_inner();
    assert!((50..200).contains(&waits), "{waits}");
    // An answer that can be none is shown to nobody.
    for (field, value) in [
        ("interval", json!(u64::MAX)),
        ("expires_in", json!(u64::MAX)),
        ("verification_uri", json!("javascript:alert(1)")),
        ("user_code", json!(" ")),
    ] {
        let changed = move |mut answer: serde_json::Value| {
            answer[field] = value.clone();
            answer
        };
        server.next(Reply::Changed(Box::new(changed)));
        let show = |_: &gatepost::net::oauth::DevicePrompt| panic!("it was shown: {field}");
        let error = tokens.sign_in_with(show, |_| std::future::ready(())).await.unwrap_err();
        assert_eq!(error.problem, TokenProblem::Protocol, "{field}: {error}");
    }
}

#[tokio::test]
async fn a_service_account_without_delegation_says_what_to_do() {
    let clock = clock();
    let server = TokenServer::start(Proof::Public, &clock);
    let account = ServiceAccount::parse(&secret(&service_account(&server.url))).unwrap();
    let grant = Grant::ServiceAccount { account, subject: Some("boss@corp.example".into()) };
    let error = failure(&tokens(options(&server, grant), &clock)).await;
    assert_eq!(error.problem, TokenProblem::ConsentMissing);
    assert!(error.answer.contains("unauthorized to retrieve access tokens"), "{error}");
    assert!(error.hint.unwrap().contains("domain-wide delegation"));
}

#[tokio::test]
async fn refusals_are_told_apart_by_their_codes() {
    use TokenProblem::{Configuration, ConsentMissing, Expired, Protocol, Refused, Throttled, Unreachable};
    let clock = clock();
    let server = TokenServer::start(Proof::Public, &clock);
    let microsoft = |number: u32| {
        let text = format!("AADSTS{number}: Something in words. Trace ID: 5c7a Correlation ID: 1f2e");
        json!({ "error": "invalid_request", "error_description": text, "error_codes": [number] })
    };
    let without_list =
        |number: u32| json!({ "error": "invalid_grant", "error_description": format!("AADSTS{number}: x") });
    let word = |word: &str| json!({ "error": word });
    for (status, body, problem) in [
        (401, microsoft(7_000_215), Refused),
        (401, microsoft(7_000_222), Expired),
        (401, microsoft(700_027), Refused),
        (400, microsoft(700_016), Configuration),
        (400, microsoft(90_002), Configuration),
        (400, microsoft(65_001), ConsentMissing),
        (400, microsoft(70_011), Configuration),
        (400, microsoft(700_082), Expired),
        (400, without_list(50_173), Expired),
        (400, without_list(65_001), ConsentMissing),
        (400, microsoft(50_053), Refused),
        (400, microsoft(53_003), Refused),
        (400, microsoft(90_033), Unreachable),
        // Not known: by the word.
        (400, microsoft(1), Configuration),
        (401, word("invalid_client"), Refused),
        (400, word("invalid_grant"), Expired),
        (400, word("unauthorized_client"), Configuration),
        (400, word("access_denied"), ConsentMissing),
        (400, word("invalid_scope"), Configuration),
        (400, word("unsupported_grant_type"), Configuration),
        (400, word("temporarily_unavailable"), Unreachable),
        (400, word("slow_down"), Throttled),
        (400, word("of_another_standard"), Protocol),
        (500, word("server_error"), Unreachable),
        (429, word("anything"), Throttled),
        (503, json!("down"), Throttled),
        (502, json!("down"), Unreachable),
        (404, json!("not here"), Configuration),
        (400, json!(["no", "object"]), Protocol),
        (200, json!({ "token_type": "Bearer" }), Protocol),
        (200, json!({ "access_token": "at-x", "token_type": "mac" }), Protocol),
        (200, json!({ "access_token": "", "token_type": "Bearer" }), Protocol),
        (200, json!({ "access_token": "at-x\r\na1 LOGOUT", "token_type": "Bearer" }), Protocol),
        (200, json!({ "access_token": "at-x", "token_type": "Bearer", "refresh_token": "a\u{1}b" }), Protocol),
    ] {
        server.next_says(status, &body);
        let error = failure(&tokens(options(&server, by_refresh()), &clock)).await;
        assert_eq!(error.problem, problem, "{status} {body}: {error}");
        assert!(error.hint.is_some(), "{status} {body}");
        assert!(!error.answer.contains('\n') && error.answer.len() <= 400, "{error}");
    }
    for page in ["<html><title>Down for maintenance</title></html>", "", "{\"access_token\": \"at-x"] {
        server.next(Reply::Http(200, String::new(), page.into()));
        assert_eq!(failure(&tokens(options(&server, by_refresh()), &clock)).await.problem, Protocol, "{page}");
    }
}

#[tokio::test]
async fn what_a_server_repeats_of_a_request_is_not_repeated_again() {
    let clock = clock();
    let encoded = "s3cret%26%3D%2B%25%2F%7E+value";
    let server = TokenServer::start(Proof::Body, &clock);
    for echo in [
        format!("no: {SECRET} is wrong"),
        format!("body was client_secret={encoded}"),
        "s3cret\u{7}&=+%/~ value".into(),
    ] {
        server.next_says(401, &json!({ "error": "invalid_client", "error_description": echo }));
        let error = failure(&tokens(options(&server, by_secret()), &clock)).await;
        assert!(error.answer.contains("(secret)"), "{error}");
        // Of a page, too, and where half of it would be cut.
        server.next(Reply::Http(500, String::new(), format!("{} {echo}", "x".repeat(390))));
        failure(&tokens(options(&server, by_secret()), &clock)).await;
    }
    let server = TokenServer::start(Proof::Public, &clock);
    server.next_says(400, &json!({ "error": "invalid_grant", "error_description": "rt-configured is revoked" }));
    let error = failure(&tokens(options(&server, by_refresh()), &clock)).await;
    assert!(error.answer.contains("(secret) is revoked"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_asked_too_often_is_left_alone() {
    // 05:06:07 on a Wednesday.
    for (wait, seconds) in [
        ("90", 90),
        ("Wed, 04 Mar 2026 05:07:37 GMT", 90),
        // Whatever it asks for, an hour is enough.
        ("99999999999", 3600),
        ("Wed, 04 Mar 2099 05:07:37 GMT", 3600),
    ] {
        let clock = clock();
        let server = TokenServer::start(Proof::Body, &clock);
        let tokens = tokens(options(&server, by_secret()), &clock);
        server.next(Reply::Http(429, format!("Retry-After: {wait}\r\n"), "{}".into()));
        let error = failure(&tokens).await;
        assert_eq!(error.problem, TokenProblem::Throttled);
        let shown = if seconds == 90 { "1m 30s" } else { "1h" };
        assert!(error.hint.unwrap().contains(shown));
        later(&clock, seconds - 1);
        assert_eq!(failure(&tokens).await.problem, TokenProblem::Throttled);
        assert_eq!(server.asked(), 1);
        later(&clock, 1);
        assert_eq!((token(&tokens).await.as_str(), server.asked()), ("at-2", 2));
    }
    // One that does not say how long is asked again by the next session.
    let clock = clock();
    let server = TokenServer::start(Proof::Body, &clock);
    let tokens = tokens(options(&server, by_secret()), &clock);
    server.next(Reply::Http(503, "Retry-After: soon\r\n".into(), String::new()));
    assert_eq!(failure(&tokens).await.problem, TokenProblem::Throttled);
    assert_eq!(token(&tokens).await, "at-2");
}

#[tokio::test]
async fn answers_of_any_length_and_slowness_are_borne() {
    let clock = clock();
    let server = TokenServer::start(Proof::Body, &clock);
    server.next(Reply::Endless);
    let endless = tokens(options(&server, by_secret()), &clock);
    assert_eq!(failure(&endless).await.problem, TokenProblem::Protocol);
    // What is in flight counts too: two socket buffers' worth.
    assert!(server.state().poured < 16 * 1024 * 1024, "{}", server.state().poured);
    assert!(token(&endless).await.starts_with("at-"));
    server.next(Reply::Silence);
    let timeout = Duration::from_millis(200);
    let silent = tokens(OAuth2Options { timeout, ..options(&server, by_secret()) }, &clock);
    let error = failure(&silent).await;
    assert_eq!((error.problem, error.answer.as_str()), (TokenProblem::Unreachable, "no answer within 200ms"));
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_is_no_token_and_costs_none() {
    let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
    let server = TokenServer::start(Proof::Public, &clock);
    server.state().rotates = true;
    let kept = OAuth2Options { folder: Some(folder.path().join("t")), ..options(&server, by_refresh()) };
    token(&tokens(kept.clone(), &clock)).await;
    let whole = server.state().answer_len;
    for cut in 0..whole {
        later(&clock, 3600);
        server.next(Reply::Cut(cut));
        let error = failure(&tokens(kept.clone(), &clock)).await;
        assert!(error.problem.is_passing(), "{cut}: {error}");
        token(&tokens(kept.clone(), &clock)).await;
    }
    assert_eq!((server.asked(), server.refused()), (1 + 2 * whole, vec![]));
}

#[tokio::test]
async fn a_redirect_is_followed_nowhere() {
    let clock = clock();
    let (server, other) = (TokenServer::start(Proof::Body, &clock), TokenServer::start(Proof::Body, &clock));
    for status in [301, 302, 303, 307, 308] {
        server.next(Reply::Http(status, format!("Location: {}\r\n", other.url), String::new()));
        let error = failure(&tokens(options(&server, by_secret()), &clock)).await;
        assert_eq!(error.problem, TokenProblem::Configuration, "{error}");
    }
    assert_eq!((server.asked(), other.asked()), (5, 0));
}

/// Leads `CONNECT` to a port of this machine, and notes what was asked for.
fn proxy(to: u16) -> (Proxy, Arc<Mutex<Vec<String>>>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let login = Some(("gatepost".to_owned(), secret("pass:word")));
    let proxy = Proxy { host: "127.0.0.1".into(), port, login };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            noted.lock().unwrap().push(line.trim_end().to_owned());
            let mut is_login = false;
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                // gatepost:pass:word
                is_login |= line.to_ascii_lowercase().contains("proxy-authorization: basic")
                    && line.contains("Z2F0ZXBvc3Q6cGFzczp3b3Jk");
            }
            if !is_login {
                noted.lock().unwrap().push("without its login".into());
            }
            let mut back = stream.try_clone().unwrap();
            back.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let mut there = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
            let mut from_there = there.try_clone().unwrap();
            std::thread::spawn(move || std::io::copy(&mut from_there, &mut back));
            std::thread::spawn(move || std::io::copy(&mut reader, &mut there));
        }
    });
    (proxy, asked)
}

#[tokio::test]
async fn tls_is_verified_and_a_proxy_is_gone_through() {
    let clock = clock();
    let server = TokenServer::start_tls(Proof::Body, &clock);
    let (proxy, asked) = proxy(server.port);
    let through = OAuth2Options { proxy: Some(proxy), ..options(&server, by_secret()) };
    assert_eq!(token(&tokens(through.clone(), &clock)).await, "at-1");
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT {HOST}:{} HTTP/1.1", server.port)]);
    assert_eq!(server.refused(), Vec::<String>::new());
    // An authority that nobody named, and a certificate for another name.
    let unknown = OAuth2Options { ca_file: None, ..through.clone() };
    tokens(unknown, &clock).current().await.unwrap_err();
    let direct = OAuth2Options {
        token_url: format!("https://127.0.0.1:{}/token", server.port),
        proxy: None,
        ..options(&server, by_secret())
    };
    let error = failure(&tokens(direct.clone(), &clock)).await;
    assert_eq!(error.problem, TokenProblem::Configuration, "{error}");
    assert!(error.hint.unwrap().contains("`token_url`"));
    let error = failure(&tokens(OAuth2Options { ca_file: None, ..direct }, &clock)).await;
    assert_eq!(error.problem, TokenProblem::Configuration, "{error}");
    assert!(error.hint.unwrap().contains("`ca_file`"));
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_passes() {
    let clock = clock();
    let server = TokenServer::start(Proof::Body, &clock);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = OAuth2Options { token_url: format!("http://127.0.0.1:{port}/token"), ..options(&server, by_secret()) };
    let error = failure(&tokens(gone, &clock)).await;
    assert_eq!(error.problem, TokenProblem::Unreachable);
    assert!(error.answer.contains("refused the connection"), "{error}");
}

#[test]
fn keys_and_certificates_that_do_not_fit_are_named() {
    let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap().cert.pem();
    let (ours, _) = client_certificate();
    let key = || PrivateKey::parse(&secret(&client_key_pem())).unwrap();
    let fits = |text: &str| SigningKey::new(key(), text, Algorithm::Ps256);
    assert_eq!(fits(&other).unwrap_err().what, "is a certificate of another key");
    assert_eq!(fits("nothing").unwrap_err().what, "holds no certificate in PEM form");
    // A chain in any order, with text between.
    assert!(fits(&format!("# chain\n{other}\n# ours\n{ours}")).is_ok());
    let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (text, what) in [
        (ec.as_str(), "is no RSA key that can be used"),
        ("", "holds no private key in PEM form"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
            "is encrypted with a passphrase",
        ),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "is no RSA key that can be used"),
    ] {
        assert_eq!(PrivateKey::parse(&secret(text)).map(drop).unwrap_err().what, what);
    }
    let shown = format!("{:?} {:?}", fits(&ours).unwrap(), ServiceAccount::parse(&secret(&service_account("x"))));
    assert!(!shown.contains("PRIVATE") && shown.len() < 200, "{shown}");
    for text in ["", "{}", "{\"type\": \"authorized_user\", \"client_email\": \"x\", \"private_key\": \"y\"}"] {
        assert!(ServiceAccount::parse(&secret(text)).is_err(), "{text}");
    }
}

#[tokio::test]
async fn sessions_of_one_process_share_by_login_and_secret() {
    let clock: Arc<FixedClock> = Arc::new(FixedClock::at(jiff::Timestamp::now()));
    let server = TokenServer::start(Proof::Body, &clock);
    let first = Tokens::shared(options(&server, by_secret()));
    let second = Tokens::shared(options(&server, by_secret()));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!((token(&first).await, token(&second).await), ("at-1".into(), "at-1".into()));
    // A secret that was changed in the configuration is taken up.
    let changed = Grant::ClientCredentials(ClientProof::SecretInBody(secret("other")));
    let changed = Tokens::shared(options(&server, changed));
    assert_eq!(failure(&changed).await.problem, TokenProblem::Refused);
    assert!(Arc::ptr_eq(
        &changed,
        &Tokens::shared(options(&server, Grant::ClientCredentials(ClientProof::SecretInBody(secret("other")))))
    ));
}
