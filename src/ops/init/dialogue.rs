//! What `gatepost init` asks and does next. Pure: answers and events come in as values, and what is to be done goes
//! out as a [`Step`]; the terminal, the network and the files are elsewhere.
//!
//! Must: no step that sends a credential comes before the person (or the command line) named the server; a refused
//! login is tried three times and not a fourth, because accounts lock.

use std::path::PathBuf;

use super::answers::{self, Access, Answers, HttpLogin, Kind, Place, existing_file, filled, fit_for_archive, path};
use super::guess::Guess;
use super::questions::{self, Question};
use crate::base::secret::Secret;
use crate::net::TlsMode;
use crate::sources::{Blocked, FolderSeen, Looked};

/// Refused logins after which nobody is asked any more.
pub const REFUSALS_MAX: u32 = 3;

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Kind,
    Login,
    Server,
    CaFile,
    HttpLogin,
    Access,
    Tenant,
    ClientId,
    ServiceAccount,
    Secret,
    Folders,
    Delete,
    Domains,
    Archive,
    Keep,
    Out,
    Overwrite,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Ask(Question),
    /// Look for servers of the login's domain; then [`Dialogue::found`].
    Search {
        kind: Kind,
        domain: String,
    },
    /// Try these in turn, without logging in; then [`Dialogue::reached`] or [`Dialogue::unreached`].
    Reach(Vec<Place>),
    /// Somebody signs in on another device; then [`Dialogue::signed_in`].
    SignIn,
    /// Log in and look; then [`Dialogue::tried`].
    Try,
    /// Write the configuration; then [`Dialogue::written`].
    Write,
    Done,
    /// Nothing was written, and nothing more is asked.
    GiveUp(String),
}

/// How far the server is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Reached {
    #[default]
    No,
    /// Its certificate is not trusted here; an authority may mend that.
    Untrusted,
    Yes {
        schemes: Vec<String>,
    },
}

#[derive(Default)]
pub struct Dialogue {
    pub answers: Answers,
    pub out: PathBuf,
    /// Defaults that depend on this machine.
    pub archive_default: PathBuf,
    /// Folders that there are.
    seen: Vec<FolderSeen>,
    found: Option<Vec<Guess>>,
    places: Vec<Place>,
    reached: Reached,
    has_signed_in: bool,
    has_tried: bool,
    refusals: u32,
    out_is_settled: bool,
    out_exists: bool,
    is_written: bool,
    gave_up: Option<String>,
}

impl Dialogue {
    pub fn new(out: PathBuf, archive_default: PathBuf) -> Dialogue {
        Dialogue { out, archive_default, ..Dialogue::default() }
    }

    pub fn next(&self) -> Step {
        let answers = &self.answers;
        if let Some(why) = &self.gave_up {
            return Step::GiveUp(why.clone());
        }
        let Some(kind) = answers.kind else { return Step::Ask(questions::kind()) };
        if answers.login.is_none() {
            return Step::Ask(questions::login(kind));
        }
        if let Some(step) = self.server(kind) {
            return step;
        }
        if let Some(step) = self.access(kind) {
            return step;
        }
        if answers.needs_secret() && answers.secret.is_none() {
            return Step::Ask(questions::secret(kind, answers, self.refusals));
        }
        if answers.access == Some(Access::Device) && !self.has_signed_in {
            // What is granted is kept beside the archive.
            return match answers.archive {
                None => Step::Ask(questions::archive(&self.archive_default)),
                Some(_) => Step::SignIn,
            };
        }
        if !self.has_tried {
            return Step::Try;
        }
        if answers.folders.is_none() {
            return Step::Ask(questions::folders(&self.seen));
        }
        if answers.delete.is_none() {
            return Step::Ask(questions::delete());
        }
        if answers.domains.is_none() {
            return Step::Ask(questions::domains(answers.domain()));
        }
        if answers.archive.is_none() {
            return Step::Ask(questions::archive(&self.archive_default));
        }
        if answers.needs_secret() && answers.keep.is_none() {
            return Step::Ask(questions::keep(answers));
        }
        if !self.out_is_settled {
            return Step::Ask(if self.out_exists {
                questions::overwrite(&self.out)
            } else {
                questions::out(&self.out)
            });
        }
        if self.is_written { Step::Done } else { Step::Write }
    }

