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
