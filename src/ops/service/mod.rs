//! `gatepost service`: gatepost as a service of the host, under systemd or Windows' service manager.

#[cfg(windows)]
mod access;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod serve;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod unit;
#[cfg(windows)]
mod windows;

use clap::Subcommand;
#[cfg(windows)]
pub use serve::ARGUMENTS as SERVED_AS;

use super::exit::{Exit, Failure};
use super::host::{Host, Nobody};
use super::wiring::Global;

#[derive(clap::Args)]
pub struct Args {
    /// systemd: the service of this company, one of several on this machine (`gatepost@NAME`), with a configuration, an
    /// archive and secrets of its own
    #[arg(long, value_name = "NAME", global = true)]
    pub instance: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

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

pub fn service(global: &Global, args: &Args) -> Result<Exit, Failure> {
    #[cfg(target_os = "linux")]
    return linux::service(global, args);
    #[cfg(not(target_os = "linux"))]
    if args.instance.is_some() {
        return Err(Failure::usage("there is one service on this system; --instance is for systemd"));
    }
    #[cfg(windows)]
    return windows::service(global, &args.command);
    #[cfg(not(any(target_os = "linux", windows)))]
    {
        let _ = global;
        Err(Failure::usage("there is no service manager that gatepost knows on this system"))
    }
}

/// Who started `gatepost run` and wants to hear of it. (Windows' service manager talks to a process of its own.)
pub fn host() -> Box<dyn Host> {
    #[cfg(target_os = "linux")]
    if let Some(systemd) = systemd::Systemd::from_environment() {
        return Box::new(systemd);
    }
    Box::new(Nobody)
}
