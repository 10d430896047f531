//! The questions: what is said before each, its prompt, its default, and the flag that answers it. Plain lines, so that
//! a screen reader reads them as they are.

use std::path::Path;

use super::answers::{Access, Answers, Keep, Kind};
use super::dialogue::{REFUSALS_MAX, Topic};
use super::guess::Guess;
use crate::net::clean;
use crate::sources::{FolderSeen, Reports};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub topic: Topic,
    /// Lines before the prompt.
    pub text: Vec<String>,
    pub prompt: String,
    /// What an empty answer means; empty: that nothing is said.
    pub default: Option<String>,
    /// `--yes` may take the default.
    pub may_be_assumed: bool,
    pub is_secret: bool,
    /// What answers it up front.
    pub flag: &'static str,
}

fn question(topic: Topic, prompt: &str, flag: &'static str) -> Question {
    let prompt = prompt.to_owned();
    Question { topic, text: Vec::new(), prompt, default: None, may_be_assumed: true, is_secret: false, flag }
}

impl Question {
    fn says(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Question {
        self.text.extend(lines.into_iter().map(Into::into));
        self
    }

    fn or(mut self, default: impl Into<String>) -> Question {
        self.default = Some(default.into());
        self
    }
}

fn numbered<'a>(choices: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    choices.into_iter().enumerate().map(|(at, choice)| format!("  {}  {choice}", at + 1)).collect()
}

pub fn kind() -> Question {
    question(Topic::Kind, "Kind (a number)", "--kind imap|ews|gateway|pop3|google|microsoft")
        .says(["Where does the journal mail arrive?"])
        .says(numbered(Kind::ALL.map(Kind::title)))
}

pub fn login(kind: Kind) -> Question {
    let prompt = match kind {
        Kind::Gateway => "ID of the mailbox on the gateway (mbx-…)",
        Kind::Ews => "Login (journal@corp.example, or CORP\\journal)",
        Kind::Imap | Kind::Pop3 => "Login (often the mailbox's address)",
        Kind::Google | Kind::Microsoft => "Address of the mailbox",
    };
    question(Topic::Login, prompt, "--user NAME")
}

pub fn server(kind: Kind, found: &[Guess], domain: Option<&str>) -> Question {
    let what = match kind {
        Kind::Ews => "Server (a name, or the URL of Exchange Web Services)",
        Kind::Imap | Kind::Gateway | Kind::Pop3 | Kind::Google | Kind::Microsoft => "Server (HOST or HOST:PORT)",
    };
    let flag = if kind == Kind::Ews { "--url URL" } else { "--host HOST" };
    if found.is_empty() {
        let asked = question(Topic::Server, what, flag);
        return match domain {
            Some(domain) if kind != Kind::Gateway => {
                asked.says([format!("No server was found under the usual names of {}.", clean(domain))])
            }
            _ => asked,
        };
    }
    let lines: Vec<String> = found.iter().map(|guess| format!("{} ({})", guess.place.shown(), guess.why)).collect();
    let mut asked = question(Topic::Server, "Server (a number, or another name)", flag)
        .says(["These servers answer:"])
        .says(numbered(lines.iter().map(String::as_str)))
        .says(["The password goes to the one that you choose, and to no other."])
        .or("1");
    // A name that only DNS vouches for is for a person to confirm.
    asked.may_be_assumed = found.first().is_some_and(|guess| domain.is_some_and(|domain| guess.place.is_of(domain)));
    asked
}

pub fn ca_file() -> Question {
    question(Topic::CaFile, "PEM file of that authority (nothing: another server)", "--ca-file FILE").says([
        "Compare the fingerprint with what the server's administrator says. If the server is the right one, its",
        "certificate comes from an authority of your own: name the file with that authority's certificate. A check",
        "that is skipped protects nobody, so that there is no such answer.",
    ])
}

pub fn http_login(schemes: &[String]) -> Question {
    let takes = |wanted: &str| schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(wanted));
    let asked = question(Topic::HttpLogin, "How to log in (a number)", "--auth basic|ntlm")
        .says(["The server takes more than one kind of login:"])
        .says(numbered(["Basic: the password goes to the server, inside of TLS", "NTLM: the password stays here"]));
    if takes("NTLM") || takes("Negotiate") { asked.or("2") } else { asked.or("1") }
}

pub fn accesses(kind: Kind) -> &'static [(&'static str, Access)] {
    match kind {
        Kind::Microsoft => &[("device", Access::Device), ("application", Access::Application)],
        Kind::Google => &[("service-account", Access::ServiceAccount), ("password", Access::Password)],
        Kind::Imap | Kind::Ews | Kind::Gateway | Kind::Pop3 => &[("password", Access::Password)],
    }
}

pub fn access(kind: Kind) -> Question {
    let title = |access: Access| match access {
        Access::Password => "an app password of the account",
        Access::Device => "somebody signs in once, with a code, on any device",
        Access::Application => "the application's own right, with a client secret",
        Access::ServiceAccount => "a service account with domain-wide delegation (a key file)",
    };
    question(Topic::Access, "Login (a number)", "--access password|device|application|service-account")
        .says(["How shall gatepost log in?"])
        .says(numbered(accesses(kind).iter().map(|(_, access)| title(*access))))
        .or("1")
}

pub fn tenant(domain: Option<&str>) -> Question {
    let asked = question(Topic::Tenant, "Tenant (a domain of it, or its ID)", "--tenant NAME");
    match domain {
        Some(domain) => asked.or(domain),
        None => asked,
    }
}

pub fn client_id() -> Question {
    question(Topic::ClientId, "Application (client) ID", "--client-id ID")
        .says(["The application that was registered for gatepost, with the right to read the mailbox over IMAP."])
}

