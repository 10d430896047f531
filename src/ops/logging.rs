//! Logs: to standard error, what and how much by `GATEPOST_LOG` (as `RUST_LOG` elsewhere), as JSON with
//! `GATEPOST_LOG_FORMAT=json`.
//!
//! Must never hold a secret or the text of a mail, whatever the administrator asks for. gatepost's own lines are
//! written so. Libraries are not: at `debug` and `trace` they tell the bytes they send and receive, logins among
//! them (seen: async-imap, sspi), so that of theirs only `info` and graver is written.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::eventlog;

const OURS: &str = env!("CARGO_PKG_NAME");
const USUAL: &str = "warn,gatepost=info";

pub fn start() {
    let filter = EnvFilter::try_from_env("GATEPOST_LOG").unwrap_or_else(|_| EnvFilter::new(USUAL));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people; in a journal or a file they are in the way.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let json = std::env::var("GATEPOST_LOG_FORMAT").is_ok_and(|format| format == "json");
    let discreet = filter_fn(may_speak);
    // Only the first one can be installed; there is no other in this program.
    let _ = if json {
        builder.json().finish().with(discreet).with(eventlog::layer()).try_init()
    } else {
        builder.finish().with(discreet).with(eventlog::layer()).try_init()
    };
}

fn may_speak(metadata: &Metadata<'_>) -> bool {
    is_ours(metadata.target()) || *metadata.level() <= Level::INFO
}

fn is_ours(target: &str) -> bool {
    target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn libraries_do_not_tell_what_they_send() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("trace,async_imap=trace"))
            .with_writer(move || writer.clone())
            .finish()
            .with(filter_fn(may_speak));
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!("ours at trace");
            tracing::info!(target: "async_imap", "theirs at info");
            tracing::debug!(target: "async_imap::imap_stream", "theirs at debug: LOGIN");
            tracing::trace!(target: "gatepost_like", "theirs at trace: LOGIN");
            tracing::trace_span!(target: "sspi::ntlm", "acquire", password = "LOGIN").in_scope(|| {
                tracing::info!("ours within");
            });
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("LOGIN"), "{text}");
        for said in ["ours at trace", "theirs at info", "ours within"] {
            assert!(text.contains(said), "{text}");
        }
    }
}
