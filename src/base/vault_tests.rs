use super::*;
use crate::base::fsio::{Fail, How, Plan};

const WORD: &str = "correct horse battery staple";

fn vault() -> (tempfile::TempDir, Vault) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("secrets");
    (above, Vault { folder, credential: None, fs: Fs::real() })
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn got(vault: &Vault, name: &str) -> std::result::Result<String, VaultError> {
    vault.get(name).map(|secret| secret.expose().to_owned())
}

#[test]
fn what_is_kept_comes_back() {
    let (_above, vault) = vault();
    assert_eq!(vault.names().unwrap(), Vec::<String>::new());
    assert_eq!(got(&vault, "journal").unwrap_err().problem, VaultProblem::Missing);
    assert!(!vault.set("journal", &secret(WORD)).unwrap());
    assert!(!vault.set("ldap", &secret("äöü \u{1f511}")).unwrap());
    assert_eq!(got(&vault, "journal").unwrap(), WORD);
    assert_eq!(got(&vault, "ldap").unwrap(), "äöü \u{1f511}");
    assert!(vault.set("journal", &secret("another")).unwrap());
    assert_eq!(got(&vault, "journal").unwrap(), "another");
    assert_eq!(vault.names().unwrap(), ["journal", "ldap"]);
    assert!(vault.remove("journal").unwrap());
    assert!(!vault.remove("journal").unwrap());
    assert_eq!(got(&vault, "journal").unwrap_err().problem, VaultProblem::Missing);
    assert_eq!(vault.names().unwrap(), ["ldap"]);
}

#[test]
fn neither_the_secret_nor_the_key_stands_in_the_store() {
    let (_above, vault) = vault();
    vault.set("journal", &secret(WORD)).unwrap();
    let store = std::fs::read_to_string(vault.store_file()).unwrap();
    let key = std::fs::read_to_string(vault.key_file()).unwrap();
    for hidden in [WORD, BASE64.encode(WORD).as_str(), key.trim()] {
        assert!(!store.contains(hidden), "{store}");
    }
    assert!(!key.contains(WORD) && !key.contains(&BASE64.encode(WORD)));
    // The same secret never looks the same.
    vault.set("other", &secret(WORD)).unwrap();
    let store: serde_json::Value = serde_json::from_slice(&std::fs::read(vault.store_file()).unwrap()).unwrap();
    assert_ne!(store["secrets"]["journal"]["sealed"], store["secrets"]["other"]["sealed"]);
}

#[cfg(unix)]
#[test]
fn the_files_are_the_owners_alone_and_open_ones_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_above, vault) = vault();
    vault.set("journal", &secret(WORD)).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(vault.folder()), 0o700);
    for file in ["store.json", "key", "lock"] {
        assert_eq!(mode(&vault.folder().join(file)), 0o600, "{file}");
    }
    for path in [vault.store_file(), vault.key_file()] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        let said = got(&vault, "journal").unwrap_err();
        assert!(said.what.contains("is open to everybody"), "{said:?}");
        // A group that the administrator made is his business.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(got(&vault, "journal").unwrap(), WORD);
    }
}

#[test]
fn a_secret_is_bound_to_its_name_and_date() {
    let (_above, vault) = vault();
    vault.set("journal", &secret(WORD)).unwrap();
    vault.set("other", &secret("another")).unwrap();
    let exchanged = |change: &dyn Fn(&mut Store)| {
        let mut store = vault.read().unwrap().unwrap();
        change(&mut store);
        vault.write(store).unwrap();
        let said = got(&vault, "journal").unwrap_err();
        assert!(said.what.contains("is damaged"), "{said:?}");
        vault.set("journal", &secret(WORD)).unwrap();
    };
    exchanged(&|store| {
        let other = store.secrets.remove("other").unwrap();
        store.secrets.insert("journal".into(), other);
    });
    exchanged(&|store| {
        let sealed = store.secrets.get_mut("journal").unwrap();
        sealed.set += jiff::Span::new().seconds(1);
    });
}

#[test]
fn a_damaged_store_is_an_error_and_never_replaced() {
    let (_above, vault) = vault();
    vault.set("journal", &secret(WORD)).unwrap();
    vault.set("other", &secret("another")).unwrap();
    let sound = std::fs::read(vault.store_file()).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..sound.len() - 1).map(|length| sound[..length].to_owned()).collect();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        damaged.push(bytes);
    }
    for bytes in damaged {
        std::fs::write(vault.store_file(), &bytes).unwrap();
        // White space and the final newline may change without harm; everything else is noticed.
        let spoilt = match got(&vault, "journal") {
            Ok(text) => {
                assert_eq!(text, WORD);
                continue;
            }
            Err(error) => error,
        };
        assert_eq!(spoilt.problem, VaultProblem::Unusable, "{}: {spoilt}", String::from_utf8_lossy(&bytes));
        assert!(!spoilt.to_string().contains(WORD));
        vault.set("journal", &secret("new")).unwrap_err();
        vault.remove("journal").unwrap_err();
        vault.names().unwrap_err();
        assert_eq!(std::fs::read(vault.store_file()).unwrap(), bytes);
    }
    std::fs::write(vault.store_file(), &sound).unwrap();
    assert_eq!(got(&vault, "other").unwrap(), "another");
}

