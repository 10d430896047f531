//! Alarms on their way out, against servers on loopback: what they are told, what is not, and what is never said.

use std::sync::Arc;

use gatepost::agent::alarms::{Message, Severity, State};
use gatepost::base::clock::{Clock as _, FixedClock};
use gatepost::base::fsio::Fs;
use gatepost::base::secret::Secret;
use gatepost::config;
use gatepost::demo::server::{Gateway, GatewayOptions};
use gatepost::net::http::{self, Endpoint};
use gatepost::ops::watch::deliver::Targets;
use gatepost::ops::watch::digest;
use gatepost::ops::watch::queue::Queue;

use crate::support::agent::{Agent, Config, Said};
use crate::support::smtp::{Hook, Mood, Protection, SECRET, SmtpSink, USER};

/// An agent whose alarms go where `lines` say. It has no profile.
fn agent(lines: &str) -> Agent {
    let mut agent = Agent::new(&Config::at(1));
    agent.configure_text(&format!("[archive]\npath = \"archive\"\n{lines}"));
    agent.environment = vec![("GATEPOST_TEST_SMTP".to_owned(), SECRET.to_owned())];
    agent
}

fn mail(sink: &SmtpSink) -> Agent {
    let to = "from = \"gatepost@corp.example\"\nto = [\"a@corp.example\", \"b@corp.example\"]\n";
    agent(&format!("[alarms.mail]\n{}{to}", sink.lines()))
}

/// Nothing of a login stands in it, in no form.
fn discreet(said: Said) -> Said {
    let all = format!("{}{}", said.out, said.err);
    assert!(!all.contains(SECRET) && !all.contains("cy1vZi1zbXRw"), "{all}");
    said
}

fn send(agent: &Agent) -> Said {
    discreet(agent.run(&["check", "--send-alarm"]))
}

#[test]
fn a_mail_goes_out_over_tls_after_a_login() {
    for tls in [Protection::Implicit, Protection::StartTls, Protection::None] {
        for mechanisms in ["PLAIN LOGIN", "LOGIN"] {
            let sink = SmtpSink::start(tls);
            sink.state().mechanisms = mechanisms;
            let agent = mail(&sink);
            send(&agent).is(0, &["mail: the test alarm was taken"]);
            let state = sink.state();
            assert_eq!(state.wrong, Vec::<String>::new(), "{tls:?}");
            let [taken] = state.taken.as_slice() else { panic!("{:?}", state.taken) };
            assert_eq!((taken.is_protected, taken.is_logged_in), (tls != Protection::None, true), "{tls:?}");
            assert_eq!((taken.from.as_str(), taken.to.len()), ("gatepost@corp.example", 2));
            let (head, body) = taken.data.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("Subject: [gatepost ") && head.contains("Auto-Submitted: auto-generated"), "{head}");
            assert!(head.contains("Message-ID: <"), "{head}");
            assert!(body.contains("WARNING gatepost: this is a test alarm."), "{body}");
        }
    }
}

#[test]
fn check_looks_at_the_targets_and_tells_them_nothing() {
    let (sink, hook) = (SmtpSink::start(Protection::StartTls), Hook::start());
    let lines = format!(
        "[alarms.mail]\n{}from = \"g@corp.example\"\nto = [\"a@corp.example\"]\n\
         [alarms.webhook]\nurl = \"http://127.0.0.1:{}/token-4711\"\n[alarms.command]\nrun = [\"/bin/true\"]\n",
        sink.lines(),
        hook.port
    );
    let agent = agent(&lines);
    let said = discreet(agent.run(&["check"]));
    let shown = format!("webhook: http://127.0.0.1:{}/… can be reached", hook.port);
    said.is(0, &["certificate verified, the login works", &shown, "command: /bin/true"]);
    assert!(!said.out.contains("4711"), "{said:?}");
    assert!(sink.state().taken.is_empty() && hook.calls().is_empty());
    let checks = agent.json(&["check", "--json"], 0);
    let of_alarms = checks["checks"].as_array().unwrap().iter().filter(|one| one["group"] == "alarms").count();
    assert_eq!(of_alarms, 3, "{checks}");
}

