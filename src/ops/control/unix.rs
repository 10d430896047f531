//! The channel on Unix: a socket in the file system.
//!
//! The system bounds a socket's path at 108 bytes, and archives lie deeper than that: the folder is opened, and the socket
//! is named by way of it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Plain;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::super::exit::Failure;
use crate::base::owner::User;
use crate::config::Settings;

pub struct Listener {
    listener: UnixListener,
    place: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // One that is left behind is removed by the next agent.
        let _ = std::fs::remove_file(&self.place);
    }
}

/// The same place by a name that is short, and what keeps that name alive.
fn short(place: &Path) -> io::Result<(PathBuf, Option<File>)> {
    const LONGEST: usize = 100;
    if place.as_os_str().len() <= LONGEST {
        return Ok((place.to_owned(), None));
    }
    let folder = File::open(place.parent().unwrap_or(Path::new("/")))?;
    let name = place.file_name().unwrap_or_default();
    Ok((PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name), Some(folder)))
}

/// The archive's lock is held, so that a socket that is left there is nobody's; unless it was configured for two agents.
pub fn listen(settings: &Settings) -> Result<Listener, Failure> {
    let place = super::place(settings);
    let tried = |error: io::Error| {
        Failure::usage(format!("cannot listen at {}: {error}", place.display()))
            .hint("[control] socket names another place; its folder must exist and belong to the agent's user")
    };
    match std::fs::symlink_metadata(&place) {
        Ok(there) if there.file_type().is_socket() => {
            if connect(&place).is_ok_and(|stream| stream.is_some()) {
                return Err(Failure::usage(format!("another agent listens at {}", place.display()))
                    .hint("give each configuration a [control] socket of its own"));
            }
            std::fs::remove_file(&place).map_err(tried)?;
        }
        Ok(_) => return Err(tried(io::ErrorKind::AlreadyExists.into())),
        Err(_) => {}
    }
    let (name, _folder) = short(&place).map_err(tried)?;
    let listener = UnixListener::bind(&name).map_err(tried)?;
    // Owner and group: in the archive's own folder nobody else gets this far anyway.
    std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o660)).map_err(tried)?;
    Ok(Listener { listener, place })
}

impl Listener {
    /// The next who has something to say, and who that is.
    pub async fn accept(&self) -> io::Result<(UnixStream, String)> {
        let (stream, _) = self.listener.accept().await?;
        let who = User(stream.peer_cred()?.uid()).shown();
        Ok((stream, who))
    }
}

/// `None`: nobody listens there.
pub fn connect(place: &Path) -> Result<Option<Plain>, Failure> {
    let connected = short(place).and_then(|(name, _folder)| Plain::connect(name));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => Ok(None),
            io::ErrorKind::PermissionDenied => Err(super::forbidden(place)),
            _ => Err(Failure::usage(format!("the running agent cannot be reached at {}: {error}", place.display()))),
        },
    }
}
