//! `gatepost service`: gatepost as a service of the host, under systemd or Windows' service manager.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

use clap::Subcommand;

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