#[test]
fn there_is_no_silent_step_down_and_no_trust_without_a_reason() {
    // The server does not offer TLS: nothing is said to it.
    let sink = SmtpSink::start(Protection::None);
    let agent = mail(&sink);
    let text = std::fs::read_to_string(agent.path("gatepost.toml")).unwrap();
    agent.configure_text(&text.replace("tls = \"none\"", "tls = \"starttls\""));
    send(&agent).is(3, &["does not offer STARTTLS; nothing was sent", "hint:"]);
    assert!(!sink.state().commands.contains(&"AUTH".to_owned()) && sink.state().taken.is_empty());
    // What is slipped in before the handshake is not believed.
    let sink = SmtpSink::start(Protection::StartTls);
    sink.state().mood = Mood::Injects;
    send(&mail(&sink)).is(3, &["TLS handshake"]);
    assert!(sink.state().taken.is_empty());
    // An authority that nobody named, and a certificate that is not the pinned one.
    for tls in [Protection::Implicit, Protection::StartTls] {
        let sink = SmtpSink::start(tls);
        let agent = mail(&sink);
        let text = std::fs::read_to_string(agent.path("gatepost.toml")).unwrap();
        let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("ca_file")).collect();
        agent.configure_text(&without.join("\n"));
        send(&agent).is(3, &["certificate is not trusted", "hint: set `ca_file`"]);
        let pin = format!("tls_fingerprint = \"sha256:{}\"\nusername", "0".repeat(64));
        agent.configure_text(&text.replace("username", &pin));
        send(&agent).is(3, &["is not the pinned one"]);
        let state = sink.state();
        assert!(!state.commands.contains(&"AUTH".to_owned()) && state.taken.is_empty(), "{:?}", state.commands);
    }
}

#[test]
fn refusals_are_told_in_the_servers_words_without_the_login() {
    let sink = SmtpSink::start(Protection::Implicit);
    let agent = mail(&sink);
    for (at, answer, told) in [
        ("RCPT", "550 5.7.1 relaying denied", "relaying denied"),
        ("MAIL", "451 4.7.1 greylisted, try again", "greylisted"),
        ("DATA", "452 4.3.1 no space", "no space"),
        ("EHLO", "421 4.3.2 shutting down", "shutting down"),
    ] {
        sink.state().mood = Mood::Answers(at, answer.to_owned());
        send(&agent).is(3, &[told, "hint:"]);
    }
    // A server that repeats the login which it refuses.
    let coded = "AGdhdGVwb3N0AHMzY3JldC1vZi1zbXRw";
    sink.state().mood = Mood::Answers("AUTH", format!("535 5.7.8 not {coded} nor {SECRET}"));
    send(&agent).is(3, &["the login is refused", "5.7.8", "check `username` and `password`"]);
    sink.state().mood = Mood::Answers("EHLO", "250 ok".into());
    send(&agent).is(3, &["neither PLAIN nor LOGIN"]);
    assert!(sink.state().taken.is_empty());
    // One that hangs is left in time.
    let text = std::fs::read_to_string(agent.path("gatepost.toml")).unwrap();
    agent.configure_text(&text.replace("timeout = \"20s\"", "timeout = \"1s\""));
    for at in ["EHLO", "AUTH", "DATA"] {
        sink.state().mood = Mood::Hangs(at);
        send(&agent).is(3, &["was silent for 1s"]);
    }
    assert_eq!(sink.state().wrong, Vec::<String>::new());
}

#[test]
fn a_hook_gets_json_and_a_redirect_is_not_followed() {
    let (hook, other) = (Hook::start(), Hook::start());
    let lines = format!(
        "[alarms.webhook]\nurl = \"http://localhost:{}/hooks/token-4711?k=v-0815\"\ntimeout = \"2s\"\n\
         headers = {{ Authorization = {{ env = \"GATEPOST_TEST_SMTP\" }}, \"X-Team\" = \"mail\" }}\n",
        hook.port
    );
    let agent = agent(&lines);
    send(&agent).is(0, &["webhook: the test alarm was taken"]);
    let [call] = hook.calls().try_into().unwrap();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/hooks/token-4711?k=v-0815"));
    assert_eq!((call.headers["authorization"].as_str(), call.headers["x-team"].as_str()), (SECRET, "mail"));
    assert_eq!(call.headers["content-type"], "application/json");
    let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
    for key in ["key", "kind", "state", "severity", "text", "since", "at", "host", "version"] {
        assert!(body[key].is_string(), "{key} in {body}");
    }
    assert_eq!((&body["state"], &body["severity"]), (&"event".into(), &"warning".into()));
    // Where it sends us stays untold, and what it repeats does too.
    let elsewhere = format!("Location: http://127.0.0.1:{}/\r\n", other.port);
    hook.answers("302 Found", &elsewhere, "");
    send(&agent).is(3, &["it sends calls elsewhere (302)"]);
    hook.answers("403 Forbidden", "", &format!("no entry for token-4711 v-0815 /hooks/token-4711 {SECRET}"));
    let said = send(&agent);
    said.is(3, &["it answers 403: no entry"]);
    assert!(!said.out.contains("hooks/token-4711") && !said.out.contains("hooks/token"), "{said:?}");
    hook.answers("500 Oops", "", &"x".repeat(1 << 20));
    send(&agent).is(3, &["it answers 500"]);
    hook.is_silent();
    send(&agent).is(3, &["no answer within 2s"]);
    assert!(other.calls().is_empty());
    let nobody = hook_nobody();
    agent.configure_text(&format!(
        "[archive]\npath = \"archive\"\n[alarms.webhook]\nurl = \"http://127.0.0.1:{nobody}/x\"\n"
    ));
    send(&agent).is(3, &["refused the connection"]);
}

