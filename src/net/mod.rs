//! Client plumbing that sources share: TLS and what it trusts, proxies, logins and tokens, time-outs.

pub mod certificate;
pub mod deflate;
pub mod dns;
pub mod http;
pub mod login;
pub mod oauth;
pub mod proxy;
pub mod smtp;
pub mod tls;
pub mod trust;

use tokio::io::{AsyncRead, AsyncWrite};

/// How a connection is protected. There is no "if available": what is asked for happens, or it is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    Implicit,
    StartTls,
    None,
}

/// A connection in either direction, whatever protects it.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub type BoxTransport = Box<dyn Transport>;

/// Text of the other side made fit for a log line: control characters removed, at most 400 bytes.
pub fn clean(text: &str) -> String {
    const BYTES_MAX: usize = 400;
    let mut out = String::with_capacity(text.len().min(BYTES_MAX));
    for c in text.trim().chars() {
        let c = if c == '\r' || c == '\n' || c == '\t' { ' ' } else { c };
        if c.is_control() {
            continue;
        }
        if out.len() + c.len_utf8() > BYTES_MAX - '…'.len_utf8() {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn foreign_text_is_cut_and_cannot_forge_a_log_line() {
        assert_eq!(clean("no\r\nERROR \x1b[31mfake\x07"), "no  ERROR [31mfake");
        let long = clean(&"ä".repeat(1000));
        assert!(long.len() <= 400 && long.ends_with('…'), "{}", long.len());
        assert_eq!(clean(&"a".repeat(397)).len(), 397);
    }
}
