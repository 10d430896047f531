//! What the commands do that concern folders, flags and deletion.

use std::collections::BTreeSet;

use super::fault::Fault;
use super::gmail;
use super::mailbox::{folder_name, pattern_matches};
use super::session::{Open, Session, Tagged, bad, no, ok};
use super::syntax::{Set, Token, quoted};
use super::wire::Flow;

fn text(arguments: &[Token], at: usize) -> Option<String> {
    arguments.get(at).and_then(Token::text)
}

impl Session {
    pub(super) async fn list(&mut self, name: &str, arguments: &[Token]) -> Flow<Tagged> {
        let (Some(reference), Some(pattern)) = (text(arguments, 0), text(arguments, 1)) else {
            return bad("Reference and pattern");
        };
        if pattern.is_empty() {
            self.wire.line(format!("* {name} (\\Noselect) \"/\" \"\"")).await?;
            return ok("Done");
        }
        let pattern = format!("{reference}{pattern}");
        let names: Vec<String> = self.shared.state().folders.keys().cloned().collect();
        for folder in names.iter().filter(|folder| pattern_matches(pattern.as_bytes(), folder.as_bytes())) {
            let attribute = if self.shared.options.gmail { gmail::special_use(folder) } else { "" };
            self.wire.line(format!("* {name} ({attribute}) \"/\" {}", quoted(folder))).await?;
        }
        ok("Done")
    }

    pub(super) fn create(&mut self, arguments: &[Token]) -> Flow<Tagged> {
        let Some(name) = text(arguments, 0).filter(|name| !name.is_empty()) else { return bad("Folder name") };
        let mut state = self.shared.state();
        if state.folders.contains_key(folder_name(&name)) {
            return no("[ALREADYEXISTS] It exists");
        }
        state.folder(name.trim_end_matches('/'));
        ok("Done")
    }

    pub(super) async fn status(&mut self, arguments: &[Token]) -> Flow<Tagged> {
        let Some(name) = text(arguments, 0) else { return bad("Folder name") };
        let mut words = Vec::new();
        {
            let state = self.shared.state();
            let Some(folder) = state.folders.get(folder_name(&name)) else { return no("[NONEXISTENT] No such folder") };
            for item in arguments.iter().filter_map(Token::text).skip(1) {
                let value = match item.to_ascii_uppercase().as_str() {
                    "MESSAGES" => folder.mails().len() as u64,
                    "RECENT" => 0,
                    "UIDNEXT" => u64::from(folder.next),
                    "UIDVALIDITY" => u64::from(folder.validity),
                    "UNSEEN" => folder.mails().iter().filter(|mail| !mail.has_flag("\\Seen")).count() as u64,
                    _ => return bad("Unknown status item"),
                };
                words.push(format!("{} {value}", item.to_ascii_uppercase()));
            }
        }
        self.wire.line(format!("* STATUS {} ({})", quoted(&name), words.join(" "))).await?;
        ok("Done")
    }

    pub(super) async fn select(&mut self, arguments: &[Token], read_only: bool) -> Flow<Tagged> {
        let Some(name) = text(arguments, 0) else { return bad("Folder name") };
        // A failed SELECT leaves no folder open (RFC 3501 §6.3.1).
        self.open = None;
        let (open, next, unseen) = {
            let mut state = self.shared.state();
            let folder = folder_name(&name).to_owned();
            let Some(found) = state.folders.get(&folder) else { return no("[NONEXISTENT] No such folder") };
            let unseen = found.mails().iter().position(|mail| !mail.has_flag("\\Seen"));
            let (validity, revision) = (found.validity, found.revision);
            let open = Open { folder, validity, read_only, revision, view: found.uids() };
            let next = found.next;
            state.counters.selects += 1;
            (open, next, unseen)
        };
        let permanent = if read_only { "" } else { "\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*" };
        self.wire.line("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)").await?;
        self.wire.line(format!("* OK [PERMANENTFLAGS ({permanent})] Flags that are kept")).await?;
        self.wire.line(format!("* {} EXISTS", open.view.len())).await?;
        self.wire.line("* 0 RECENT").await?;
        if let Some(at) = unseen {
            self.wire.line(format!("* OK [UNSEEN {}] First unseen", at + 1)).await?;
        }
        self.wire.line(format!("* OK [UIDVALIDITY {}] Identity space", open.validity)).await?;
        self.wire.line(format!("* OK [UIDNEXT {next}] Next UID")).await?;
        self.open = Some(open);
        ok(if read_only { "[READ-ONLY] Opened" } else { "[READ-WRITE] Opened" })
    }

    /// Ends the session's use of the folder and, unlike UNSELECT, expunges (RFC 3501 §6.4.2).
    pub(super) fn close(&mut self) -> Flow<Tagged> {
        if let Some(open) = self.open.take()
            && !open.read_only
        {
            self.shared.state().folder(&open.folder).remove(|mail| mail.has_flag("\\Deleted"));
        }
        ok("Done")
    }

    /// `APPEND folder [(flags)] ["date"] literal`; flags and date are read over.
    pub(super) fn append(&mut self, arguments: &[Token]) -> Flow<Tagged> {
        let (Some(name), Some(Token::Text(bytes))) = (text(arguments, 0), arguments.last()) else {
            return bad("Folder name and literal");
        };
        let mut state = self.shared.state();
        let Some(folder) = state.folders.get_mut(folder_name(&name)) else { return no("[TRYCREATE] No such folder") };
        let uid = folder.append(bytes.as_slice().into(), None);
        for flag in arguments.iter().filter_map(Token::text).filter(|flag| flag.starts_with('\\')) {
            if let Some(mail) = folder.get_mut(uid) {
                mail.add_flag(&flag);
            }
        }
        Ok(format!("OK [APPENDUID {} {uid}] Done", folder.validity))
    }

