use std::path::Path;
use std::time::Duration;

use super::super::{Settings, parse};
use super::*;

fn read(text: &str) -> Result<Settings, String> {
    let text = format!("archive = {{ path = \"/a\" }}\n{text}");
    parse(Path::new("/etc/gatepost/gatepost.toml"), &text).map_err(|errors| errors.to_string())
}

#[test]
fn nothing_said_is_the_log_and_loopback() {
    let settings = read("").unwrap();
    assert!(settings.alarms.system_log && settings.alarms.mail.is_none() && settings.canary.is_none());
    assert_eq!(settings.metrics.listen, Some("127.0.0.1:9467".parse().unwrap()));
    assert_eq!(settings.log, LogSettings::default());
    assert_eq!((settings.alarms.failures, settings.alarms.repeat), (3, Some(Duration::from_secs(86_400))));
}

#[test]
fn all_that_can_be_said() {
    let text = r#"
[alarms]
repeat = "never"
oldest_warning = "2h"
[alarms.mail]
host = "Smtp.Corp.Example"
tls = "starttls"
username = "u"
password = { env = "X" }
from = "gatepost@corp.example"
to = ["a@corp.example", "b@corp.example"]
from_severity = "critical"
[alarms.webhook]
url = { env = "HOOK" }
headers = { Authorization = { env = "X" }, "X-Source" = "gatepost" }
[alarms.command]
run = ["page", "--now"]
timeout = "5s"
[alarms.heartbeat]
url = "http://127.0.0.1:8080/token/4711"
every = "1m"
[alarms.report]
every = "weekly"
at = "18:30"
timezone = "Europe/Berlin"
[canary]
from = "canary@corp.example"
to = "inbox@corp.example"
every = "1h"
[metrics]
listen = "off"
[log]
level = "warn,gatepost::sources=debug"
to = "file"
file = "log/gatepost.log"
format = "json"
keep_days = 3
"#;
    let settings = read(text).unwrap();
    let alarms = &settings.alarms;
    let mail = alarms.mail.as_ref().unwrap();
    assert_eq!((mail.smtp.host.as_str(), mail.smtp.port, mail.to.len()), ("smtp.corp.example", 587, 2));
    let webhook = alarms.webhook.as_ref().unwrap();
    assert_eq!(webhook.endpoint.shown, "the environment variable HOOK");
    assert_eq!(webhook.headers.len(), 2);
    let heartbeat = alarms.heartbeat.as_ref().unwrap();
    assert_eq!((heartbeat.endpoint.shown.as_str(), heartbeat.every.as_secs()), ("http://127.0.0.1:8080/…", 60));
    assert_eq!(alarms.report.as_ref().unwrap().every, Period::Weekly);
    // The canary flies by the server of the alarms.
    assert_eq!(settings.canary.as_ref().unwrap().smtp.host, "smtp.corp.example");
    assert_eq!((settings.metrics.listen, settings.log.to), (None, LogTarget::File));
    assert_eq!(settings.log.file.as_deref(), Some(Path::new("/etc/gatepost/log/gatepost.log")));
    // A harmless header and an address earn no notice; neither is shown.
    assert!(settings.notices.iter().all(|notice| notice.contains("profile")), "{:?}", settings.notices);
    let shown = format!("{settings:?} {}", crate::config::show::text(&crate::config::show::tree(&settings)));
    assert!(!shown.contains("4711") && !shown.contains("token"), "{shown}");
}

