//! `gatepost service`: gatepost as a service of the host, under systemd or Windows' service manager.

#[cfg(windows)]
mod access;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod serve;
#[cfg(windows)]
mod windows;

use clap::Subcommand;
#[cfg(windows)]
pub use serve::ARGUMENTS as SERVED_AS;

use super::exit::{Exit, Failure};
use super::wiring::Global;

#[derive(Subcommand)]
pub enum Command {
    /// Install gatepost as a service that starts with the machine
    Install,
    /// Take the service away; configuration, archive and secrets stay
    Uninstall,
    Start,
    Stop,
    /// Run `gatepost check` as the service itself would run: its user, its sandbox, its credentials
    Check {
        #[arg(long)]
        json: bool,
    },
    /// What the service manager starts
    #[cfg(windows)]
    #[command(hide = true)]
    Run {
        /// The folder of what it tells `gatepost service`; the environment of a service may be a poor one
        #[arg(long, value_name = "DIR")]
        notes: Option<std::path::PathBuf>,
    },
    /// What the installer cannot do by itself: access lists, recovery actions, the Event Log's source
    #[cfg(windows)]
    #[command(hide = true)]
    Prepare {
        /// Start the service if there is a configuration
        #[arg(long)]
        resume: bool,
    },
}

pub fn service(global: &Global, command: &Command) -> Result<Exit, Failure> {
    #[cfg(target_os = "linux")]
    return linux::service(global, command);
    #[cfg(windows)]
    return windows::service(global, command);
    #[cfg(not(any(target_os = "linux", windows)))]
    {
        let _ = (global, command);
        Err(Failure::usage("there is no service manager that gatepost knows on this system"))
    }
}
