//! Logs: first to standard error, and once the configuration is read to where `[log]` says. What and how much is told
//! follows `GATEPOST_LOG` (as `RUST_LOG` elsewhere), else `[log] level`; as JSON with `GATEPOST_LOG_FORMAT=json` or
//! `[log] format`.
//!
//! Must never hold a secret or the text of a mail, whatever the administrator asks for. gatepost's own lines are
//! written so. Libraries are not: at `debug` and `trace` they tell the bytes they send and receive, logins among
//! them (seen: async-imap, sspi), so that of theirs only `info` and graver is written, wherever the log goes.
//!
//! One constant sentence for each event; what differs stands in fields.

mod file;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use self::file::DailyFile;
use super::eventlog;
use super::exit::Failure;
use crate::base::clock::SystemClock;
use crate::config::LogSettings;
use crate::config::watch::{LogFormat, LogTarget};

const OURS: &str = env!("CARGO_PKG_NAME");
const LEVEL: &str = "GATEPOST_LOG";
const FORMAT: &str = "GATEPOST_LOG_FORMAT";

/// Where lines go, as a layer that can be replaced.
pub type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// What can be changed while lines are written.
struct Handles {
    filter: reload::Handle<EnvFilter, Inner>,
    output: reload::Handle<Output, Registry>,
}

type Inner = tracing_subscriber::layer::Layered<reload::Layer<Output, Registry>, Registry>;

static HANDLES: OnceLock<Handles> = OnceLock::new();

/// To standard error, before anything else is known.
pub fn start() {
    let filter = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| filter_of("info").unwrap_or_default());
    let (subscriber, handles) = subscriber(filter, stderr(is_json(LogFormat::Auto)));
    // Only the first one can be installed; there is no other in this program.
    if subscriber.try_init().is_ok() {
        let _ = HANDLES.set(handles);
    }
}

/// To where the configuration says. What cannot be done leaves the log where it is.
pub fn retarget(settings: &LogSettings) -> Result<(), Failure> {
    let Some(handles) = HANDLES.get() else { return Ok(()) };
    let is_json = is_json(settings.format);
    let output = match settings.to {
        LogTarget::Stderr => stderr(is_json),
        LogTarget::File => {
            let path = settings.file.clone().unwrap_or_default();
            let file = DailyFile::open(&path, settings.keep_days, Box::new(SystemClock)).map_err(|error| {
                Failure::usage(format!("the log {} cannot be written: {error}", path.display()))
                    .hint("its folder must exist, and the user that gatepost runs as must be able to write there")
            })?;
            written(file, is_json, false)
        }
        LogTarget::Journald => journald()?,
        LogTarget::EventLog => event_log()?,
    };
    // Whoever started gatepost for a look knows better than the file.
    if std::env::var_os(LEVEL).is_none() {
        set_level(&settings.level).map_err(Failure::usage)?;
    }
    handles.output.reload(output).map_err(|error| Failure::usage(format!("the log cannot be moved: {error}")))
}

/// What is told from now on: a level of gatepost's own lines, or directives as `GATEPOST_LOG` has them.
pub fn set_level(text: &str) -> Result<(), String> {
    let filter = filter_of(text)?;
    let Some(handles) = HANDLES.get() else { return Err("there is no log".to_owned()) };
    handles.filter.reload(filter).map_err(|error| error.to_string())
}

fn filter_of(text: &str) -> Result<EnvFilter, String> {
    let text = text.trim();
    let directives = match text {
        "error" | "warn" | "info" | "debug" | "trace" => {
            let others = if text == "error" { "error" } else { "warn" };
            format!("{others},{OURS}={text}")
        }
        _ if text.contains(['=', ',']) => text.to_owned(),
        _ => return Err("it is one of: error, warn, info, debug, trace".to_owned()),
    };
    EnvFilter::builder().parse(directives).map_err(|error| error.to_string())
}

fn is_json(format: LogFormat) -> bool {
    match (std::env::var(FORMAT).as_deref(), format) {
        (Ok("json"), _) => true,
        (Ok(_), _) => false,
        (Err(_), LogFormat::Json) => true,
        (Err(_), LogFormat::Auto | LogFormat::Human) => false,
    }
}

