//! What the tests stand on: real servers on loopback, with temporary state.

pub mod agent;
pub mod bench;
pub mod connect_proxy;
pub mod cut;
pub mod cyrus;
pub mod disk;
pub mod dovecot;
pub mod ews;
pub mod gateways;
pub mod history;
pub mod introspection;
pub mod mails;
pub mod middle;
pub mod reports;
pub mod slapd;
pub mod smtp;
pub mod tamper;
pub mod token_server;

/// A test without its server counts as skipped, and says so; where servers are required (CI) it fails.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("GATEPOST_REQUIRE_SERVERS").is_none_or(|v| v != "1"), "a server is missing: {reason}");
    eprintln!("skipped: {reason}");
}

/// So many crash or fault points were tried; `tests/run` adds them up, by the file that `GATEPOST_POINTS` names.
pub fn points(of: &str, count: u64) {
    eprintln!("{of}: {count} points");
    let Some(path) = std::env::var_os("GATEPOST_POINTS") else { return };
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    // One write, so that tests in several processes do not mix their lines.
    std::io::Write::write_all(&mut file, format!("{count}\t{of}\n").as_bytes()).unwrap();
}

/// What `check` says about a gateway.
pub async fn findings(options: gatepost::sources::SourceOptions) -> Vec<gatepost::sources::Finding> {
    let mut found = Vec::new();
    gatepost::sources::AnySource::look(&options, &mut |finding| found.push(finding)).await;
    found
}
