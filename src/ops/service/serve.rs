//! The process that Windows' service manager starts: the agent, with the service manager as its [`Host`].
//!
//! A service has no terminal. What a person would read there goes to the Event Log, and the reason of the last failure into
//! a file, so that `gatepost service start` can tell it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::windows::{NAME, home};
use crate::base::fsio::{self, Fs};
use crate::ops::exit::{self, Exit, Failure};
use crate::ops::host::Host;
use crate::ops::run;
use crate::ops::wiring::Global;

/// In the command line that is registered with the service manager; options stand before and after.
pub const ARGUMENTS: [&str; 2] = ["service", "run"];
/// Why the service ended last.
pub const FAILED: &str = "service-failure.json";
/// What the service's own `gatepost check` said.
pub const CHECKED: &str = "service-check.json";
/// Within this the service manager hears of progress, or takes the service for hung.
const PATIENCE: Duration = Duration::from_secs(20);
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// dwWin32ExitCode of a service that was not started by the service manager.
const NOT_BY_THE_SERVICE_MANAGER: i32 = 1063;

/// A check that the service shall run, and how its answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Text,
    Json,
}

impl Check {
    const ALL: [Check; 2] = [Check::Text, Check::Json];

    /// For a service that does not run: it is started with this.
    pub fn argument(self) -> &'static str {
        match self {
            Check::Text => "check",
            Check::Json => "check-json",
        }
    }

    /// For a service that runs. 128 to 255 are free for services.
    pub fn control(self) -> u32 {
        match self {
            Check::Text => 200,
            Check::Json => 201,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Checked {
    pub code: u8,
    pub said: String,
}

#[derive(Serialize, Deserialize)]
struct Failed {
    code: u8,
    what: String,
    hint: Option<String>,
}

/// The entry point gets nothing from who calls it.
static GLOBAL: OnceLock<Global> = OnceLock::new();
/// Where notes are left, when that was told.
static NOTES: OnceLock<PathBuf> = OnceLock::new();

define_windows_service!(entry, main);

pub fn serve(global: &Global, notes: Option<&Path>) -> Result<Exit, Failure> {
    // Once in a process.
    let _ = GLOBAL.set(global.clone());
    if let Some(notes) = notes {
        let _ = NOTES.set(notes.to_owned());
    }
    service_dispatcher::start(NAME, entry).map(|()| Exit::Ok).map_err(|error| match error {
        windows_service::Error::Winapi(error) if error.raw_os_error() == Some(NOT_BY_THE_SERVICE_MANAGER) => {
            Failure::usage("this is what the service manager starts")
                .hint("gatepost service start; or without a service: gatepost run")
        }
        error => Failure::usage(format!("the service manager refuses: {error}")),
    })
}

/// On a thread of the service manager's.
fn main(arguments: Vec<OsString>) {
    let Some(global) = GLOBAL.get() else { return };
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let controls = {
        let stop = stop.clone();
        move |control| match control {
            ServiceControl::Stop | ServiceControl::Preshutdown | ServiceControl::Shutdown => {
                stop.send_replace(true);
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            ServiceControl::UserEvent(code) => match Check::ALL.iter().find(|how| how.control() == code.to_raw()) {
                // The service manager waits for nobody here.
                Some(how) => {
                    let how = *how;
                    std::thread::spawn(move || check(global, how));
                    ServiceControlHandlerResult::NoError
                }
                None => ServiceControlHandlerResult::NotImplemented,
            },
            _ => ServiceControlHandlerResult::NotImplemented,
        }
    };
    let handle = match service_control_handler::register(NAME, controls) {
        Ok(handle) => handle,
        Err(error) => {
            tracing::error!(%error, "the service manager does not take the service");
            return;
        }
    };
    let manager = Manager::new(handle);
    // Among them may be the name of the service.
    let asked = Check::ALL.iter().find(|how| arguments.iter().any(|argument| argument == how.argument()));
    if let Some(how) = asked {
        check(global, *how);
        manager.stopped(ServiceExitCode::NO_ERROR);
        return;
    }
    let ended = run::agent(global, &manager, told(stopped));
    let code = match ended {
        Ok(exit) => exit.code(),
        Err(failure) => {
            let hint = failure.hint.clone().unwrap_or_default();
            tracing::error!(error = failure.what, hint, "the service ends");
            let failed = Failed { code: failure.exit.code(), what: failure.what, hint: failure.hint };
            keep(FAILED, &failed);
            failed.code
        }
    };
    tracing::info!(code, "the service has stopped");
    manager.stopped(match code {
        0 => ServiceExitCode::NO_ERROR,
        // The recovery actions of the service follow.
        code => ServiceExitCode::ServiceSpecific(code.into()),
    });
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // The sender lives as long as the service.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// `gatepost check` in a process of its own, so that the agent is not in its way; what it says goes into a file that only the
/// service and administrators see.
fn check(global: &Global, how: Check) {
    let mut process = match std::env::current_exe() {
        Ok(program) => Process::new(program),
        Err(error) => {
            keep(CHECKED, &Checked { code: Exit::Usage.code(), said: error.to_string() });
            return;
        }
    };
    for (option, path) in [("--config", &global.config), ("--archive", &global.archive)] {
        if let Some(path) = path {
            process.arg(option).arg(path);
        }
    }
    process.arg("check").args((how == Check::Json).then_some("--json")).stdin(Stdio::null());
    let checked = match process.output() {
        Ok(ended) => {
            // What went to standard error is for people.
            let complaints = if how == Check::Text || ended.stdout.is_empty() { &ended.stderr[..] } else { &[] };
            let said = [&ended.stdout[..], complaints].map(String::from_utf8_lossy).concat();
            let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
            Checked { code: code.unwrap_or(Exit::Usage.code()), said }
        }
        Err(error) => Checked { code: Exit::Usage.code(), said: error.to_string() },
    };
    keep(CHECKED, &checked);
}

/// The folder of notes.
pub fn notes() -> PathBuf {
    NOTES.get().cloned().unwrap_or_else(|| home().join("logs"))
}

fn keep(name: &str, value: &impl Serialize) {
    let kept = serde_json::to_vec(value)
        .map_err(std::io::Error::from)
        .and_then(|bytes| Fs::real().write_durably(&notes().join(name), &bytes));
    if let Err(error) = kept {
        tracing::warn!(%error, file = %notes().join(name).display(), "a note for `gatepost service` cannot be written");
    }
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_slice(&fsio::read(&notes().join(name)).ok()?).ok()
}

pub fn forget(name: &str) {
    // It need not be there.
    let _ = fsio::remove_file(&notes().join(name));
}

pub fn checked() -> Option<Checked> {
    read(CHECKED)
}

pub fn last_failure() -> Option<Failure> {
    let failed: Failed = read(FAILED)?;
    Some(Failure { exit: exit::of_code(failed.code), what: failed.what, hint: failed.hint, refused: false })
}

/// Tells the service manager how the agent is. What takes its time is told again and again, or the service manager takes
/// the service for hung and says so to whoever started it.
struct Manager {
    shared: Arc<Shared>,
}

struct Shared {
    handle: ServiceStatusHandle,
    state: Mutex<(ServiceState, u32)>,
}

impl Manager {
    fn new(handle: ServiceStatusHandle) -> Manager {
        let shared = Arc::new(Shared { handle, state: Mutex::new((ServiceState::StartPending, 0)) });
        shared.tell(ServiceExitCode::NO_ERROR);
        let manager = Manager { shared };
        manager.tell_of_progress();
        manager
    }

    fn set(&self, state: ServiceState, exit_code: ServiceExitCode) {
        *self.shared.lock() = (state, 0);
        self.shared.tell(exit_code);
    }

    fn stopped(&self, exit_code: ServiceExitCode) {
        self.set(ServiceState::Stopped, exit_code);
    }

    /// Until the state changes.
    fn tell_of_progress(&self) {
        let shared = self.shared.clone();
        let pending = shared.lock().0;
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(PROGRESS_EVERY);
                {
                    let mut state = shared.lock();
                    if state.0 != pending {
                        return;
                    }
                    state.1 += 1;
                }
                shared.tell(ServiceExitCode::NO_ERROR);
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, (ServiceState, u32)> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn tell(&self, exit_code: ServiceExitCode) {
        // Held meanwhile, so that an older state is never told after a newer one.
        let state = self.lock();
        let (current_state, step) = *state;
        let is_pending = matches!(current_state, ServiceState::StartPending | ServiceState::StopPending);
        let controls_accepted = match current_state {
            // The machine waits longer for a service that hears of it early.
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
            _ => ServiceControlAccept::empty(),
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint: if is_pending { step + 1 } else { 0 },
            wait_hint: if is_pending { PATIENCE } else { Duration::ZERO },
            process_id: None,
        };
        if let Err(error) = self.handle.set_service_status(status) {
            tracing::warn!(%error, state = ?current_state, "the service manager could not be told");
        }
    }
}

impl Host for Manager {
    fn ready(&self) {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "the service runs");
        self.set(ServiceState::Running, ServiceExitCode::NO_ERROR);
    }

    fn stopping(&self) {
        tracing::info!("the service stops");
        self.set(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
        self.tell_of_progress();
    }
}
