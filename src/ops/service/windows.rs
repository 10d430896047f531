//! gatepost as a service of Windows, under an account of its own: `NT SERVICE\gatepost`, which has no password, no desktop
//! and no rights but those that are given to it here.
//!
//! What it must never do: take away a configuration, an archive or a secret; start a service on a configuration that does
//! not stand. Everything may be done twice.
//!
//! The MSI makes the same service by its own tables and has the rest done by `service prepare`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceExitCode,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceSidType, ServiceStartType, ServiceState,
    ServiceStatus, ServiceType, UserEventCode,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::Command;
use super::access;
use super::serve::{self, Check};
use crate::base::fsio::Fs;
use crate::config;
use crate::ops::exit::{self, Exit, Failure};
use crate::ops::wiring::{self, Global};
use crate::ops::{eventlog, output};

pub const NAME: &str = "gatepost";
const ACCOUNT: &str = r"NT SERVICE\gatepost";
const DISPLAY_NAME: &str = "gatepost mail archive";
const DESCRIPTION: &str = "Empties a gateway or journal mailbox into per-user mail archives. A mail leaves the gateway only \
                           after it provably stands in the archive.";
/// Opening an archive after a crash reads what was written last; mending may take minutes.
const START_WAIT: Duration = Duration::from_secs(600);
const STOP_WAIT: Duration = Duration::from_secs(60);
/// A gateway that hangs is given up by `check` itself.
const CHECK_WAIT: Duration = Duration::from_secs(900);

// winerror.h.
const ACCESS_DENIED: i32 = 5;
const ALREADY_RUNNING: i32 = 1056;
const DOES_NOT_EXIST: i32 = 1060;
const NOT_ACTIVE: i32 = 1062;
const MARKED_FOR_DELETE: i32 = 1072;
const EXISTS: i32 = 1073;

pub fn service(global: &Global, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Install => install(global),
        Command::Uninstall => uninstall(),
        Command::Start => start(),
        Command::Stop => stop(),
        Command::Check { json } => check(*json),
        Command::Run { notes } => serve::serve(global, notes.as_deref()),
        Command::Prepare { resume } => prepare(*resume),
    }
}

/// `%ProgramData%\gatepost`: configuration, secrets, logs, and the archive unless the configuration names another place.
pub fn home() -> PathBuf {
    config::system_file().parent().map_or_else(PathBuf::new, Path::to_owned)
}

fn install(global: &Global) -> Result<Exit, Failure> {
    // A service starts in system32.
    let absolute = Global {
        config: Some(wiring::absolute(global.config.as_deref().unwrap_or(&config::system_file()))?),
        archive: global.archive.as_deref().map(wiring::absolute).transpose()?,
        create_archive: global.create_archive,
    };
    let settings = wiring::settings(&absolute).map_err(|failure| Failure {
        hint: failure
            .hint
            .or_else(|| Some(format!("write it first: gatepost --config {} init", config::system_file().display()))),
        ..failure
    })?;
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let info = info(std::env::current_exe()?, &absolute);
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::QUERY_CONFIG | ServiceAccess::START;
    let service = match manager.create_service(&info, access) {
        Ok(service) => service,
        // The same again: the program may have moved, or another configuration is meant.
        Err(error) if code(&error) == Some(EXISTS) => {
            let service = open(&manager, access)?;
            service.change_config(&info).map_err(|error| failed("cannot change the service", &error))?;
            service
        }
        Err(error) => return Err(failed("cannot install the service", &error)),
    };
    output::line(&format!("the service {NAME} is installed; it runs as {ACCOUNT} and starts with the machine"));
    let mut warnings = configure(&service);
    warnings.extend(register_events());
    warnings.extend(own_folder(settings.file.as_path()));
    // What the configuration names elsewhere is opened to the service as far as it is there.
    for folder in [Some(&settings.archive.path), settings.archive.catalogue.as_ref()].into_iter().flatten() {
        let folder = if folder.is_file() { folder.parent().unwrap_or(folder) } else { folder.as_path() };
        if !folder.starts_with(home()) && folder.is_dir() {
            warnings.extend(access::open_to_service(folder).err());
        }
    }
    let exit = told(&warnings);
    if !settings.archive.path.starts_with(home()) && !settings.archive.path.exists() {
        output::note(&format!(
            "the archive will be made at {}: {ACCOUNT} must be allowed to write there",
            settings.archive.path.display()
        ));
    }
    output::line("next: gatepost service check; gatepost service start");
    Ok(exit)
}

