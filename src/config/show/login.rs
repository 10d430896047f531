//! What `config show` says of logins, TLS and proxies: the places of secrets, never the secrets.

use toml::{Table, Value};

use super::{Out, path, secret};
use crate::config::oauth2::{GrantSettings, OAuth2Settings, ProofSettings};
use crate::config::{LoginSettings, ProxySettings};
use crate::net::trust::Trust;

pub(super) fn login(settings: &LoginSettings) -> Table {
    let out = Out::default();
    match settings {
        LoginSettings::Password(password) => out.put("password", secret(password)),
        LoginSettings::OAuth2(settings) => out.put("oauth2", Value::Table(oauth2(settings))),
        // `auth` says so.
        LoginSettings::Certificate | LoginSettings::Process => out,
    }
    .0
}

pub(super) fn trust(trust: &Trust) -> Table {
    let Trust { ca_file, fingerprint, identity } = trust;
    let identity = identity.as_ref();
    Out::default()
        .put_some("ca_file", ca_file.as_deref().map(path))
        .put_some("tls_fingerprint", fingerprint.as_ref().map(ToString::to_string))
        .put_some("client_certificate", identity.map(|identity| path(&identity.certificate)))
        .put_some("client_key", identity.map(|identity| path(&identity.key)))
        .0
}

pub(super) fn proxy(settings: Option<&ProxySettings>) -> Table {
    let Some(ProxySettings { host, port, user }) = settings else { return Table::new() };
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let name = user.as_ref().map(|(name, _)| format!("{name}@")).unwrap_or_default();
    let password = user.as_ref().and_then(|(_, password)| password.as_ref());
    Out::default()
        .put("proxy", format!("http://{name}{host}:{port}"))
        .put_some("proxy_password", password.map(secret))
        .0
}

/// A provider is shown as what it stands for: its addresses and its scope.
fn oauth2(settings: &OAuth2Settings) -> Table {
    let OAuth2Settings {
        token_url,
        device_url,
        client_id,
        scope,
        login: _,
        grant,
        ca_file,
        proxy,
        folder,
        // Where the configuration speaks of it.
        file: _,
        line: _,
        path: _,
    } = settings;
    let out = Out::default()
        .put_some("token_url", token_url.clone())
        .put_some("device_url", device_url.clone())
        .put_some("client_id", Some(client_id.clone()).filter(|id| !id.is_empty()))
        .put("scope", scope.clone());
    let out = match grant {
        GrantSettings::ClientCredentials(settings) => {
            out.put("grant", "client_credentials").put_all(proof(Some(settings)))
        }
        GrantSettings::RefreshToken { token, proof: settings } => {
            let out = out.put("grant", "refresh_token").put("refresh_token", secret(token));
            out.put_all(proof(settings.as_ref()))
        }
        GrantSettings::DeviceCode { proof: settings } => {
            out.put("grant", "device_code").put_all(proof(settings.as_ref()))
        }
        GrantSettings::ServiceAccount { file, subject } => {
            out.put("grant", "service_account").put("service_account", path(file)).put_some("subject", subject.clone())
        }
    };
    out.put_some("ca_file", ca_file.as_deref().map(path))
        .put_all(self::proxy(proxy.as_ref()))
        .put("token_folder", path(folder))
        .0
}

fn proof(settings: Option<&ProofSettings>) -> Table {
    let out = Out::default();
    match settings {
        None => out,
        Some(ProofSettings::Secret { secret: place, in_header, expires }) => {
            let how = if *in_header { "basic" } else { "body" };
            let day = expires.map(|expires| expires.strftime("%Y-%m-%d").to_string());
            out.put("client_secret", secret(place)).put("client_auth", how).put_some("client_secret_expires", day)
        }
        Some(ProofSettings::Certificate { certificate, key, algorithm }) => out
            .put("certificate", path(certificate))
            .put("key", path(key))
            .put("signature", format!("{algorithm:?}").to_ascii_lowercase()),
    }
    .0
}