/// The filters stand outside of what is replaced, so that no target can be without them.
fn subscriber(filter: EnvFilter, output: Output) -> (impl Subscriber + Send + Sync, Handles) {
    let (output, output_handle) = reload::Layer::new(output);
    let (filter, filter_handle) = reload::Layer::new(filter);
    let subscriber = Registry::default().with(output).with(filter).with(filter_fn(may_speak)).with(eventlog::layer());
    (subscriber, Handles { filter: filter_handle, output: output_handle })
}

fn stderr(is_json: bool) -> Output {
    // Colours are for people; in a journal or a file they are in the way.
    written(std::io::stderr, is_json, std::io::stderr().is_terminal())
}

fn written<W>(writer: W, is_json: bool, has_colours: bool) -> Output
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(has_colours).with_target(false);
    if is_json { layer.json().boxed() } else { layer.boxed() }
}

#[cfg(target_os = "linux")]
fn journald() -> Result<Output, Failure> {
    let layer = tracing_journald::layer().map_err(|error| {
        Failure::usage(format!("the journal cannot be written: {error}"))
            .hint("systemd's journal is not here; write `[log] to = \"stderr\"` or \"file\"")
    })?;
    Ok(layer.with_field_prefix(Some("GATEPOST".to_owned())).with_syslog_identifier(OURS.to_owned()).boxed())
}

#[cfg(not(target_os = "linux"))]
fn journald() -> Result<Output, Failure> {
    Err(Failure::usage("there is no journald on this system").hint("write `[log] to = \"file\"`"))
}

/// The service writes there by itself what needs attention; this is for nothing beside it.
fn event_log() -> Result<Output, Failure> {
    #[cfg(windows)]
    return Ok(Box::new(tracing_subscriber::layer::Identity::new()));
    #[cfg(not(windows))]
    Err(Failure::usage("there is no Event Log on this system").hint("write `[log] to = \"journald\"` or \"file\""))
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
    use crate::base::clock::FixedClock;

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

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn output(is_json: bool) -> (Output, Written) {
        let (kept, writer) = (Written::default(), Written::default());
        let shared = Written(kept.0.clone());
        drop(writer);
        (written(move || shared.clone(), is_json, false), kept)
    }

    fn everybody_speaks() {
        tracing::trace!("ours at trace");
        tracing::info!(target: "async_imap", "theirs at info");
        tracing::debug!(target: "async_imap::imap_stream", "theirs at debug: LOGIN");
        tracing::trace!(target: "gatepost_like", "theirs at trace: LOGIN");
        tracing::trace_span!(target: "sspi::ntlm", "acquire", password = "LOGIN").in_scope(|| {
            tracing::info!("ours within");
        });
    }

    fn is_discreet(text: &str) {
        assert!(!text.contains("LOGIN"), "{text}");
        for said in ["ours at trace", "theirs at info", "ours within"] {
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn libraries_do_not_tell_what_they_send_wherever_the_log_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gatepost.log");
        let clock = FixedClock::at("2026-03-01T12:00:00Z".parse().unwrap());
        let file = DailyFile::open(&path, 3, Box::new(clock)).unwrap();
        let all = || EnvFilter::new("trace,async_imap=trace");
        let (human, told) = output(false);
        let (subscriber, handles) = subscriber(all(), human);
        tracing::subscriber::with_default(subscriber, || {
            everybody_speaks();
            is_discreet(&told.text());
            let (json, told) = output(true);
            handles.output.reload(json).unwrap();
            everybody_speaks();
            is_discreet(&told.text());
            assert!(told.text().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
            handles.output.reload(written(file, false, false)).unwrap();
            handles.filter.reload(all()).unwrap();
            everybody_speaks();
            is_discreet(&std::fs::read_to_string(dir.path().join("gatepost.2026-03-01.log")).unwrap());
            // Levels are followed while it runs.
            let (quiet, told) = output(false);
            handles.output.reload(quiet).unwrap();
            handles.filter.reload(filter_of("warn").unwrap()).unwrap();
            tracing::info!("ours at info");
            tracing::warn!("ours at warn");
            assert!(!told.text().contains("ours at info") && told.text().contains("ours at warn"), "{}", told.text());
        });
    }

    #[test]
    fn a_level_is_a_word_or_directives() {
        for good in ["error", "trace", "warn,gatepost::sources=debug", "gatepost=debug"] {
            assert!(filter_of(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "gatepost=loud", "INFO!"] {
            assert!(filter_of(bad).is_err(), "{bad}");
        }
    }
}
