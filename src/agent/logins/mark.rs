//! Whether a secret is the one that was seen before, without keeping it: a keyed and slow digest.
//!
//! A plain hash of a weak password is as good as the password. Here whoever has the record alone learns nothing, because
//! the key lies in a file of its own; whoever has both must pay hundreds of thousands of hashes for each guess.

use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::digest::Digest;
use crate::base::fsio::{self, Fs};
use crate::base::secret::Secret;

const FILE: &str = "logins.key";
/// Each guess costs a tenth of a second or so, and each run that must compare does, too. A build for tests is not what
/// guards secrets; what was written by either is read by the other.
const ROUNDS: u32 = if cfg!(debug_assertions) { 1_000 } else { 300_000 };
/// More are not believed: a damaged record must not keep a run busy for hours.
const ROUNDS_MAX: u32 = 10_000_000;

/// Random, and never sent anywhere.
#[derive(Clone)]
pub(super) struct Key {
    bytes: Zeroizing<Vec<u8>>,
    /// It is not in its file yet.
    is_new: bool,
}

impl Key {
    /// The archive's. One that is lost costs no more than a few comparisons: it is made anew.
    pub fn of(folder: &Path) -> Key {
        let text = fsio::read_to_string(&folder.join(FILE)).map(Zeroizing::new);
        match text.ok().and_then(|text| text.trim().parse::<Digest>().ok()) {
            Some(Digest(bytes)) => Key { bytes: Zeroizing::new(bytes.to_vec()), is_new: false },
            None => Key { bytes: Zeroizing::new(random()), is_new: true },
        }
    }

    /// Writes a new one down. Where that fails, marks made with it are worth nothing later, which does no harm.
    pub fn keep(&self, folder: &Path) {
        let Some(digest) = Digest::from_slice(&self.bytes).filter(|_| self.is_new) else { return };
        if let Err(error) = Fs::real().write_durably(&folder.join(FILE), format!("{digest}\n").as_bytes()) {
            tracing::warn!(%error, "the key of the record of refused logins cannot be written");
        }
    }
}

fn random() -> Vec<u8> {
    [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].iter().flat_map(|half| *half.as_bytes()).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    salt: Digest,
    rounds: u32,
    digest: Digest,
}

impl Mark {
    pub fn of(secret: &Secret, key: &Key) -> Mark {
        let salt = Digest::of(&random());
        Mark { salt, rounds: ROUNDS, digest: slow(secret, &salt, ROUNDS, key) }
    }

    pub fn is_of(&self, secret: &Secret, key: &Key) -> bool {
        self.rounds <= ROUNDS_MAX && slow(secret, &self.salt, self.rounds, key) == self.digest
    }
}

fn slow(secret: &Secret, salt: &Digest, rounds: u32, key: &Key) -> Digest {
    let salt = [key.bytes.as_slice(), salt.as_bytes()].concat();
    Digest(pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(secret.expose().as_bytes(), &salt, rounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_knows_its_secret_and_shows_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (key, secret) = (Key::of(folder.path()), Secret::new("hunter2".into()));
        let (one, two) = (Mark::of(&secret, &key), Mark::of(&secret, &key));
        assert!(one.is_of(&secret, &key) && two.is_of(&secret, &key) && one != two);
        assert!(!one.is_of(&Secret::new("hunter3".into()), &key));
        let text = serde_json::to_string(&one).unwrap();
        assert!(!text.contains("hunter2") && !text.contains(&Digest::of(b"hunter2").to_string()));
        // The key is found again by the next process, and another one knows nothing.
        key.keep(folder.path());
        assert!(one.is_of(&secret, &Key::of(folder.path())));
        assert!(!one.is_of(&secret, &Key::of(tempfile::tempdir().unwrap().path())));
    }
}
