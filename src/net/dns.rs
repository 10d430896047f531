//! Which server a domain names for a service: SRV records (RFC 2782, 6186, 8314).
//!
//! DNS is not authenticated. What it answers is a suggestion, to be shown to a person with the host's name; nothing
//! here may be used to decide where credentials go.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::clean;

const LIMIT: Duration = Duration::from_secs(5);
/// Of one service; nobody looks at more.
const SERVERS_MAX: usize = 4;

pub struct Dns(TokioResolver);

/// A host that a domain names for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub host: String,
    pub port: u16,
}

impl Dns {
    /// Asks whom this machine asks.
    pub fn of_system() -> Result<Dns, String> {
        let mut builder = TokioResolver::builder_tokio().map_err(|error| clean(&error.to_string()))?;
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (LIMIT, 1);
        builder.build().map(Dns).map_err(|error| clean(&error.to_string()))
    }

    /// Asks one server.
    pub fn at(server: SocketAddr) -> Result<Dns, String> {
        let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        connections.iter_mut().for_each(|connection| connection.port = server.port());
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_name_servers(vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.build().map(Dns).map_err(|error| clean(&error.to_string()))
    }

    /// The hosts of a service (`_imaps._tcp`), the preferred one first; none where the domain says nothing, or that
    /// there is no such service.
    pub async fn srv(&self, service: &str, domain: &str) -> Result<Vec<Named>, String> {
        // The dot at the end keeps the search list of this machine out of it.
        let name = format!("{service}.{domain}.");
        let asked = tokio::time::timeout(2 * LIMIT, self.0.lookup(name, RecordType::SRV)).await;
        let lookup = match asked {
            Err(_) => return Err("the DNS server does not answer".into()),
            Ok(Err(error)) if error.is_no_records_found() => return Ok(Vec::new()),
            Ok(Err(error)) => return Err(clean(&error.to_string())),
            Ok(Ok(lookup)) => lookup,
        };
        let mut found: Vec<(u16, u16, Named)> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => {
                    let host = srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                    let named = Named { host: clean(&host), port: srv.port };
                    Some((srv.priority, u16::MAX - srv.weight, named))
                }
                _ => None,
            })
            // "." says that the domain has no such service.
            .filter(|(_, _, named)| !named.host.is_empty() && named.port != 0)
            .collect();
        found.sort_by_key(|(priority, weight, _)| (*priority, *weight));
        Ok(found.into_iter().map(|(_, _, named)| named).take(SERVERS_MAX).collect())
    }
}
