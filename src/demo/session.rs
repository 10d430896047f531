//! One connection: greeting, login, which folder is open, and the answer that each command gets.
//!
//! A session numbers mails by its own view of the folder, which changes only where the protocol lets
//! it: other clients' changes are told between commands (RFC 3501 §7.4.1).

use std::sync::Arc;

use base64::Engine as _;

use super::fault::{Answer, Fault};
use super::server::Shared;
use super::syntax::{Token, quoted};
use super::wire::{Command, Flow, Gone, Read, Wire};

pub(super) struct Session {
    pub wire: Wire,
    pub shared: Arc<Shared>,
    pub authenticated: bool,
    pub open: Option<Open>,
}

/// The open folder as this session knows it.
pub(super) struct Open {
    pub folder: String,
    pub validity: u32,
    pub read_only: bool,
    /// The folder's revision that `view` shows.
    pub revision: u64,
    /// UIDs by sequence number, rising.
    pub view: Vec<u32>,
}

/// The tagged line of a command: `OK …`, `NO …`, `BAD …`.
pub(super) type Tagged = String;

pub(super) fn ok(text: &str) -> Flow<Tagged> {
    Ok(format!("OK {text}"))
}

pub(super) fn no(text: &str) -> Flow<Tagged> {
    Ok(format!("NO {text}"))
}

pub(super) fn bad(text: &str) -> Flow<Tagged> {
    Ok(format!("BAD {text}"))
}

impl Session {
    pub fn new(wire: Wire, shared: Arc<Shared>) -> Session {
        Session { wire, shared, authenticated: false, open: None }
    }

    pub async fn end(self) {
        self.wire.end().await;
    }

    /// Serves until the connection is over.
    pub async fn run(&mut self) -> Flow {
        let greeting = format!("* OK [CAPABILITY {}] gatepost demo gateway", self.capabilities());
        self.wire.line(greeting).await?;
        loop {
            match self.wire.read_command().await? {
                Read::Malformed(tag) => self.wire.line(format!("{tag} BAD Not a command")).await?,
                Read::Command(command) => self.serve(&command).await?,
            }
        }
    }

    async fn serve(&mut self, command: &Command) -> Flow {
        let planned = self.shared.received(&command.name, &shown(command));
        let tag = &command.tag;
        match planned {
            Some(Answer::No) => return self.wire.line(format!("{tag} NO Refused on demand")).await,
            Some(Answer::Bad) => return self.wire.line(format!("{tag} BAD Refused on demand")).await,
            Some(Answer::Bye) => return self.leave("* BYE Closing on demand").await,
            Some(Answer::Eof) => return Err(Gone),
            Some(Answer::Hang) => return Err(self.wire.hang().await),
            Some(Answer::NoAtEnd | Answer::BadAtEnd | Answer::ByeAtEnd | Answer::EofAtEnd) | None => {}
        }
        let tagged = self.dispatch(command).await?;
        // No EXPUNGE line may stand in the answer to these three (RFC 3501 §7.4.1).
        if !matches!(command.name.as_str(), "FETCH" | "STORE" | "SEARCH") {
            self.tell_changes().await?;
        }
        match planned {
            Some(Answer::NoAtEnd) => self.wire.line(format!("{tag} NO Failed on demand")).await?,
            Some(Answer::BadAtEnd) => self.wire.line(format!("{tag} BAD Failed on demand")).await?,
            Some(Answer::ByeAtEnd) => return self.leave("* BYE Closing on demand").await,
            Some(Answer::EofAtEnd) => {
                self.wire.flush().await?;
                return Err(Gone);
            }
            _ => self.wire.line(format!("{tag} {tagged}")).await?,
        }
        if command.name == "LOGOUT" {
            self.wire.flush().await?;
            return Err(Gone);
        }
        Ok(())
    }

    async fn leave(&mut self, last: &str) -> Flow {
        self.wire.line(last).await?;
        self.wire.flush().await?;
        Err(Gone)
    }

    async fn dispatch(&mut self, command: &Command) -> Flow<Tagged> {
        let arguments = &command.arguments;
        match command.name.as_str() {
            "CAPABILITY" => {
                let line = format!("* CAPABILITY {}", self.capabilities());
                self.wire.line(line).await?;
                return ok("Done");
            }
            "NOOP" => return ok("Done"),
            "LOGOUT" => {
                self.wire.line("* BYE Good-bye").await?;
                return ok("Done");
            }
            "ID" => {
                self.wire.line("* ID (\"name\" \"gatepost demo gateway\")").await?;
                return ok("Done");
            }
            "LOGIN" if !self.authenticated => {
                let text = |at: usize| arguments.get(at).and_then(Token::text);
                let (Some(login), Some(password)) = (text(0), text(1)) else { return bad("Login and password") };
                return self.log_in(&login, &password);
            }
            "AUTHENTICATE" if !self.authenticated => return self.authenticate(arguments).await,
            "LOGIN" | "AUTHENTICATE" => return bad("Already logged in"),
            "STARTTLS" => return bad("TLS is not offered"),
            _ if !self.authenticated => return bad("Log in first"),
            "UID EXPUNGE" if !self.shared.has_uidplus() => return bad("Unknown command"),
            "UID MOVE" if !self.shared.options.gmail => return bad("Unknown command"),
            _ => {}
        }
        match command.name.as_str() {
            "NAMESPACE" => {
                self.wire.line("* NAMESPACE ((\"\" \"/\")) NIL NIL").await?;
                ok("Done")
            }
            "LIST" | "LSUB" => self.list(&command.name, arguments).await,
            "SUBSCRIBE" | "UNSUBSCRIBE" => ok("Done"),
            "CREATE" => self.create(arguments),
            "STATUS" => self.status(arguments).await,
            "APPEND" => self.append(arguments),
            "SELECT" => self.select(arguments, false).await,
            "EXAMINE" => self.select(arguments, true).await,
            _ if self.open.is_none() => bad("Unknown command, or no folder is open"),
            "CHECK" => ok("Done"),
            "UNSELECT" => {
                self.open = None;
                ok("Done")
            }
            "CLOSE" => self.close(),
            "FETCH" | "UID FETCH" => self.fetch(&command.name, arguments).await,
            "STORE" | "UID STORE" => self.store(&command.name, arguments).await,
            "SEARCH" | "UID SEARCH" => self.search(&command.name, arguments).await,
            "EXPUNGE" => self.expunge(None),
            "UID EXPUNGE" => self.expunge(Some(arguments)),
            "UID MOVE" => self.move_to(arguments).await,
            _ => bad("Unknown command"),
        }
    }