    fn server(&self, kind: Kind) -> Option<Step> {
        if self.places.is_empty() {
            if let (None, Some(domain)) = (&self.found, self.answers.domain())
                && kind != Kind::Gateway
            {
                return Some(Step::Search { kind, domain: domain.to_owned() });
            }
            let found = self.found.as_deref().unwrap_or_default();
            return Some(Step::Ask(questions::server(kind, found, self.answers.domain())));
        }
        match &self.reached {
            Reached::No => Some(Step::Reach(self.places.clone())),
            Reached::Untrusted => Some(Step::Ask(questions::ca_file())),
            Reached::Yes { schemes } if kind == Kind::Ews && self.answers.http_login.is_none() => {
                Some(Step::Ask(questions::http_login(schemes)))
            }
            Reached::Yes { .. } => None,
        }
    }

    fn access(&self, kind: Kind) -> Option<Step> {
        let answers = &self.answers;
        let Some(access) = answers.access else { return Some(Step::Ask(questions::access(kind))) };
        let needs_client = matches!(access, Access::Device | Access::Application);
        if needs_client && kind == Kind::Microsoft && answers.tenant.is_none() {
            return Some(Step::Ask(questions::tenant(answers.domain())));
        }
        if needs_client && answers.client_id.is_none() {
            return Some(Step::Ask(questions::client_id()));
        }
        if access == Access::ServiceAccount && answers.service_account.is_none() {
            return Some(Step::Ask(questions::service_account()));
        }
        None
    }

    /// Takes an answer; `Err` says why it is none.
    pub fn answer(&mut self, topic: Topic, text: &str) -> Result<(), String> {
        let answers = &mut self.answers;
        let kind = answers.kind.unwrap_or(Kind::Imap);
        match topic {
            Topic::Kind => {
                let kind = answers::kind(text)?;
                answers.kind = Some(kind);
                self.places.extend(kind.fixed_place());
                // What logs in with a password only is not asked how.
                if matches!(kind, Kind::Imap | Kind::Ews | Kind::Gateway | Kind::Pop3) {
                    answers.access = Some(Access::Password);
                }
            }
            Topic::Login => answers.login = Some(answers::login(text, kind)?),
            Topic::Server => {
                let number = text.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let chosen = number.and_then(|at| self.found.as_ref()?.get(at));
                self.places = match chosen {
                    Some(guess) => vec![guess.place.clone()],
                    None => answers::places(text, kind)?,
                };
            }
            Topic::CaFile => {
                let text = text.trim();
                if text.is_empty() {
                    // Another server, then.
                    self.another_server();
                } else {
                    answers.ca_file = Some(existing_file(text)?);
                    self.reached = Reached::No;
                }
            }
            Topic::HttpLogin => {
                let choices = [("basic", HttpLogin::Basic), ("ntlm", HttpLogin::Ntlm)];
                answers.http_login = Some(answers::chosen(text, &choices)?);
            }
            Topic::Access => answers.access = Some(answers::chosen(text, questions::accesses(kind))?),
            Topic::Tenant => answers.tenant = Some(filled(text)?),
            Topic::ClientId => answers.client_id = Some(filled(text)?),
            Topic::ServiceAccount => answers.service_account = Some(existing_file(text)?),
            Topic::Secret => {
                if text.is_empty() && self.refusals > 0 {
                    // The login may be what is wrong.
                    answers.login = None;
                } else if text.is_empty() {
                    return Err("it is empty".into());
                } else if text.contains(['\r', '\n', '\0']) {
                    return Err("it holds more than one line".into());
                } else {
                    answers.secret = Some(Secret::new(text.to_owned()));
                }
            }
            Topic::Folders => answers.folders = Some(questions::chosen_folders(text, &self.seen)?),
            Topic::Delete => answers.delete = Some(answers::yes_or_no(text)?),
            Topic::Domains => answers.domains = Some(answers::domains(text)?),
            Topic::Archive => answers.archive = Some(fit_for_archive(&path(text)?)?),
            Topic::Keep => answers.keep = Some(questions::chosen_keep(text)?),
            Topic::Out => {
                self.out = path(text)?;
                self.out_exists = self.out.exists();
                self.out_is_settled = !self.out_exists;
            }
            Topic::Overwrite => {
                self.out_is_settled = answers::yes_or_no(text)?;
                self.out_exists = self.out_is_settled;
            }
        }
        Ok(())
    }

