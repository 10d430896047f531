//! Credentials of systemd: files that it puts into a folder of its own for one service (`LoadCredential=`,
//! `LoadCredentialEncrypted=`), readable by that service alone.

use std::path::PathBuf;

/// Set by systemd for a unit that has credentials.
const FOLDER: &str = "CREDENTIALS_DIRECTORY";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCredential {
    /// This process was given none at all.
    NoFolder,
    /// Not a name that a credential can have.
    BadName,
}

/// Where the credential `name` is, whether it is there or not.
pub fn path(name: &str) -> Result<PathBuf, NoCredential> {
    path_in(std::env::var_os(FOLDER), name)
}

fn path_in(folder: Option<std::ffi::OsString>, name: &str) -> Result<PathBuf, NoCredential> {
    if !is_name(name) {
        return Err(NoCredential::BadName);
    }
    let folder = folder.filter(|folder| !folder.is_empty()).ok_or(NoCredential::NoFolder)?;
    Ok(PathBuf::from(folder).join(name))
}

/// The name of one file: no separators of any system, no way up.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\' | b':');
    !name.is_empty() && name.len() <= 255 && !matches!(name, "." | "..") && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_lies_in_the_folder_and_nowhere_else() {
        let folder = || Some("/run/credentials/gatepost.service".into());
        let path = path_in(folder(), "journal.password").unwrap();
        assert_eq!(path, PathBuf::from("/run/credentials/gatepost.service/journal.password"));
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "c:d", "a b", "a\0"] {
            assert_eq!(path_in(folder(), name), Err(NoCredential::BadName), "{name:?}");
        }
        assert_eq!(path_in(None, "x"), Err(NoCredential::NoFolder));
        assert_eq!(path_in(Some("".into()), "x"), Err(NoCredential::NoFolder));
    }
}