/// What the MSI's tables cannot do, after them: as the installer, in silence, as often as it likes.
fn prepare(resume: bool) -> Result<Exit, Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let service = open(&manager, ServiceAccess::CHANGE_CONFIG | ServiceAccess::QUERY_STATUS | ServiceAccess::START)?;
    let mut warnings = configure(&service);
    warnings.extend(register_events());
    warnings.extend(own_folder(&config::system_file()));
    let exit = told(&warnings);
    // After an upgrade it goes on. A first installation has no configuration yet.
    if resume && config::system_file().exists() && !is(&service, ServiceState::Running) {
        start_and_wait(&service)?;
    }
    Ok(exit)
}

fn info(executable: PathBuf, global: &Global) -> ServiceInfo {
    let mut arguments: Vec<OsString> = Vec::new();
    for (option, path) in [("--config", &global.config), ("--archive", &global.archive)] {
        if let Some(path) = path {
            arguments.extend([option.into(), path.into()]);
        }
    }
    arguments.extend(serve::ARGUMENTS.map(OsString::from));
    arguments.extend(["--notes".into(), serve::notes().into()]);
    ServiceInfo {
        name: NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        // Quoted by the crate: an unquoted path with a blank lets another program be started in its place.
        executable_path: executable,
        launch_arguments: arguments,
        dependencies: Vec::new(),
        account_name: Some(ACCOUNT.into()),
        account_password: None,
    }
}

/// What makes the service boring: it comes after the network, and comes again after a failure. Each that cannot be set is a
/// warning; the service works without it.
fn configure(service: &Service) -> Vec<String> {
    let again =
        |seconds| ServiceAction { action_type: ServiceActionType::Restart, delay: Duration::from_secs(seconds) };
    let recovery = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(24 * 3600)),
        reboot_msg: None,
        command: None,
        // The last one is for every failure that follows.
        actions: Some(vec![again(10), again(60), again(300)]),
    };
    let done = [
        ("description", service.set_description(DESCRIPTION)),
        ("delayed start", service.set_delayed_auto_start(true)),
        ("recovery actions", service.update_failure_actions(recovery)),
        // Also when it ends with an exit code, which is how it says that the archive cannot go on.
        ("recovery after an error", service.set_failure_actions_on_non_crash_failures(true)),
        // The batch in flight is finished before the machine goes down.
        ("time at shutdown", service.set_preshutdown_timeout(STOP_WAIT)),
        ("service SID", service.set_config_service_sid_info(ServiceSidType::Unrestricted)),
    ];
    let complaint = |(what, done): (&str, windows_service::Result<()>)| {
        done.err().map(|error| format!("{what} of the service could not be set: {}", said(&error)))
    };
    done.into_iter().filter_map(complaint).collect()
}

fn register_events() -> Option<String> {
    eventlog::register().err().map(|error| format!("the Event Log source could not be registered: {error}"))
}

fn own_folder(configuration: &Path) -> Vec<String> {
    let fs = Fs::real();
    let home = home();
    let mut warnings = Vec::new();
    for folder in [home.clone(), serve::notes()] {
        if let Err(error) = fs.create_dir_all(&folder) {
            warnings.push(format!("{} cannot be made: {error}", folder.display()));
        }
    }
    warnings.extend(access::close(&home).err());
    if configuration.is_file() && configuration.starts_with(&home) {
        warnings.extend(access::read_only_to_service(configuration).err());
    }
    warnings
}

fn told(warnings: &[String]) -> Exit {
    for warning in warnings {
        output::note(&format!("warning: {warning}"));
    }
    if warnings.is_empty() { Exit::Ok } else { Exit::Attention }
}

fn uninstall() -> Result<Exit, Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let service = match open(&manager, access) {
        Ok(service) => service,
        Err(failure) if failure.exit == Exit::Attention => {
            output::line(&format!("there is no service {NAME}"));
            return Ok(Exit::Ok);
        }
        Err(failure) => return Err(failure),
    };
    stop_and_wait(&service)?;
    // Of the service manager; nothing of a gateway.
    match windows_service::service::Service::delete(&service) {
        Err(error) if code(&error) != Some(MARKED_FOR_DELETE) => {
            return Err(failed("cannot uninstall the service", &error));
        }
        _ => {}
    }
    // Without the source the entries that are there are shown with a sentence about a missing description.
    if let Err(error) = eventlog::deregister() {
        output::note(&format!("the Event Log source could not be removed: {error}"));
    }
    output::line(&format!(
        "the service {NAME} is uninstalled; configuration, secrets and archive stay in {}",
        home().display()
    ));
    Ok(Exit::Ok)
}

