//! The Windows Event Log (Windows Logs, Application, source `gatepost`): what needs somebody's attention, and that the
//! service came and went. Only of the service; who runs gatepost by hand reads it at the terminal.

use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

#[cfg(windows)]
pub use windows::{deregister, register};

/// `None` where there is no Event Log, or nobody for whom it would be written.
pub fn layer<S>() -> Option<impl Layer<S>>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    #[cfg(windows)]
    return windows::EventLog::of_the_service();
    #[cfg(not(windows))]
    None::<tracing_subscriber::layer::Identity>
}

/// One event as text: the sentence, then what belongs to it, one field in a line.
#[cfg(any(windows, test))]
#[derive(Default)]
struct Text {
    sentence: String,
    fields: String,
}

#[cfg(any(windows, test))]
impl tracing::field::Visit for Text {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        // Writing into a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.sentence, "{value:?}"),
            name => write!(self.fields, "\r\n{name}: {value:?}"),
        };
    }
}

#[cfg(any(windows, test))]
fn text(event: &tracing::Event<'_>) -> String {
    /// The Event Log takes 31,839 characters of a text.
    const CHARACTERS_MAX: usize = 16_000;
    let mut text = Text::default();
    event.record(&mut text);
    let whole = text.sentence + &text.fields;
    match whole.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{} …", &whole[..end]),
        None => whole,
    }
}

#[cfg(windows)]
mod windows {
    use tracing::{Event, Level, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::Context;

    const SOURCE: &str = env!("CARGO_PKG_NAME");
    const SERVICE: &str = "gatepost::ops::service";

    /// Makes the source known, with this program as the file that holds its texts.
    pub fn register() -> Result<(), winlog2::Error> {
        winlog2::register(SOURCE)
    }

    pub fn deregister() -> Result<(), winlog2::Error> {
        winlog2::deregister(SOURCE)
    }

    pub struct EventLog;

    impl EventLog {
        /// Only if this process is the one that the service manager started.
        pub fn of_the_service() -> Option<EventLog> {
            let arguments: Vec<_> = std::env::args_os().collect();
            let is_service = arguments.windows(2).any(|pair| pair == crate::ops::service::SERVED_AS);
            // The crate writes through `log` only, and takes it for itself. What libraries say there at `warn` and graver
            // goes to the Event Log as well, the rest nowhere.
            (is_service && winlog2::init(SOURCE).is_ok()).then(|| {
                log::set_max_level(log::LevelFilter::Warn);
                EventLog
            })
        }
    }

    impl<S: Subscriber> Layer<S> for EventLog {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let level = match *event.metadata().level() {
                Level::ERROR => log::Level::Error,
                Level::WARN => log::Level::Warn,
                // That the service came and went.
                Level::INFO if event.metadata().target().starts_with(SERVICE) => log::Level::Info,
                _ => return,
            };
            let text = super::text(event);
            log::logger().log(&log::Record::builder().level(level).args(format_args!("{text}")).build());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(text(event));
        }
    }

    #[test]
    fn an_event_is_its_sentence_and_a_line_for_each_field() {
        let heard = Heard::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(heard.clone()), || {
            tracing::error!(profile = "journal", error = "refused \"x\"", tries = 3, "cycle failed");
            tracing::error!(error = "ä".repeat(40_000), "too long");
        });
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard[0], "cycle failed\r\nprofile: journal\r\nerror: refused \"x\"\r\ntries: 3");
        assert!(heard[1].ends_with("ä …") && heard[1].chars().count() < 16_010);
    }
}
