//! What `check` says about a POP3 gateway. It changes nothing.

use super::options::Pop3Options;
use super::{Pop3Source, connect};
use crate::net::{TlsMode, clean, tls};
use crate::sources::failure::net_error;
use crate::sources::{Finding, Level, Source as _, SourceError};

pub(super) async fn findings(options: &Pop3Options) -> Vec<Finding> {
    let mut found = Vec::new();
    // What fails first is the last line: all that follows could only fail for the same reason.
    if let Err(failed) = look(options, &mut found).await {
        found.push(failed);
    }
    found
}

async fn look(options: &Pop3Options, found: &mut Vec<Finding>) -> Result<(), Finding> {
    let port = options.ports.first().map_or(995, |(port, _)| *port);
    let addresses = tls::resolve(&options.host, port, options.timeout)
        .await
        .map_err(|error| failed("DNS", &net_error(&error, "DNS")))?;
    let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
    found.push(ok("DNS", format!("{} is {list}", clean(&options.host))));
    let greeted = connect::connect(options).await.map_err(|error| failed("connection", &error))?;
    found.push(ok("connection", format!("{} accepts connections", greeted.peer)));
    found.push(match greeted.tls {
        TlsMode::Implicit => ok("TLS", format!("protected from the first byte, {}", options.trust.verified())),
        TlsMode::StartTls => ok("TLS", format!("protected with STLS, {}", options.trust.verified())),
        TlsMode::None if greeted.peer.ip().is_loopback() => ok("TLS", "none, on this machine only".into()),
        TlsMode::None => Finding {
            level: Level::Warning,
            what: "TLS".into(),
            said: "none: passwords and mails go over the network readable (`allow_plaintext`)".into(),
            hint: Some("use `tls = \"implicit\"` or `\"starttls\"`".into()),
        },
    });
    // A session that looked at TLS only is ended: what follows is what a run does, a replaced token included.
    drop(greeted);
    let (greeted, way) = connect::session(options).await.map_err(|error| failed("login", &error))?;
    found.push(ok("login", format!("logged in as {} ({way})", clean(&options.username))));
    let mut source = Pop3Source::new(greeted, options).read_only();
    let opened = source.open("INBOX").await.map_err(|error| failed("mailbox", &error))?;
    found.push(ok("mailbox", format!("holds {} items, each with its UIDL", opened.state.exists)));
    found.push(ok("delete support", "DELE, confirmed by QUIT".into()));
    source.close().await;
    Ok(())
}

fn ok(what: &str, said: String) -> Finding {
    Finding { level: Level::Ok, what: what.to_owned(), said, hint: None }
}

fn failed(what: &str, error: &SourceError) -> Finding {
    Finding { level: Level::Failed, what: what.to_owned(), said: error.answer.clone(), hint: error.hint.clone() }
}