fn start() -> Result<Exit, Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    start_and_wait(&open(&manager, ServiceAccess::QUERY_STATUS | ServiceAccess::START)?)?;
    output::line(&format!("the service {NAME} runs"));
    Ok(Exit::Ok)
}

fn start_and_wait(service: &Service) -> Result<(), Failure> {
    serve::forget(serve::FAILED);
    match service.start::<&str>(&[]) {
        Err(error) if code(&error) != Some(ALREADY_RUNNING) => return Err(failed("cannot start the service", &error)),
        _ => {}
    }
    let status = wait(service, START_WAIT, |state| matches!(state, ServiceState::Running | ServiceState::Stopped))?;
    if status.current_state == ServiceState::Running {
        return Ok(());
    }
    let mut failure = serve::last_failure().unwrap_or_else(|| {
        let code = match status.exit_code {
            ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => code,
        };
        Failure::usage(format!("the service {NAME} ended at once (code {code})"))
            .hint("gatepost service check; and see the Event Log, Windows Logs, Application, source gatepost")
    });
    failure.what = format!("the service {NAME} does not start: {}", failure.what);
    Err(failure)
}

fn stop() -> Result<Exit, Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    stop_and_wait(&open(&manager, ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?)?;
    output::line(&format!("the service {NAME} is stopped"));
    Ok(Exit::Ok)
}

fn stop_and_wait(service: &Service) -> Result<(), Failure> {
    match service.stop() {
        Err(error) if code(&error) != Some(NOT_ACTIVE) => return Err(failed("cannot stop the service", &error)),
        _ => {}
    }
    wait(service, STOP_WAIT, |state| state == ServiceState::Stopped).map(drop)
}

/// `gatepost check` by the service itself: its account, its rights. A service that runs is asked to; one that does not is
/// started for this alone.
fn check(json: bool) -> Result<Exit, Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::START | ServiceAccess::USER_DEFINED_CONTROL;
    let service = open(&manager, access)?;
    let how = if json { Check::Json } else { Check::Text };
    serve::forget(serve::CHECKED);
    let runs = is(&service, ServiceState::Running);
    if runs {
        let code = UserEventCode::from_raw(how.control())
            .map_err(|_| Failure::usage("the service cannot be asked for a check"))?;
        service.notify(code).map_err(|error| failed("cannot ask the service for a check", &error))?;
    } else {
        service.start(&[how.argument()]).map_err(|error| failed("cannot start the service for a check", &error))?;
    }
    let end = Instant::now() + CHECK_WAIT;
    loop {
        if let Some(checked) = serve::checked() {
            if !runs {
                // Or a start that follows finds it on its way out.
                wait(&service, STOP_WAIT, |state| state == ServiceState::Stopped)?;
            }
            output::line(checked.said.trim_end());
            return Ok(exit::of_code(checked.code));
        }
        if Instant::now() > end {
            return Err(Failure::usage("the service did not answer").hint("gatepost service stop, then once more"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&str>, access).map_err(|error| failed("the service manager refuses", &error))
}

fn open(manager: &ServiceManager, access: ServiceAccess) -> Result<Service, Failure> {
    manager.open_service(NAME, access).map_err(|error| {
        let failure = failed("cannot open the service", &error);
        match code(&error) {
            Some(DOES_NOT_EXIST) => {
                Failure { exit: Exit::Attention, ..Failure::usage(format!("there is no service {NAME}")) }
                    .hint("gatepost service install")
            }
            _ => failure,
        }
    })
}

fn is(service: &Service, state: ServiceState) -> bool {
    service.query_status().is_ok_and(|status| status.current_state == state)
}

fn wait(service: &Service, longest: Duration, until: impl Fn(ServiceState) -> bool) -> Result<ServiceStatus, Failure> {
    let end = Instant::now() + longest;
    loop {
        let status = service.query_status().map_err(|error| failed("the service manager does not say", &error))?;
        if until(status.current_state) {
            return Ok(status);
        }
        if Instant::now() > end {
            return Err(Failure::usage(format!(
                "the service {NAME} did not get there within {} s (it is {:?})",
                longest.as_secs(),
                status.current_state
            ))
            .hint("see the Event Log, Windows Logs, Application, source gatepost"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

fn said(error: &windows_service::Error) -> String {
    match error {
        windows_service::Error::Winapi(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn failed(what: &str, error: &windows_service::Error) -> Failure {
    let failure = Failure::usage(format!("{what}: {}", said(error)));
    match code(error) {
        Some(ACCESS_DENIED) => failure.hint("an administrator can: open the prompt by \"Run as administrator\""),
        Some(MARKED_FOR_DELETE) => failure.hint("close the Services window (services.msc) and try again"),
        _ => failure,
    }
}