    /// A server from the command line, with what was said of it.
    pub fn place(&mut self, place: Place) {
        self.places = vec![place];
    }

    pub fn found(&mut self, guesses: Vec<Guess>) {
        self.found = Some(guesses);
    }

    pub fn reached(&mut self, place: Place, schemes: Vec<String>) {
        let takes = |wanted: &str| schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(wanted));
        if self.answers.http_login.is_none() && !schemes.is_empty() {
            // Negotiate without Kerberos is NTLM.
            match (takes("Basic"), takes("NTLM") || takes("Negotiate")) {
                (true, false) => self.answers.http_login = Some(HttpLogin::Basic),
                (false, true) => self.answers.http_login = Some(HttpLogin::Ntlm),
                (true, true) | (false, false) => {}
            }
        }
        self.places = vec![place.clone()];
        self.answers.place = Some(place);
        self.reached = Reached::Yes { schemes };
    }

    pub fn unreached(&mut self, is_untrusted: bool) {
        if is_untrusted {
            self.reached = Reached::Untrusted;
        } else {
            self.another_server();
        }
    }

    fn another_server(&mut self) {
        self.places.clear();
        self.reached = Reached::No;
        self.answers.place = None;
        // What was found stays to choose from.
        self.found.get_or_insert_default();
    }

    pub fn signed_in(&mut self, done: Result<(), String>) {
        match done {
            Ok(()) => self.has_signed_in = true,
            Err(why) => self.gave_up = Some(why),
        }
    }

    pub fn tried(&mut self, looked: Looked) {
        match looked.blocked {
            None => {
                self.has_tried = true;
                self.seen = looked.folders;
                if !matches!(self.answers.kind, Some(Kind::Imap | Kind::Google | Kind::Microsoft)) {
                    // One mailbox, one folder.
                    self.answers.folders.get_or_insert_default();
                }
            }
            Some(Blocked::Login) => {
                self.refusals += 1;
                if !self.answers.needs_secret() {
                    self.gave_up = Some("the server does not accept this login".into());
                } else if self.refusals >= REFUSALS_MAX {
                    let times = "the login was refused three times; it is not tried again, so that the account is \
                                 not locked";
                    self.gave_up = Some(times.into());
                } else {
                    // Nor is it what a variable or a file holds.
                    (self.answers.secret, self.answers.keep) = (None, None);
                }
            }
            Some(Blocked::Reach) => self.another_server(),
            // The login stands; a folder that was named does not.
            Some(Blocked::Mailbox) => match self.answers.folders.take() {
                Some(_) => {}
                None => self.gave_up = Some("the login works, and the mailbox cannot be read".into()),
            },
        }
    }

    pub fn written(&mut self, done: Result<(), String>) {
        match done {
            Ok(()) => self.is_written = true,
            // Nothing else that was answered is lost: other places are asked for.
            Err(_) => {
                (self.out_is_settled, self.out_exists) = (false, false);
                self.answers.keep = None;
            }
        }
    }

    /// What a session is opened with: the answers so far, with the password itself.
    pub fn trial(&self) -> Answers {
        let mut trial = self.answers.clone();
        trial.keep = None;
        trial.domains.get_or_insert_default();
        trial.archive.get_or_insert_with(|| self.archive_default.clone());
        trial.delete.get_or_insert(false);
        trial
    }
}

/// Of `--tls`.
pub fn tls(text: &str) -> Result<TlsMode, String> {
    answers::chosen(text, &[("implicit", TlsMode::Implicit), ("starttls", TlsMode::StartTls), ("none", TlsMode::None)])
}