pub fn service_account() -> Question {
    question(Topic::ServiceAccount, "Key file of the service account (JSON)", "--service-account FILE")
}

pub fn secret(kind: Kind, answers: &Answers, refusals: u32) -> Question {
    let what = match answers.access {
        Some(Access::Application) => "Client secret".to_owned(),
        _ if kind == Kind::Google => "App password".to_owned(),
        _ => "Password".to_owned(),
    };
    let login = answers.login.as_deref().unwrap_or_default();
    let mut asked = question(Topic::Secret, &what, "--password-env NAME, --password-file FILE or --password-stdin");
    asked.is_secret = true;
    if refusals > 0 {
        let left = REFUSALS_MAX - refusals;
        let times = if left == 1 { "once more".to_owned() } else { format!("{left} times more") };
        return asked.says([format!(
            "Type it again for {}; it is tried {times}, so that the account is not locked. Nothing: another login.",
            clean(login)
        )]);
    }
    asked.says([format!("The password of {}; it is not shown while you type.", clean(login))])
}

pub fn folders(seen: &[FolderSeen]) -> Question {
    let lines: Vec<String> = seen
        .iter()
        .map(|folder| {
            let reports = match folder.reports {
                Some(Reports { found, of }) if found > 0 => format!(", journal reports: {found} of the newest {of}"),
                _ if folder.is_junk => ", where spam is put".to_owned(),
                _ => String::new(),
            };
            let items = if folder.items == 1 { "1 mail".to_owned() } else { format!("{} mails", folder.items) };
            format!("{}: {items}{reports}", clean(&folder.name))
        })
        .collect();
    let asked = question(Topic::Folders, "Folders (numbers or names, with commas between)", "--folder NAME");
    let asked = asked.says(["Which folders shall be archived?"]).says(numbered(lines.iter().map(String::as_str)));
    let chosen: Vec<String> = seen
        .iter()
        .enumerate()
        .filter(|(at, folder)| *at == 0 || folder.reports.is_some_and(|reports| reports.found > 0))
        .map(|(at, _)| (at + 1).to_string())
        .collect();
    asked.or(if chosen.is_empty() { "INBOX".to_owned() } else { chosen.join(",") })
}

pub fn chosen_folders(text: &str, seen: &[FolderSeen]) -> Result<Vec<String>, String> {
    let mut chosen: Vec<String> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let by_number = word.parse::<usize>().ok().and_then(|number| seen.get(number.checked_sub(1)?));
        let by_name = || seen.iter().find(|folder| folder.name.eq_ignore_ascii_case(word));
        let name = by_number.or_else(by_name).map(|folder| folder.name.clone());
        let name = match name {
            Some(name) => name,
            // Empty folders are not listed.
            None if word.chars().all(|c| c.is_ascii_digit()) || word.chars().any(char::is_control) => {
                return Err(format!("there is no folder {word}"));
            }
            None => word.to_owned(),
        };
        if !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    if chosen.is_empty() { Err("at least one folder must be archived".into()) } else { Ok(chosen) }
}

pub fn delete() -> Question {
    question(Topic::Delete, "Delete on the gateway? (yes or no)", "--delete yes|no")
        .says([
            "Shall mail be deleted on the gateway once it stands in the archive? gatepost deletes a mail only after its",
            "bytes were written, synced, read back and compared, and the archive's record of them is durable too. What",
            "could not be fetched is never deleted. You can begin with no and change it in the configuration.",
        ])
        .or("no")
}

pub fn domains(domain: Option<&str>) -> Question {
    let asked = question(Topic::Domains, "Internal domains, with commas between", "--domain NAME")
        .says(["Which mail domains are yours? Everybody with an address in them gets an archive."]);
    match domain {
        Some(domain) => asked.or(domain),
        None => asked,
    }
}

pub fn archive(default: &Path) -> Question {
    question(Topic::Archive, "Folder of the archive", "--archive DIR")
        .says(["Where shall the archive lie?"])
        .or(default.display().to_string())
}

pub fn keep(answers: &Answers) -> Question {
    let what = if answers.access == Some(Access::Application) { "client secret" } else { "password" };
    question(Topic::Keep, "A number, or env NAME, or file PATH", "--keep sealed|file, or --password-env NAME")
        .says([format!("Where shall the {what} be kept?")])
        .says(numbered([
            "sealed, in the store that `gatepost secret` looks after, beside the configuration",
            "readable, in a file of its own beside the configuration, that only its owner can read",
        ]))
        .says(["  env NAME: in a variable that you set for the process;  file PATH: in a file that you have made"])
        .or("1")
}

pub fn chosen_keep(text: &str) -> Result<Keep, String> {
    let text = text.trim();
    match text.split_once(' ') {
        Some(("env", name)) => Keep::env(name.trim()),
        Some(("file", path)) => {
            let path = std::path::absolute(path.trim()).map_err(|error| error.to_string())?;
            if path.is_file() { Ok(Keep::Given(path)) } else { Err(format!("{} is no file", path.display())) }
        }
        _ if text == "1" || text.eq_ignore_ascii_case("sealed") => Ok(Keep::Sealed),
        _ if text == "2" || text.eq_ignore_ascii_case("file") => Ok(Keep::File),
        _ => Err("type 1, 2, env NAME or file PATH".into()),
    }
}

pub fn out(default: &Path) -> Question {
    question(Topic::Out, "File of the configuration", "--out FILE")
        .says(["Where shall the configuration be written?"])
        .or(default.display().to_string())
}

pub fn overwrite(path: &Path) -> Question {
    let mut asked = question(Topic::Overwrite, "Replace it? (yes or no)", "--overwrite or another --out FILE")
        .says([format!("{} is there already.", path.display())])
        .or("no");
    asked.may_be_assumed = false;
    asked
}