    fn capabilities(&self) -> String {
        let options = &self.shared.options;
        let mut words = vec!["IMAP4rev1", "LITERAL+", "ID", "NAMESPACE", "UNSELECT"];
        if options.auth_plain {
            words.push("AUTH=PLAIN");
        }
        if options.sasl_ir {
            words.push("SASL-IR");
        }
        if self.shared.has_uidplus() {
            words.push("UIDPLUS");
        }
        if options.gmail {
            words.extend(["X-GM-EXT-1", "MOVE", "SPECIAL-USE"]);
        }
        words.join(" ")
    }

    fn log_in(&mut self, login: &str, password: &str) -> Flow<Tagged> {
        let options = &self.shared.options;
        let refused = self.shared.state().plan.has(&Fault::RefuseLogin);
        if refused || login != options.login || password != options.password.expose() {
            return no("[AUTHENTICATIONFAILED] Authentication failed");
        }
        self.authenticated = true;
        self.shared.state().counters.logins += 1;
        Ok(format!("OK [CAPABILITY {}] Logged in", self.capabilities()))
    }

    async fn authenticate(&mut self, arguments: &[Token]) -> Flow<Tagged> {
        let text = |at: usize| arguments.get(at).and_then(Token::text);
        if !self.shared.options.auth_plain || !text(0).is_some_and(|name| name.eq_ignore_ascii_case("plain")) {
            return no("Unknown mechanism");
        }
        let response = match text(1) {
            Some(_) if !self.shared.options.sasl_ir => return bad("No initial response, please"),
            Some(response) => response.into_bytes(),
            None => {
                self.wire.line("+ ").await?;
                self.wire.flush().await?;
                self.wire.read_line().await?
            }
        };
        if response == b"*" {
            return bad("Cancelled");
        }
        let Ok(plain) = base64::engine::general_purpose::STANDARD.decode(&response) else { return bad("Not base64") };
        // [authzid] NUL authcid NUL passwd (RFC 4616)
        let parts: Vec<_> = plain.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        match parts.as_slice() {
            [_, login, password] => self.log_in(login, password),
            _ => bad("Not a PLAIN response"),
        }
    }

    /// Tells what other clients changed since the last command.
    async fn tell_changes(&mut self) -> Flow {
        let Some(open) = &mut self.open else { return Ok(()) };
        let found = {
            let state = self.shared.state();
            let folder = state.folders.get(&open.folder);
            folder.filter(|folder| folder.validity == open.validity).map(|folder| {
                // Nearly always nothing changed; then nothing is compared.
                let seen = std::mem::replace(&mut open.revision, folder.revision);
                if seen == folder.revision { None } else { Some(folder.uids()) }
            })
        };
        let uids = match found {
            None => return self.leave("* BYE The folder is another one now").await,
            Some(None) => return Ok(()),
            Some(Some(uids)) => uids,
        };
        let mut gone = 0;
        for (at, uid) in open.view.iter().enumerate() {
            if uids.binary_search(uid).is_err() {
                self.wire.line(format!("* {} EXPUNGE", at + 1 - gone)).await?;
                gone += 1;
            }
        }
        if uids.len() > open.view.len() - gone {
            self.wire.line(format!("* {} EXISTS", uids.len())).await?;
        }
        open.view = uids;
        Ok(())
    }
}

/// A command's arguments for the log: never a password, never more than some 200 bytes.
fn shown(command: &Command) -> String {
    match command.name.as_str() {
        "LOGIN" => {
            return command.arguments.first().and_then(Token::text).map(|login| quoted(&login)).unwrap_or_default();
        }
        "AUTHENTICATE" => return command.arguments.first().and_then(Token::text).unwrap_or_default(),
        _ => {}
    }
    let mut text = String::new();
    for token in &command.arguments {
        if text.len() > 200 {
            text.push('…');
            break;
        }
        if !text.is_empty() && !text.ends_with('(') && *token != Token::Close {
            text.push(' ');
        }
        match token {
            Token::Open => text.push('('),
            Token::Close => text.push(')'),
            Token::Atom(atom) => text.push_str(atom),
            Token::Text(bytes) => text.push_str(&quoted(&String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))),
        }
    }
    text
}
