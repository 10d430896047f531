//! Who may read and write gatepost's files on Windows: SYSTEM, Administrators and the service, and nobody else. By
//! Windows' own `icacls`: the calls of the API for it are not safe ones.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha1::{Digest as _, Sha1};

use super::windows::NAME;

// Numbers and not names: those are translated in a German Windows.
const SYSTEM: &str = "S-1-5-18";
const ADMINISTRATORS: &str = "S-1-5-32-544";

/// The folder with all that is in it, now and later. What is there already gets the folder's list anew.
pub fn close(folder: &Path) -> Result<(), String> {
    let grants = [
        format!("*{SYSTEM}:(OI)(CI)F"),
        format!("*{ADMINISTRATORS}:(OI)(CI)F"),
        format!("*{}:(OI)(CI)M", service_sid(NAME)),
    ];
    // An owner may change the list: somebody else may have made the folder before us, as everybody may in %ProgramData%.
    icacls(folder, &["/setowner", &format!("*{ADMINISTRATORS}"), "/T", "/C", "/L", "/Q"])?;
    icacls(folder, &["/inheritance:r", "/grant:r", &grants[0], &grants[1], &grants[2], "/Q"])?;
    let inside = folder.join("*");
    let is_empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty { Ok(()) } else { icacls(&inside, &["/reset", "/T", "/C", "/L", "/Q"]) }
}

/// A configuration may name commands, and an administrator may run them by hand: the service must not be able to put one
/// there.
pub fn read_only_to_service(file: &Path) -> Result<(), String> {
    let grants = [format!("*{SYSTEM}:F"), format!("*{ADMINISTRATORS}:F"), format!("*{}:RX", service_sid(NAME))];
    icacls(file, &["/inheritance:r", "/grant:r", &grants[0], &grants[1], &grants[2], "/Q"])
}

/// A folder of the administrator's, beside whoever has access to it already.
pub fn open_to_service(folder: &Path) -> Result<(), String> {
    icacls(folder, &["/grant", &format!("*{}:(OI)(CI)M", service_sid(NAME)), "/Q"])
}

fn icacls(path: &Path, arguments: &[&str]) -> Result<(), String> {
    // Not by the search path: this is run by an administrator.
    let root = std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from(r"C:\Windows"), PathBuf::from);
    let program = root.join("System32").join("icacls.exe");
    let failed = |why: String| format!("the access list of {} could not be set: {why}", path.display());
    let ended = Command::new(&program).arg(path).args(arguments).stdin(Stdio::null()).output();
    match ended {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => {
            let said = String::from_utf8_lossy(if ended.stderr.is_empty() { &ended.stdout } else { &ended.stderr });
            Err(failed(said.lines().next().unwrap_or("icacls failed").trim().to_owned()))
        }
        Err(error) => Err(failed(format!("{}: {error}", program.display()))),
    }
}

/// The SID of a service: S-1-5-80 and the SHA-1 of its name, in capitals and as UTF-16. It needs no lookup, and so no
/// service that is there already.
fn service_sid(name: &str) -> String {
    let bytes: Vec<u8> = name.to_uppercase().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hash = Sha1::digest(&bytes);
    let part = |part: &[u8]| part.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    hash.chunks(4).fold("S-1-5-80".to_owned(), |sid, bytes| format!("{sid}-{}", part(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sid_of_a_service_follows_from_its_name() {
        // Known from every Windows.
        let installer = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
        assert_eq!(service_sid("TrustedInstaller"), installer);
    }
}
