//! A web address that is called while all is well, so that whoever listens there notices when nobody calls any more.

use super::mail::blocking;
use crate::config::watch::HeartbeatSettings;
use crate::net::http;

/// Calls it once. The error is for the log: it holds the host of the address and nothing more of it.
pub async fn beat(settings: &HeartbeatSettings) -> Result<(), String> {
    let fetched = settings.endpoint.clone();
    let endpoint = blocking(move || fetched.endpoint()).await.map_err(|failure| failure.what)?;
    http::call(&endpoint, &[], None).await.map_err(|error| format!("{}: {error}", endpoint.shown))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;

    #[tokio::test]
    async fn what_fails_is_told_without_the_address() {
        // A port on which nobody listens.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text =
            format!("archive = {{ path = \"/a\" }}\n[alarms.heartbeat]\nurl = \"http://127.0.0.1:{port}/ping/4711\"\n");
        let settings = parse(Path::new("/etc/gatepost.toml"), &text).unwrap().alarms.heartbeat.unwrap();
        let error = super::beat(&settings).await.unwrap_err();
        assert!(error.contains("refused the connection") && !error.contains("4711"), "{error}");
    }
}