/// A port on which nobody listens.
fn hook_nobody() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_heartbeat_is_a_get_and_only_success_counts() {
    let hook = Hook::start();
    let endpoint = Endpoint {
        url: Secret::new(format!("http://127.0.0.1:{}/ping/4711", hook.port)),
        shown: "shown".into(),
        ca_file: None,
        proxy: None,
        timeout: std::time::Duration::from_secs(20),
    };
    http::call(&endpoint, &[], None).await.unwrap();
    let [call] = hook.calls().try_into().unwrap();
    assert_eq!((call.method.as_str(), call.path.as_str(), call.body.as_str()), ("GET", "/ping/4711", ""));
    hook.answers("404 Not Found", "", "<html>");
    let error = http::call(&endpoint, &[], None).await.unwrap_err();
    assert_eq!(error.to_string(), "it answers 404");
}

#[cfg(unix)]
#[test]
fn a_program_gets_the_alarm_and_no_secret() {
    let script = "cat >alarm.json; env >alarm.env";
    let hook = Hook::start();
    let lines = format!(
        "[alarms.command]\nrun = [\"/bin/sh\", \"-c\", \"{script}\"]\n\
         [alarms.webhook]\nurl = \"http://127.0.0.1:{}/\"\nheaders = {{ Authorization = {{ env = \"GATEPOST_TEST_SMTP\" }} }}\n",
        hook.port
    );
    let agent = agent(&lines);
    send(&agent).is(0, &["command: the test alarm was taken", "webhook: the test alarm was taken"]);
    let body: serde_json::Value = serde_json::from_slice(&std::fs::read(agent.path("alarm.json")).unwrap()).unwrap();
    assert_eq!(body["kind"], "test");
    let env = std::fs::read_to_string(agent.path("alarm.env")).unwrap();
    assert!(env.contains("GATEPOST_ALARM_KIND=test") && !env.contains(SECRET), "{env}");
    // One target that fails takes nothing from the other.
    agent.configure_text(&format!("[archive]\npath = \"archive\"\n{}", lines.replace(script, "exit 3")));
    send(&agent).is(3, &["command: the command ended with code 3", "webhook: the test alarm was taken"]);
}

