//! What systemd is told by a service of `Type=notify`: ready, reloading, stopping, alive. Datagrams to the socket that
//! `NOTIFY_SOCKET` names, see sd_notify(3).
//!
//! It must never end the agent: a message that cannot be sent is a line in the log, and systemd draws its conclusions.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::ops::host::Host;

const SOCKET: &str = "NOTIFY_SOCKET";

/// PID 1 reads quickly or is in trouble; the agent goes on without it.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Systemd {
    address: SocketAddr,
    socket: UnixDatagram,
    alive_every: Option<Duration>,
}

impl Systemd {
    /// `None`: not started by systemd, or by a unit that wants no news. The variables stay in the environment, because `run`
    /// starts the program anew in the same process; what other children say in its name is ignored (`NotifyAccess=main`).
    pub fn from_environment() -> Option<Systemd> {
        let name = std::env::var_os(SOCKET)?;
        // The half of it, as sd_watchdog_enabled(3) has it; `None` also when another process is meant.
        let alive_every = sd_notify::watchdog_enabled().map(|time| time / 2);
        match Systemd::at(name.as_bytes(), alive_every) {
            Ok(systemd) => Some(systemd),
            Err(error) => {
                tracing::warn!(%error, "systemd cannot be told anything: its socket cannot be used");
                None
            }
        }
    }

    /// `name` is a path, or begins with `@` for the abstract name space, which a container's manager may use.
    fn at(name: &[u8], alive_every: Option<Duration>) -> io::Result<Systemd> {
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Systemd { address, socket, alive_every })
    }

    fn tell(&self, news: &[NotifyState]) {
        let lines: Vec<String> = news.iter().map(ToString::to_string).collect();
        if let Err(error) = self.socket.send_to_addr(lines.join("\n").as_bytes(), &self.address) {
            tracing::warn!(%error, "systemd could not be told");
        }
    }
}

impl Host for Systemd {
    fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    fn reloading(&self) {
        // The time is what systemd 253 and later wants with it; older ones do not look at it.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    fn status(&self, text: &str) {
        // A line is an assignment: nothing in a text may begin another one.
        let line = text.split(['\r', '\n', '\0']).collect::<Vec<_>>().join(" ");
        self.tell(&[NotifyState::Status(&line)]);
    }

    fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    fn alive_every(&self) -> Option<Duration> {
        self.alive_every
    }

    fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_is_told_in_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("gatepost-test-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let at_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(abstract_name.as_bytes()).unwrap()).unwrap();
        let names = [path.as_os_str().as_bytes().to_vec(), format!("@{abstract_name}").into_bytes()];
        for (name, heard) in names.iter().zip([at_path, at_name]) {
            let systemd = Systemd::at(name, Some(Duration::from_secs(3))).unwrap();
            systemd.ready();
            systemd.status("2 profiles\nREADY=0");
            systemd.alive();
            systemd.reloading();
            systemd.stopping();
            assert_eq!(said(&heard), "READY=1");
            assert_eq!(said(&heard), "STATUS=2 profiles READY=0");
            assert_eq!(said(&heard), "WATCHDOG=1");
            let reloading = said(&heard);
            let now = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(now.parse::<u64>().unwrap() > 0, "{reloading}");
            assert_eq!(said(&heard), "STOPPING=1");
            assert_eq!(systemd.alive_every(), Some(Duration::from_secs(3)));
        }
    }

    #[test]
    fn a_socket_that_is_gone_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let systemd = Systemd::at(folder.path().join("nowhere").as_os_str().as_bytes(), None).unwrap();
        systemd.ready();
        assert!(Systemd::at(b"@", None).is_ok() && Systemd::at(b"a\0b", None).is_err());
    }
}
