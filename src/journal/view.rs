//! A decoded item as `explain --json` shows it. Other programs rely on these keys.

use jiff::Timestamp;
use serde::Serialize;

use super::{Decoded, Format};
use crate::base::digest::Digest;
use crate::mail::envelope::Envelope;

#[derive(Clone, Debug, Serialize)]
pub struct View<'a> {
    pub format: Format,
    pub wrapped_in: Option<&'a str>,
    pub degraded: bool,
    pub flags: &'a [String],
    pub envelope: &'a Envelope,
    pub message: MessageView<'a>,
}

#[derive(Clone, Debug, Serialize)]
pub struct MessageView<'a> {
    pub message_id: Option<&'a str>,
    pub subject: &'a str,
    pub date: Option<Timestamp>,
    pub sha256: Digest,
    pub size: u64,
}

impl Decoded {
    /// To be serialised; `#[serde(flatten)]` adds further keys.
    pub fn view(&self) -> View<'_> {
        View {
            format: self.format,
            wrapped_in: self.wrapped_in.as_deref(),
            degraded: self.degraded,
            flags: &self.flags,
            envelope: &self.envelope,
            message: MessageView {
                message_id: self.summary.message_id.as_deref(),
                subject: &self.summary.subject,
                date: self.summary.date,
                sha256: self.original.sha256,
                size: self.original.size,
            },
        }
    }
}
