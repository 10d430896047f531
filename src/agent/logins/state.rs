//! The record of refused logins, as it lies in the archive's folder.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::mark::Mark;
use super::{LoginsError, REFUSED_MAX};
use crate::base::fsio::{self, Fs};

const FILE: &str = "logins.json";
/// A damaged one is put there.
const DAMAGED: &str = "logins.json.damaged";
const VERSION: u32 = 1;
/// Of a few gateways it is a few KB.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    /// Of logins that are not in it: more than none after a damaged record, which may have held them.
    #[serde(default)]
    assumed: u32,
    logins: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// In a row.
    pub refused: u32,
    /// The last refusal, or a later try of which the end is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_secret: Option<Mark>,
    /// The secret that worked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Mark>,
    /// When that was last compared with the secret in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Timestamp>,
    /// The gateway wants to be left alone until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Default for State {
    fn default() -> State {
        State { version: VERSION, assumed: 0, logins: BTreeMap::new() }
    }
}

impl State {
    pub fn load(folder: &Path) -> Result<State, LoginsError> {
        use io::Read as _;
        let path = folder.join(FILE);
        let failed = |said: String| LoginsError { path: path.clone(), said };
        let mut text = Vec::new();
        match fsio::open(&path) {
            Ok(file) => {
                _ = file.take(BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| failed(error.to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(failed(error.to_string())),
        }
        let read = if text.len() as u64 > BYTES_MAX { Err("it has no end".to_owned()) } else { State::read(&text) };
        match read {
            Ok(state) if state.version > VERSION => Err(failed("a newer version of gatepost wrote it".into())),
            Ok(state) => Ok(state),
            Err(said) => {
                tracing::warn!(said, "the record of refused logins is damaged; each login has one try, then waits");
                // One try is left to every login. That is written before anything is tried: else each run would try.
                let state = State { assumed: REFUSED_MAX - 1, ..State::default() };
                Fs::real().rename(&path, &folder.join(DAMAGED)).map_err(|error| failed(format!("{said}; {error}")))?;
                state.save(folder)?;
                Ok(state)
            }
        }
    }

    fn read(text: &[u8]) -> Result<State, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if version > VERSION {
            return Ok(State { version, ..State::default() });
        }
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    pub fn save(&self, folder: &Path) -> Result<(), LoginsError> {
        let path = folder.join(FILE);
        let failed = |said: String| LoginsError { path: path.clone(), said };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.to_string()))?;
        Fs::real().write_durably(&path, &text).map_err(|error| failed(error.to_string()))
    }

    pub fn entry(&self, id: &str) -> Entry {
        self.logins.get(id).cloned().unwrap_or_else(|| Entry { refused: self.assumed, ..Entry::default() })
    }

    pub fn change(&mut self, id: &str, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.entry(id);
        change(&mut entry);
        self.logins.insert(id.to_owned(), entry);
    }
}