#[test]
fn mistakes_are_told_at_once_and_repeat_no_address() {
    let text = r#"
[alarms]
system_log = false
oldest_critical = "30m"
failures = 0
repeat = "1s"
hook = 1
[alarms.report]
at = "7 o'clock"
timezone = "Mars/Base"
[canary]
from = "canary"
to = "x@corp.example"
every = "1s"
[metrics]
listen = "localhost"
[log]
level = "loud"
to = "file"
"#;
    insta::assert_snapshot!(read(text).unwrap_err(), @r#"
    the configuration has 14 mistakes:
    /etc/gatepost/gatepost.toml:4: alarms → system_log: is false, and there is no other target: nobody would be told
      hint: leave it out, or add [alarms.mail], [alarms.webhook] or [alarms.command]
    /etc/gatepost/gatepost.toml:5: alarms → oldest_critical: makes the warning come after the critical alarm
      hint: oldest_warning is the shorter one
    /etc/gatepost/gatepost.toml:6: alarms → failures: 0 is out of bounds
      hint: write a number from 1 to 1000, or leave the key out
    /etc/gatepost/gatepost.toml:7: alarms → repeat: "1s" is less than a minute
      hint: write "24h", or "never"
    /etc/gatepost/gatepost.toml:8: alarms → hook: unknown key
      hint: did you mean `webhook`?
    /etc/gatepost/gatepost.toml:9: alarms → report: has no way to be sent
      hint: add [alarms.mail], which says where it goes
    /etc/gatepost/gatepost.toml:10: alarms → report → at: "7 o'clock" is no time of the day
      hint: write the hour and the minute: at = "07:00"
    /etc/gatepost/gatepost.toml:11: alarms → report → timezone: "Mars/Base" is not in this host's time zone database
      hint: a name such as "Europe/Berlin"; without it the host's time zone holds
    /etc/gatepost/gatepost.toml:12: canary → smtp: is missing
      hint: add [canary.smtp] with a host, or [alarms.mail], whose server is then used
    /etc/gatepost/gatepost.toml:13: canary → from: "canary" is not a mail address
      hint: write it in full: "gatepost@corp.example"
    /etc/gatepost/gatepost.toml:15: canary → every: is less than a minute
      hint: "1h" is often enough: each one is archived
    /etc/gatepost/gatepost.toml:17: metrics → listen: "localhost" is no address with a port
      hint: an address and a port: listen = "127.0.0.1:9467"; "off" for none
    /etc/gatepost/gatepost.toml:18: log → file: is missing
      hint: name it: file = "/var/log/gatepost/gatepost.log"
    /etc/gatepost/gatepost.toml:19: log → level: "loud" is no level
      hint: it is one of: error, warn, info, debug, trace
    "#);
    let text = r#"
[alarms.mail]
host = "smtp.corp.example"
tls = "none"
password = "hunter2"
from = "no address"
to = []
[alarms.webhook]
url = "http://hooks.corp.example/hunter2"
headers = { "Content-Type" = "x", Authorization = "hunter2", "X Y" = "z" }
[alarms.heartbeat]
url = "ftp://hunter2@beat.corp.example"
[alarms.command]
run = []
timeout = "0s"
"#;
    let said = read(text).unwrap_err();
    assert!(!said.contains("hunter2"), "{said}");
    for key in [
        "alarms → mail → tls: ",
        "alarms → mail → password: stands without username",
        "alarms → mail → from: ",
        "alarms → mail → to: is empty",
        "alarms → webhook → url: http:// would send everything in clear text",
        "alarms → webhook → headers → Content-Type: ",
        "alarms → webhook → headers → X Y: ",
        "alarms → heartbeat → url: is neither https:// nor http://",
        "alarms → command → run: names no program",
        "alarms → command → timeout: ",
    ] {
        assert!(said.contains(key), "{key} in {said}");
    }
}

#[test]
fn an_address_that_is_kept_elsewhere_is_checked_when_it_is_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    let text = format!("[alarms.webhook]\nurl = {{ file = {path:?} }}\n");
    let endpoint = || read(&text).unwrap().alarms.webhook.unwrap().endpoint.endpoint();
    std::fs::write(&path, "http://hooks.corp.example/hunter2").unwrap();
    let error = endpoint().unwrap_err().to_string();
    assert!(
        error.contains("alarms → webhook → url") && error.contains("clear text") && !error.contains("hunter2"),
        "{error}"
    );
    std::fs::write(&path, "https://hooks.corp.example/hunter2").unwrap();
    let endpoint = endpoint().unwrap();
    assert_eq!(endpoint.shown, "https://hooks.corp.example/…");
    assert!(!format!("{endpoint:?}").contains("hunter2"));
}

#[test]
fn listening_for_strangers_is_noticed() {
    let notices = read("[metrics]\nlisten = \"0.0.0.0:9467\"\n").unwrap().notices;
    assert!(notices.iter().any(|notice| notice.contains("metrics → listen")), "{notices:?}");
}