    /// The UIDs that a set names, by UID or by sequence number as the command's name says.
    pub(super) fn named(&self, command: &str, set: &str) -> Option<Vec<u32>> {
        let set = Set::parse(set)?;
        let open = self.open.as_ref()?;
        if command.starts_with("UID ") { Some(set.by_uid(&open.view)) } else { set.by_sequence(&open.view) }
    }

    pub(super) async fn store(&mut self, name: &str, arguments: &[Token]) -> Flow<Tagged> {
        let (Some(set), Some(action)) = (text(arguments, 0), text(arguments, 1)) else { return bad("Set and action") };
        let Some(uids) = self.named(name, &set) else { return bad("Set") };
        let action = action.to_ascii_uppercase();
        let (action, silent) = match action.strip_suffix(".SILENT") {
            Some(action) => (action, true),
            None => (action.as_str(), false),
        };
        if !matches!(action, "FLAGS" | "+FLAGS" | "-FLAGS") {
            return bad("FLAGS, +FLAGS or -FLAGS");
        }
        let flags: Vec<String> = arguments[2..].iter().filter_map(Token::text).collect();
        let Some(open) = &self.open else { return bad("No folder is open") };
        if open.read_only {
            return no("[READ-ONLY] The folder is open for reading");
        }
        for uid in uids {
            let line = {
                let mut state = self.shared.state();
                let Some(mail) = state.folder(&open.folder).get_mut(uid) else { continue };
                if action == "FLAGS" {
                    mail.flags = BTreeSet::new();
                }
                for flag in &flags {
                    if action == "-FLAGS" { mail.remove_flag(flag) } else { mail.add_flag(flag) }
                }
                let sequence = open.view.partition_point(|seen| *seen < uid) + 1;
                let uid = if name.starts_with("UID ") { format!("UID {uid} ") } else { String::new() };
                format!("* {sequence} FETCH ({uid}FLAGS ({}))", mail.flag_list())
            };
            if !silent {
                self.wire.line(line).await?;
            }
        }
        ok("Done")
    }

    /// Expunges what is marked, of the whole folder or of a UID set; the EXPUNGE lines follow with the
    /// other changes, before the tagged line.
    pub(super) fn expunge(&mut self, set: Option<&[Token]>) -> Flow<Tagged> {
        let only = match set {
            None => None,
            Some(arguments) => match text(arguments, 0).and_then(|set| self.named("UID EXPUNGE", &set)) {
                Some(uids) => Some(uids),
                None => return bad("Set"),
            },
        };
        let Some(open) = &self.open else { return bad("No folder is open") };
        if open.read_only {
            return no("[READ-ONLY] The folder is open for reading");
        }
        let mut state = self.shared.state();
        if state.plan.has(&Fault::PretendExpunge) {
            return ok("Done");
        }
        if self.shared.options.gmail && open.folder == gmail::ALL_MAIL {
            return ok("Nothing is deleted here");
        }
        state.folder(&open.folder).remove(|mail| {
            mail.has_flag("\\Deleted") && only.as_ref().is_none_or(|uids| uids.binary_search(&mail.uid).is_ok())
        });
        ok("Done")
    }

    /// All criteria must hold: ALL, (UN)DELETED, (UN)SEEN, `UID set`, a sequence set.
    pub(super) async fn search(&mut self, name: &str, arguments: &[Token]) -> Flow<Tagged> {
        let mut words = arguments.iter().filter(|token| !matches!(token, Token::Open | Token::Close));
        let Some(open) = &self.open else { return bad("No folder is open") };
        let mut found = open.view.clone();
        while let Some(word) = words.next().and_then(Token::text) {
            let flag = |found: &mut Vec<u32>, flag: &str, wanted: bool| {
                let mut state = self.shared.state();
                let folder = state.folder(&open.folder);
                found.retain(|uid| folder.get(*uid).is_some_and(|mail| mail.has_flag(flag) == wanted));
            };
            let among = match word.to_ascii_uppercase().as_str() {
                "ALL" => continue,
                "CHARSET" => {
                    words.next();
                    continue;
                }
                "DELETED" => {
                    flag(&mut found, "\\Deleted", true);
                    continue;
                }
                "UNDELETED" => {
                    flag(&mut found, "\\Deleted", false);
                    continue;
                }
                "SEEN" => {
                    flag(&mut found, "\\Seen", true);
                    continue;
                }
                "UNSEEN" => {
                    flag(&mut found, "\\Seen", false);
                    continue;
                }
                "X-GM-MSGID" if self.shared.options.gmail => {
                    let Some(id) = words.next().and_then(Token::text).and_then(|id| id.parse::<u64>().ok()) else {
                        return bad("X-GM-MSGID and a number");
                    };
                    let mut state = self.shared.state();
                    let folder = state.folder(&open.folder);
                    found.retain(|uid| folder.get(*uid).is_some_and(|mail| mail.id == id));
                    continue;
                }
                "UID" => words.next().and_then(Token::text).and_then(|set| self.named("UID SEARCH", &set)),
                set => self.named("SEARCH", set),
            };
            let Some(among) = among else { return bad("Search criterion") };
            found.retain(|uid| among.binary_search(uid).is_ok());
        }
        let mut line = String::from("* SEARCH");
        for uid in found {
            let number =
                if name.starts_with("UID ") { uid as usize } else { open.view.partition_point(|seen| *seen < uid) + 1 };
            line.push_str(&format!(" {number}"));
        }
        self.wire.line(line).await?;
        ok("Done")
    }
}
