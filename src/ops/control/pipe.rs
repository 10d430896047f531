//! The control channel on Windows: a named pipe, where Unix has a socket.
//!
//! Who may use it is decided by the list that Windows gives to a pipe by itself: everything for its owner (the account of the
//! agent), for SYSTEM and for Administrators (who are that only in a prompt "as administrator"), and **reading for everybody**,
//! anonymous ones included. A list of our own needs a raw pointer, and this crate has no unsafe code. Reading alone is
//! harmless as long as two things hold, and they must:
//! - the agent says nothing before it was asked, and who may only read cannot ask;
//! - who connects and does not ask is sent away soon (whoever serves the connection sees to it).
//!
//! To make another instance of the pipe takes the right to write, so that nobody else can take a caller's place; the first
//! instance must be ours, or somebody was there before. Callers lend their identity for looking only, so that a false
//! server could not act as them. Other machines are refused.
//!
//! Who calls is not known: to ask Windows for it is not a safe call. By the list above it is the agent's own account, SYSTEM
//! or an administrator of this machine ([`CALLER`]); the name that a caller tells of itself is only its word.

use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::windows::named_pipe::{NamedPipeServer, PipeMode, ServerOptions};

use crate::base::digest::Digest;

/// What is recorded about who called.
pub const CALLER: &str = "an administrator of this machine, or the agent's own account";
/// A server between two connections has no free instance for a moment.
const BUSY_WAIT: Duration = Duration::from_secs(5);
const PIPE_BUSY: i32 = 231;
const SECURITY_IDENTIFICATION: u32 = 0x0001_0000;

/// The pipe of an archive: found by whoever knows where the archive is, however they write it.
pub fn name(archive: &Path) -> String {
    let path = std::fs::canonicalize(archive).unwrap_or_else(|_| archive.to_owned());
    let digest = Digest::of(path.to_string_lossy().to_lowercase().as_bytes()).to_string();
    format!(r"\\.\pipe\gatepost-{}", &digest[..32])
}

/// Hands over each connection; ends only when there can be no more of them. `on` must not block. The first error may be that
/// the name is taken (access denied): by another agent on this archive, or by a stranger.
pub async fn serve(name: &str, on: impl Fn(NamedPipeServer)) -> io::Error {
    let mut options = ServerOptions::new();
    options.pipe_mode(PipeMode::Byte).reject_remote_clients(true).first_pipe_instance(true);
    let mut next = match options.create(name) {
        Ok(first) => first,
        Err(error) => return error,
    };
    options.first_pipe_instance(false);
    loop {
        let connected = next.connect().await;
        // The next one first: a caller who comes meanwhile must find an instance.
        let taken = match options.create(name) {
            Ok(fresh) => std::mem::replace(&mut next, fresh),
            Err(error) => return error,
        };
        // One who came and went is nobody.
        if connected.is_ok() {
            on(taken);
        }
    }
}

/// The agent's ear, for reading and writing. Not found: no agent runs. Access denied: the caller is no administrator.
pub fn connect(name: &str) -> io::Result<std::fs::File> {
    let end = Instant::now() + BUSY_WAIT;
    loop {
        let opened =
            std::fs::OpenOptions::new().read(true).write(true).security_qos_flags(SECURITY_IDENTIFICATION).open(name);
        match opened {
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn what_is_recorded_says_what_is_known() {
        assert!(!CALLER.is_empty());
    }

    #[test]
    fn callers_are_answered_one_after_the_other_and_a_second_server_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = name(folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        assert_eq!(connect(&name).unwrap_err().kind(), io::ErrorKind::NotFound);
        let served = name.clone();
        runtime.spawn(async move {
            serve(&served, |mut caller| {
                tokio::spawn(async move {
                    let mut asked = [0; 4];
                    caller.read_exact(&mut asked).await.unwrap();
                    caller.write_all(b"pong").await.unwrap();
                    // What is not read when the last handle goes is gone.
                    let _ = caller.flush().await;
                    let _ = caller.read(&mut asked).await;
                });
            })
            .await
        });
        for _ in 0..5 {
            let mut agent = loop {
                match connect(&name) {
                    Ok(agent) => break agent,
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            };
            agent.write_all(b"ping").unwrap();
            let mut said = [0; 4];
            agent.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"pong");
        }
        // Wine 8 lets a second server in.
        let second =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(2), serve(&name, |_| {})).await });
        assert!(second.is_err() || second.is_ok_and(|error| error.kind() == io::ErrorKind::PermissionDenied));
    }
}
