//! Client plumbing that sources share: TLS and time-outs.

/// How a connection is protected. There is no "if available": what is asked for happens, or it is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    Implicit,
    StartTls,
    None,
}
