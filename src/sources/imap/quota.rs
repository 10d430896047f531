//! How full a mailbox is (RFC 9208).

use async_imap::imap_proto::Response;
use async_imap::imap_proto::rfc2087::QuotaResourceName;

use super::wire::Wire;
use crate::net::clean;
use crate::sources::Usage;

/// The fullest resource of the INBOX; `None` where the server does not tell.
pub(super) async fn usage(wire: &mut Wire) -> Option<Usage> {
    wire.diverter().be_curious();
    let mut fullest: Option<Usage> = None;
    let asked = wire
        .run("GETQUOTAROOT \"INBOX\"", |response| {
            let Response::Quota(quota) = response else { return Ok(()) };
            for resource in quota.resources.iter().filter(|resource| resource.limit > 0) {
                let percent = resource.usage.saturating_mul(100) / resource.limit;
                let said = match &resource.name {
                    QuotaResourceName::Storage => {
                        format!("{} of {} MiB", resource.usage / 1024, resource.limit / 1024)
                    }
                    QuotaResourceName::Message => format!("{} of {} messages", resource.usage, resource.limit),
                    QuotaResourceName::Atom(name) => {
                        format!("{} of {} ({})", resource.usage, resource.limit, clean(name))
                    }
                };
                if fullest.as_ref().is_none_or(|so_far| percent > so_far.percent) {
                    fullest = Some(Usage { percent, said });
                }
            }
            Ok(())
        })
        .await;
    if let Err(failure) = asked {
        tracing::debug!(%failure, "the server does not tell its quota");
        return None;
    }
    fullest
}