#[test]
fn a_newer_format_is_named() {
    let (_above, vault) = vault();
    vault.set("journal", &secret(WORD)).unwrap();
    let store = std::fs::read_to_string(vault.store_file()).unwrap();
    std::fs::write(vault.store_file(), store.replace("\"format\": 1", "\"format\": 2, \"more\": true")).unwrap();
    let said = got(&vault, "journal").unwrap_err();
    assert!(said.what.contains("has format 2, and this gatepost knows 1"), "{said:?}");
}

#[test]
fn without_its_key_a_store_stays_shut_and_gets_no_other() {
    let (_above, vault) = vault();
    vault.set("journal", &secret(WORD)).unwrap();
    let key = std::fs::read(vault.key_file()).unwrap();
    std::fs::remove_file(vault.key_file()).unwrap();
    for said in [got(&vault, "journal").unwrap_err(), vault.set("other", &secret("x")).unwrap_err()] {
        assert!(said.what.contains("is not there, but secrets that it sealed are"), "{said:?}");
    }
    assert!(!vault.key_file().exists());
    let (_elsewhere, other) = self::vault();
    other.set("x", &secret("x")).unwrap();
    std::fs::copy(other.key_file(), vault.key_file()).unwrap();
    for said in [got(&vault, "journal").unwrap_err(), vault.set("other", &secret("x")).unwrap_err()] {
        assert!(said.what.contains("was sealed with another key"), "{said:?}");
    }
    std::fs::write(vault.key_file(), "bm8ga2V5\n").unwrap();
    let said = got(&vault, "journal").unwrap_err();
    assert!(said.what.contains("holds no key"), "{said:?}");
    assert_eq!(vault.names().unwrap(), ["journal"]);
    std::fs::write(vault.key_file(), key).unwrap();
    assert_eq!(got(&vault, "journal").unwrap(), WORD);
}

#[cfg(unix)]
#[test]
fn the_key_may_come_as_a_credential() {
    let (above, vault) = vault();
    vault.set("journal", &secret(WORD)).unwrap();
    let credential = above.path().join(KEY_CREDENTIAL);
    std::fs::rename(vault.key_file(), &credential).unwrap();
    let vault = Vault { credential: Some(credential), ..vault };
    assert_eq!(got(&vault, "journal").unwrap(), WORD);
    vault.set("other", &secret("another")).unwrap();
    assert!(!vault.key_file().exists());
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let (_above, vault) = vault();
    let failing = |at, how| {
        let plan = Plan { fail: Some(Fail { at, for_good: true, how }), ..Plan::default() };
        Vault { fs: Fs::with_plan(plan), ..vault.clone() }
    };
    // The folder and its sync, then key and store: create, write, sync, rename, folder sync.
    for at in 1..=11 {
        for how in [How::Error, How::NoSpace, How::Short] {
            failing(at, how).set("journal", &secret(WORD)).unwrap_err();
            assert_eq!(got(&vault, "journal").unwrap_err().problem, VaultProblem::Missing, "operation {at}");
            let _ = std::fs::remove_dir_all(vault.folder());
        }
    }
    vault.set("journal", &secret(WORD)).unwrap();
    for at in 1..=4 {
        failing(at, How::NoSpace).set("journal", &secret("new")).unwrap_err();
        let said = failing(at, How::NoSpace).remove("journal").unwrap_err();
        assert_eq!(said.problem, VaultProblem::NoSpace);
        assert_eq!(got(&vault, "journal").unwrap(), WORD, "operation {at}");
    }
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let (_above, vault) = vault();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let vault = &vault;
            scope.spawn(move || {
                for at in 0..5 {
                    vault.set(&format!("w{writer}.{at}"), &secret(&format!("{writer} {at}"))).unwrap();
                }
            });
        }
    });
    for writer in 0..8 {
        for at in 0..5 {
            assert_eq!(got(&vault, &format!("w{writer}.{at}")).unwrap(), format!("{writer} {at}"));
        }
    }
}

#[test]
fn names_and_secrets_that_cannot_be_kept_are_refused_without_being_repeated() {
    let (_above, vault) = vault();
    for name in ["", "-x", ".x", "a b", "a/b", "../x", "ä", "hunter2!", &"x".repeat(65)] {
        for said in [
            vault.set(name, &secret(WORD)).unwrap_err(),
            got(&vault, name).unwrap_err(),
            vault.remove(name).unwrap_err(),
        ] {
            assert_eq!(said.problem, VaultProblem::Refused);
            assert!(name.len() < 3 || !said.to_string().contains(name), "{said}");
        }
    }
    vault.set("empty", &secret("")).unwrap_err();
    vault.set("long", &secret(&"x".repeat(SECRET_BYTES_MAX + 1))).unwrap_err();
    assert!(!vault.folder().exists());
}
