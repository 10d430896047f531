//! Whose a file is, and who this process runs as: a secret that root leaves for a service must be one that the
//! service can read. Windows has access lists instead, which a new file inherits from its folder.

use std::path::Path;

/// A user of this machine, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User(pub u32);

impl User {
    pub const ROOT: User = User(0);

    /// Whose rights this process has; `None` where files belong to nobody in this sense.
    #[cfg(unix)]
    pub fn current() -> Option<User> {
        Some(User(rustix::process::geteuid().as_raw()))
    }

    #[cfg(not(unix))]
    pub fn current() -> Option<User> {
        None
    }

    /// The owner of what is there at `path`.
    #[cfg(unix)]
    pub fn of(path: &Path) -> Option<User> {
        std::fs::metadata(path).ok().map(|metadata| User(std::os::unix::fs::MetadataExt::uid(&metadata)))
    }

    #[cfg(not(unix))]
    pub fn of(_path: &Path) -> Option<User> {
        None
    }

    pub fn named(name: &str) -> Option<User> {
        User::find(&std::fs::read_to_string("/etc/passwd").ok()?, |found, _| found == name).map(|(_, user)| user)
    }

    /// As `sudo -u` takes it: the name, or `'#1000'` of a user whom /etc/passwd does not know.
    pub fn shown(self) -> String {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        User::find(&passwd, |_, user| user == self).map_or_else(|| format!("'#{}'", self.0), |(name, _)| name)
    }

    fn find(passwd: &str, fits: impl Fn(&str, User) -> bool) -> Option<(String, User)> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            fits(name, User(id)).then(|| (name.to_owned(), User(id)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\nbroken\nmail:x:8:12::/var/mail:/usr/sbin/nologin\n";
        assert_eq!(User::find(passwd, |name, _| name == "mail"), Some(("mail".into(), User(8))));
        assert_eq!(User::find(passwd, |_, user| user == User::ROOT), Some(("root".into(), User(0))));
        assert_eq!(User::find(passwd, |name, _| name == "broken"), None);
        assert_eq!(User(4_000_000_001).shown(), "'#4000000001'");
    }
}