/// The whole chain: mail server, gateway, archive.
#[test]
fn a_canary_is_followed_into_the_archive() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gateway = std::sync::Arc::new(runtime.block_on(Gateway::start(GatewayOptions::default())).unwrap());
    let sink = SmtpSink::start(Protection::StartTls);
    let config = Config { login: "username = \"journal@corp.example\"".into(), ..Config::at(gateway.port()) };
    let canary = format!(
        "\n[canary]\nfrom = \"canary@corp.example\"\nto = \"inbox@corp.example\"\n[canary.smtp]\n{}",
        sink.lines()
    );
    let mut agent = Agent::new(&config);
    agent.configure_text(&(config.text() + &canary));
    agent.password = GatewayOptions::default().password.expose().to_owned();
    agent.environment = vec![("GATEPOST_TEST_SMTP".to_owned(), SECRET.to_owned())];
    // The mail server takes it and loses it.
    let lost = discreet(agent.run(&["check", "--send-test", "--wait", "0s"]));
    lost.is(
        3,
        &["sent: canary@corp.example to inbox@corp.example", "is not in the archive", "hint: look for its subject"],
    );
    let copy = gateway.clone();
    sink.state().deliver = Some(Box::new(move |mail| {
        copy.append("INBOX", mail.to_vec(), None);
    }));
    let found = discreet(agent.run(&["check", "--send-test", "--wait", "1m"]));
    found.is(0, &["archived: message "]);
    let subject = agent.list().first().unwrap()["subject"].as_str().unwrap().to_owned();
    assert!(subject.starts_with("gatepost canary "), "{subject}");
    // What the report says of all that: the canary's was the only item.
    let settings = config::load(&agent.path("gatepost.toml")).unwrap();
    let now = jiff::Timestamp::now();
    let period = (now - jiff::SignedDuration::from_hours(24), now + jiff::SignedDuration::from_mins(1));
    let report = digest::gather(&settings, period, Vec::new()).unwrap();
    let [journal] = report.profiles.as_slice() else { panic!("{report:?}") };
    assert_eq!((journal.archived, report.volume.items, report.quarantined), (1, 1, 0));
    assert_eq!(report.volume.head.to_string(), agent.head());
    assert!(journal.last_success.is_some() && journal.errors.is_empty(), "{journal:?}");
    let before = (period.0 - jiff::SignedDuration::from_hours(24), period.0);
    assert_eq!(digest::gather(&settings, before, Vec::new()).unwrap().profiles[0].archived, 0);
    // No mail server, no canary.
    sink.state().mood = Mood::Answers("RCPT", "550 no such user".into());
    let refused = discreet(agent.run(&["check", "--send-test", "--json"]));
    assert_eq!(refused.code, Some(3));
    assert!(refused.out.contains("no such user") && !refused.out.contains(USER.repeat(2).as_str()), "{refused:?}");
}

/// While the mail server is down nothing is lost, nothing is told twice, and the order stays.
#[tokio::test]
async fn what_could_not_be_sent_is_sent_later_in_order() {
    let sink = SmtpSink::start(Protection::None);
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = sink
        .lines()
        .lines()
        .filter(|line| !line.starts_with("username") && !line.starts_with("password"))
        .map(str::to_owned)
        .collect();
    let text = format!(
        "archive = {{ path = {:?} }}\n[alarms.mail]\n{}\nfrom = \"g@corp.example\"\nto = [\"a@corp.example\"]\n",
        dir.path(),
        lines.join("\n")
    );
    let settings = config::parse(std::path::Path::new("/etc/gatepost.toml"), &text).unwrap().alarms;
    let clock = Arc::new(FixedClock::at("2026-03-01T06:00:00Z".parse().unwrap()));
    let message = |kind: &str, state: State, text: &str| Message {
        key: format!("journal/{kind}"),
        kind: kind.into(),
        state,
        severity: Severity::Critical,
        profile: Some("journal".into()),
        text: text.into(),
        hint: None,
        since: clock.now(),
        at: clock.now(),
        head: None,
    };
    let queue = Queue::open(dir.path(), Fs::real(), clock.clone());
    sink.state().mood = Mood::Answers("MAIL", "451 4.3.0 not now".into());
    queue.push(&settings, &message("no-success", State::Raised, "no successful run for 1 h."));
    queue.push(&settings, &message("vanished", State::Event, "37 items vanished."));
    assert!(queue.work(&Targets(&settings)).await.is_some());
    drop(queue);
    // A restart, and the server is back.
    let queue = Queue::open(dir.path(), Fs::real(), clock.clone());
    sink.state().mood = Mood::Takes;
    assert_eq!(queue.work(&Targets(&settings)).await, None);
    queue.push(&settings, &message("no-success", State::Cleared, "runs again."));
    queue.work(&Targets(&settings)).await;
    let state = sink.state();
    let subject = |data: &str| {
        let line = data.lines().find(|line| line.starts_with("Subject: ")).unwrap_or_default().to_owned();
        line.rsplit_once("] ").map(|(_, rest)| rest.to_owned()).unwrap_or(line)
    };
    let told: Vec<String> = state.taken.iter().map(|taken| subject(&taken.data)).collect();
    let expected = [
        "CRITICAL journal: no successful run for 1 h.",
        "CRITICAL journal: 37 items vanished.",
        "ALL CLEAR journal: runs again.",
    ];
    assert_eq!(told, expected);
    assert_eq!(state.wrong, Vec::<String>::new());
}
