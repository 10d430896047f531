//! The configuration that `gatepost init` writes, in one place: every key with what it is for. The same text, with the
//! password in it, is what a login is tried with; that one is never written.

use super::answers::{Access, Answers, HttpLogin, Kind, Place};
use crate::base::secret::Secret;
use crate::net::TlsMode;

/// Where the text says that the secret is to be had.
pub enum SecretAt<'a> {
    /// `{ key = "value" }`.
    Ref { key: &'static str, value: String },
    /// The secret itself, for a trial.
    Literal(&'a Secret),
    /// None is needed.
    Nowhere,
}

/// The whole text; the answers that it needs are there.
pub fn text(answers: &Answers, profile: &str, secret: &SecretAt<'_>) -> String {
    let mut out = String::from(
        "# Written by `gatepost init`. `gatepost check` looks at it without changing anything; the complete reference of\n\
         # all keys is gatepost.toml in the folder config of the source.\n\n",
    );
    archive(&mut out, answers);
    people(&mut out, answers);
    out += &format!(
        "[[profile]]\n\n\
         # For commands, logs and reports. It can be changed at any time.\n\
         name = {}\n\n\
         # From the end of one cycle to the beginning of the next.\n\
         every = \"300s\"\n\n\
         # Delete mail on the gateway? Only what provably stands in the archive is ever deleted.\n\
         delete = {}\n\n\
         # Leave mail on the gateway this long after it was archived, so that a backup can run first.\n\
         # delete_after = \"7d\"\n\n",
        quoted(profile),
        answers.delete.unwrap_or(false),
    );
    source(&mut out, answers, secret);
    out
}

fn archive(out: &mut String, answers: &Answers) {
    let path = answers.archive.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    *out += &format!(
        "[archive]\n\n\
         # The archive's folder. Keep a backup of it: what is deleted on the gateway is nowhere else.\n\
         path = {}\n\n\n",
        quoted(&path)
    );
}

fn people(out: &mut String, answers: &Answers) {
    let domains: Vec<String> = answers.domains.iter().flatten().map(|domain| quoted(domain)).collect();
    *out += &format!(
        "[people]\n\n\
         # The domains of the organisation: who has an address in them is one of yours.\n\
         internal_domains = [{}]\n\n\
         # An internal address that nobody owns: \"create\" opens an archive for it when a journal report proves it,\n\
         # \"unassigned\" leaves its mail to be filed later, \"exclude\" does not archive for it.\n\
         unknown_internal = \"create\"\n\n\
         # Names and further addresses of people, one line each: person,name,address,address…\n\
         # csv = \"people.csv\"\n\n\n",
        domains.join(", ")
    );
}

fn source(out: &mut String, answers: &Answers, secret: &SecretAt<'_>) {
    let kind = answers.kind.unwrap_or(Kind::Imap);
    let login = quoted(answers.login.as_deref().unwrap_or_default());
    let table = match kind {
        Kind::Imap | Kind::Google | Kind::Microsoft => "imap",
        Kind::Ews => "ews",
        Kind::Gateway => "gateway",
        Kind::Pop3 => "pop3",
    };
    *out += &format!("[profile.{table}]\n\n");
    place(out, kind, answers.place.as_ref());
    if let Some(file) = &answers.ca_file {
        let file = quoted(&file.display().to_string());
        *out += &format!("# The authority that is trusted beside the system's (PEM).\nca_file = {file}\n\n");
    }
    if kind == Kind::Gateway {
        *out += &format!("# The mailbox on the gateway.\nmailbox_id = {login}\n\n");
    } else {
        *out += &format!("# The login.\nusername = {login}\n\n");
    }
    if let (Kind::Ews, Some(http_login)) = (kind, answers.http_login) {
        let word = match http_login {
            HttpLogin::Basic => "basic",
            HttpLogin::Ntlm => "ntlm",
        };
        *out += &format!(
            "# \"basic\", or \"ntlm\" (the password itself does not leave this machine).\nauth = \"{word}\"\n\n"
        );
    }
    if answers.access.unwrap_or(Access::Password) == Access::Password {
        *out +=
            &format!("# Where the password is to be had, each time a session begins.\npassword = {}\n\n", at(secret));
    }
    folders(out, kind, answers);
    oauth2(out, table, kind, answers, secret);
}

fn place(out: &mut String, kind: Kind, place: Option<&Place>) {
    match place {
        Some(Place::Server { host, port, tls }) => {
            *out += &format!("# The server's name; its certificate must be for it.\nhost = {}\n\n", quoted(host));
            let (implicit, starttls) = kind.ports();
            let word = match tls {
                TlsMode::Implicit => "implicit",
                TlsMode::StartTls => "starttls",
                TlsMode::None => "none",
            };
            // A MailStore Gateway has no key for it: the port says which, and there is no other way.
            if kind == Kind::Gateway {
                if *port != implicit {
                    *out += &format!("port = {port}\n\n");
                }
                return;
            }
            if *tls != TlsMode::Implicit {
                *out += "# \"implicit\" (TLS from the first byte) or \"starttls\"; there is no silent step down.\n";
                *out += &format!("tls = \"{word}\"\n\n");
            }
            let usual = if *tls == TlsMode::Implicit { implicit } else { starttls };
            if *port != usual {
                *out += &format!("# Not the usual one.\nport = {port}\n\n");
            }
        }
        Some(Place::Url(url)) => {
            *out += &format!("# Where the server has Exchange Web Services.\nurl = {}\n\n", quoted(url));
        }
        Some(Place::Autodiscover { domain }) => {
            *out += &format!(
                "# Without a url the server is asked for at autodiscover.{domain}, in each session.\n\
                 # url = \"https://mail.example.com/EWS/Exchange.asmx\"\n\n"
            );
        }
        None => {}
    }
}

fn folders(out: &mut String, kind: Kind, answers: &Answers) {
    match kind {
        Kind::Imap | Kind::Google | Kind::Microsoft => {
            let folders = answers.folders.clone().filter(|folders| !folders.is_empty());
            let folders = folders.unwrap_or_else(|| vec!["INBOX".to_owned()]);
            let folders: Vec<String> = folders.iter().map(|folder| quoted(folder)).collect();
            *out += "# Folders to poll. Reports also end up in Junk: `gatepost check` looks.\n";
            *out += &format!("folders = [{}]\n", folders.join(", "));
        }
        Kind::Ews => {
            *out += "# Which folder to poll: a name of EWS, or a path such as \"inbox/Reports\".\nfolder = \"inbox\"\n"
        }
        Kind::Gateway | Kind::Pop3 => {}
    }
}

fn oauth2(out: &mut String, table: &str, kind: Kind, answers: &Answers, secret: &SecretAt<'_>) {
    let Some(access @ (Access::Device | Access::Application | Access::ServiceAccount)) = answers.access else { return };
    *out += &format!("\n# The login with tokens, in the place of a password.\n[profile.{table}.oauth2]\n\n");
    let provider = if kind == Kind::Google { "google" } else { "microsoft" };
    *out += &format!("provider = \"{provider}\"\n");
    if let Some(tenant) = &answers.tenant {
        *out += &format!("tenant = {}\n", quoted(tenant));
    }
    let grant = match access {
        Access::Device => "device_code",
        Access::Application => "client_credentials",
        Access::ServiceAccount => "service_account",
        Access::Password => return,
    };
    *out += &format!("grant = \"{grant}\"\n");
    if let Some(id) = &answers.client_id {
        *out += &format!("\n# The application's ID.\nclient_id = {}\n", quoted(id));
    }
    if access == Access::Application {
        *out += &format!("\n# Where its secret is to be had.\nclient_secret = {}\n", at(secret));
    }
    if let Some(file) = &answers.service_account {
        let file = quoted(&file.display().to_string());
        *out += &format!("\n# The account's key file.\nservice_account = {file}\n");
    }
}

fn at(secret: &SecretAt<'_>) -> String {
    match secret {
        SecretAt::Ref { key, value } => format!("{{ {key} = {} }}", quoted(value)),
        SecretAt::Literal(secret) => quoted(secret.expose()),
        SecretAt::Nowhere => "{ }".to_owned(),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
