//! What happens to a Dovecot mailbox behind the agent's back: restored backups, lost identities.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::dovecot::Dovecot;

/// Dovecot's own files in a Maildir, without the mails.
fn books(maildir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(maildir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file() && path.file_name().unwrap().to_string_lossy().starts_with("dovecot"))
        .collect()
}

impl Dovecot {
    /// Dovecot's memory of its UIDs is lost: the same mails get new UIDs under a new UIDVALIDITY.
    pub fn lose_uids(&self, user: &str) {
        // The counter of validities stays, so that the new one is another even within the same second.
        for book in books(&self.maildir(user)) {
            if !book.to_string_lossy().contains("dovecot-uidvalidity") {
                fs::remove_file(book).unwrap();
            }
        }
    }

    /// Everything that was delivered and not looked at yet was received at this time.
    pub fn redate(&self, user: &str, received: SystemTime) {
        for entry in fs::read_dir(self.maildir(user).join("new")).unwrap() {
            fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(received).unwrap();
        }
    }

    /// An older backup is put back: the same UIDVALIDITY, and other mails, from UID 1 on. The next one gets
    /// the UID `next`.
    pub fn restore(&self, user: &str, next: u32, mails: &[Vec<u8>], received: SystemTime) {
        let maildir = self.maildir(user);
        let list = fs::read_to_string(maildir.join("dovecot-uidlist")).unwrap();
        let header = list.lines().next().unwrap();
        let fields = header.split(' ').map(|field| match field.strip_prefix('N') {
            Some(_) => format!("N{next}"),
            None => field.to_owned(),
        });
        let mut list = fields.collect::<Vec<_>>().join(" ") + "\n";
        for book in books(&maildir) {
            fs::remove_file(book).unwrap();
        }
        for folder in ["new", "cur"] {
            for entry in fs::read_dir(maildir.join(folder)).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        for (n, mail) in mails.iter().enumerate() {
            let name = format!("1600000000.R{n:06}.restored");
            let path = maildir.join("cur").join(format!("{name}:2,"));
            fs::write(&path, mail).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(received).unwrap();
            list += &format!("{} :{name}\n", n + 1);
        }
        fs::write(maildir.join("dovecot-uidlist"), list).unwrap();
        self.deliver(user, "INBOX", [] as [&[u8]; 0]);
    }
}
