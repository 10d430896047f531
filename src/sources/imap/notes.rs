//! Which mails are on their way through the gateway's Trash.
//!
//! Where deleting takes two steps (move to the Trash, expunge there) a session may end between them, and the mail then
//! lies where no listing looks. So before the first step each mail is noted, on stable storage, by what identifies it
//! in every folder: its X-GM-MSGID, size and date. The note goes when the mail is known to be gone.
//!
//! Must: a note says what to look for, never that it may be deleted; that needs the archive's receipt once more.
//! Notes that cannot be read stop the deletion; they are never replaced by none.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::fsio::{self, Fs};
use crate::sources::Listed;

const FORMAT: u32 = 1;

/// A mail as the polled folder showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub id: u64,
    pub size: u64,
    pub date: String,
}

impl Note {
    pub fn is_of(&self, listed: &Listed) -> bool {
        self.size == listed.size && self.date == listed.date
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    /// For people; the file's name stands for these.
    host: String,
    login: String,
    folder: String,
    validity: u32,
    mails: BTreeMap<u32, Note>,
}

/// The notes of one folder, by UID.
pub(super) struct Notes {
    file: PathBuf,
    fs: Fs,
    of: Written,
}

impl Notes {
    /// Reads what earlier sessions left. Notes of another identity space are of no use: nobody can tell any more which
    /// recorded items they mean. They are left out, and the server empties its Trash by itself in time.
    pub fn open(place: &Path, fs: &Fs, host: &str, login: &str, folder: &str, validity: u32) -> io::Result<Notes> {
        let name = Digest::of(format!("{host}\0{login}\0{folder}").as_bytes()).to_string();
        let file = place.join(format!("trash-{}.json", &name[..16]));
        let mut of = Written {
            format: FORMAT,
            host: host.to_owned(),
            login: login.to_owned(),
            folder: folder.to_owned(),
            validity,
            mails: BTreeMap::new(),
        };
        match fsio::read(&file) {
            Ok(bytes) => {
                let written: Written = serde_json::from_slice(&bytes)?;
                if written.format != FORMAT {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if written.validity == validity {
                    of.mails = written.mails;
                } else if !written.mails.is_empty() {
                    tracing::warn!(folder, mails = written.mails.len(), "notes of another folder are left out");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Notes { file, fs: fs.clone(), of })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn get(&self, uid: u32) -> Option<&Note> {
        self.of.mails.get(&uid)
    }

    pub fn all(&self) -> &BTreeMap<u32, Note> {
        &self.of.mails
    }

    /// On stable storage when this returns.
    pub fn add(&mut self, mails: impl IntoIterator<Item = (u32, Note)>) -> io::Result<()> {
        self.of.mails.extend(mails);
        self.write()
    }

    pub fn remove(&mut self, uids: impl IntoIterator<Item = u32>) -> io::Result<()> {
        let before = self.of.mails.len();
        for uid in uids {
            self.of.mails.remove(&uid);
        }
        if self.of.mails.len() == before { Ok(()) } else { self.write() }
    }

    fn write(&self) -> io::Result<()> {
        if self.of.mails.is_empty() {
            return match self.fs.remove(&self.file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                // What comes back after a power cut is looked for once more, and not found.
                _ => Ok(()),
            };
        }
        self.fs.write_durably(&self.file, &serde_json::to_vec_pretty(&self.of)?)
    }
}
