//! Does what the dialogue says next: asks, looks, tries, writes. A question that nobody can be asked is an error that
//! names the flag.

use std::collections::HashSet;

use tokio::runtime::Runtime;

use super::answers::{self, Keep, Kind, Place};
use super::args::{Args, Then};
use super::dialogue::{Dialogue, Step, Topic};
use super::questions::Question;
use super::render::{self, SecretAt};
use super::{find, store, terminal};
use crate::config::{self, ImapSettings, LoginSettings, Settings, SourceSettings};
use crate::ops::exit::{Exit, Failure};
use crate::ops::{check, output};
use crate::sources::{AnySource, Finding, Level, reach};

/// Why there is no configuration.
pub enum Ended {
    /// Ctrl-C, or the end of the input.
    Stopped,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended::Failed(failure)
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        if error.kind() == std::io::ErrorKind::Interrupted { Ended::Stopped } else { Ended::Failed(error.into()) }
    }
}

/// The dialogue with somebody, or with a script.
pub struct Talk<'a> {
    pub dialogue: Dialogue,
    pub args: &'a Args,
    pub runtime: &'a Runtime,
    /// What was assumed once is not assumed again.
    pub asked: HashSet<Topic>,
    /// What went wrong last, for whoever cannot be asked.
    pub trouble: Option<Failure>,
}

impl Talk<'_> {
    /// To the end; the configuration that was written.
    pub fn run(&mut self) -> Result<Settings, Ended> {
        loop {
            match self.dialogue.next() {
                Step::Ask(question) => self.ask(&question)?,
                Step::Search { kind, domain } => self.search(kind, &domain),
                Step::Reach(places) => self.reach(&places),
                Step::SignIn => self.sign_in()?,
                Step::Try => self.try_login()?,
                Step::Write => match store::write(&self.dialogue, &self.args.name) {
                    Ok(()) => self.dialogue.written(Ok(())),
                    Err(failure) => {
                        self.tell_failed("writing", &failure.what, failure.hint.as_deref());
                        self.dialogue.written(Err(failure.what.clone()));
                        self.trouble = Some(failure);
                    }
                },
                Step::Done => return Ok(config::load(&self.dialogue.out).map_err(Failure::from)?),
                Step::GiveUp(why) => {
                    let failure = Failure { exit: Exit::Gateway, ..Failure::usage(why) };
                    return Err(failure.hint("nothing was written; `gatepost init` begins anew").into());
                }
            }
        }
    }

    fn ask(&mut self, question: &Question) -> Result<(), Ended> {
        let is_first = self.asked.insert(question.topic);
        if let Some(default) =
            question.default.as_ref().filter(|_| self.args.yes && question.may_be_assumed && is_first)
        {
            return self.dialogue.answer(question.topic, default).map_err(|why| {
                Failure::usage(format!("{}: {why}", question.prompt))
                    .hint(format!("say it with {}", question.flag))
                    .into()
            });
        }
        if !terminal::is_there() {
            return Err(self.unanswered(question).into());
        }
        output::line("");
        for line in &question.text {
            output::line(&output::safe(line));
        }
        loop {
            let given = self.typed(question)?;
            match self.dialogue.answer(question.topic, &given) {
                Ok(()) => return Ok(()),
                Err(why) => output::line(&format!("  {}", output::safe(&why))),
            }
        }
    }

    fn typed(&self, question: &Question) -> Result<zeroize::Zeroizing<String>, Ended> {
        let prompt = match &question.default {
            Some(default) => format!("{} [{default}]: ", question.prompt),
            None => format!("{}: ", question.prompt),
        };
        let typed = if question.is_secret {
            terminal::secret(&prompt)?
        } else {
            terminal::line(&prompt)?.map(zeroize::Zeroizing::new)
        };
        let typed = typed.ok_or(Ended::Stopped)?;
        match &question.default {
            Some(default) if typed.trim().is_empty() => Ok(zeroize::Zeroizing::new(default.clone())),
            _ => Ok(typed),
        }
    }

    /// Without a terminal: which flag would have answered it, or what went wrong before.
    fn unanswered(&mut self, question: &Question) -> Failure {
        if let Some(trouble) = self.trouble.take() {
            return trouble;
        }
        let failure =
            Failure::usage(format!("\"{}\" is not answered, and there is no terminal to ask on", question.prompt));
        match (&question.default, question.may_be_assumed) {
            (Some(_), true) => failure.hint(format!("say it with {}, or take the defaults with --yes", question.flag)),
            (_, _) => failure.hint(format!("say it with {}", question.flag)),
        }
    }

    fn search(&mut self, kind: Kind, domain: &str) {
        output::line("");
        output::line(&format!("Looking for servers of {} …", output::safe(domain)));
        let answers = &self.dialogue.answers;
        let login = answers.login.clone().unwrap_or_default();
        let found = self.runtime.block_on(find::servers(kind, domain, &login, answers.ca_file.as_deref()));
        self.dialogue.found(found);
    }

    fn reach(&mut self, places: &[Place]) {
        output::line("");
        let kind = self.dialogue.answers.kind.unwrap_or(Kind::Imap);
        let ca_file = self.dialogue.answers.ca_file.clone();
        let mut closed = Vec::new();
        for place in places {
            match self.runtime.block_on(find::knock_at(place, kind, ca_file.as_deref())) {
                Ok(answered) => {
                    self.tell(Level::Ok, "server", &format!("{} answers", place.shown()), None);
                    return self.dialogue.reached(place.clone(), answered.schemes);
                }
                Err(why) => closed.push((place, why)),
            }
        }
        // Of several ways to one server it is the one that leads to somebody; and what is true of all is said once.
        if let Some(at) = closed.iter().position(|(_, why)| why.shown.is_some()) {
            closed = vec![closed.swap_remove(at)];
        }
        closed.dedup_by(|(_, later), (_, earlier)| later.said == earlier.said);
        for (place, why) in closed {
            let place_shown = place.shown();
            let said = match &why.shown {
                Some(shown) => format!("{}; {}", why.said, reach::described(shown)),
                None => why.said,
            };
            // The question that follows says more.
            let hint = why.hint.filter(|_| !why.wants_authority);
            self.tell_failed(&place_shown, &said, hint.as_deref());
            let failure = Failure { exit: Exit::Gateway, ..Failure::usage(format!("{place_shown}: {said}")) };
            let of_authority = why.wants_authority.then(|| {
                "if the fingerprint is right, name the PEM file of the authority that issued it: --ca-file FILE"
                    .to_owned()
            });
            self.trouble = Some(Failure { hint: hint.or(of_authority), ..failure });
            if why.wants_authority {
                self.dialogue.place(place.clone());
                return self.dialogue.unreached(true);
            }
        }
        self.dialogue.unreached(false);
    }

    /// Somebody signs in on another device. What is granted is kept beside the archive from then on.
    fn sign_in(&mut self) -> Result<(), Ended> {
        let settings = self.trial()?;
        let login = settings.profiles.first().map(|profile| &profile.source);
        let Some(SourceSettings::Imap(ImapSettings { login: LoginSettings::OAuth2(oauth2), .. })) = login else {
            return Err(Failure::usage("this kind of login has nobody to sign in").into());
        };
        let tokens = oauth2.tokens().map_err(Failure::from)?;
        output::line("");
        let done = self.runtime.block_on(tokens.sign_in(|prompt| {
            let minutes = prompt.expires_in.as_secs() / 60;
            output::line(&format!(
                "Open {} in a browser and type the code {}",
                output::safe(&prompt.url),
                output::safe(&prompt.code)
            ));
            output::line(&format!(
                "Sign in as the mailbox that is to be read. The code holds for {minutes} minutes; waiting …"
            ));
        }));
        let done = match done {
            Ok(()) => {
                self.tell(Level::Ok, "sign-in", "a token was granted", None);
                Ok(())
            }
            Err(error) => {
                self.tell(Level::Failed, "sign-in", &error.to_string(), error.hint.as_deref());
                Err(error.to_string())
            }
        };
        self.dialogue.signed_in(done);
        Ok(())
    }

    /// The configuration as it will be, with the secret in it, for this process alone.
    fn trial(&self) -> Result<Settings, Failure> {
        let trial = self.dialogue.trial();
        let secret = trial.secret.as_ref().map_or(SecretAt::Nowhere, SecretAt::Literal);
        let text = zeroize::Zeroizing::new(render::text(&trial, &self.args.name, &secret));
        Ok(config::parse(&self.dialogue.out, &text)?)
    }

    fn try_login(&mut self) -> Result<(), Ended> {
        let settings = self.trial()?;
        let Some(profile) = settings.profiles.first() else {
            return Err(Failure::usage("the configuration has no profile").into());
        };
        let options = profile.source_options().map_err(Failure::from)?;
        output::line("");
        output::line("Trying it …");
        let mut last = None;
        let looked = self.runtime.block_on(AnySource::look(&options, &mut |finding| {
            check::print(&finding);
            last = Some(finding);
        }));
        if let (Some(_), Some(last)) = (looked.blocked, last) {
            let failure = Failure { exit: Exit::Gateway, ..Failure::usage(format!("{}: {}", last.what, last.said)) };
            self.trouble = Some(Failure { hint: last.hint, ..failure });
        }
        self.dialogue.tried(looked);
        Ok(())
    }

    fn tell(&self, level: Level, what: &str, said: &str, hint: Option<&str>) {
        check::print(&Finding { level, what: what.into(), said: said.into(), hint: hint.map(str::to_owned) });
    }

    fn tell_failed(&self, what: &str, said: &str, hint: Option<&str>) {
        self.tell(Level::Failed, what, said, hint);
    }

    /// What is to be done with the configuration that stands now.
    pub fn then(&self) -> Result<Then, Failure> {
        store::tell(&self.dialogue);
        if let Some(then) = self.args.then {
            return Ok(then);
        }
        if self.args.yes || !terminal::is_there() {
            return Ok(Then::Nothing);
        }
        if let Some(Keep::Env(name)) = &self.dialogue.answers.keep
            && std::env::var_os(name).is_none()
        {
            output::line(&format!("Set {name} before the first run."));
            return Ok(Then::Nothing);
        }
        output::line("");
        output::line(
            "A rehearsal downloads and decodes what is there and tells where each mail would go. It archives and",
        );
        output::line("deletes nothing.");
        let asked = |prompt: &str| -> Result<bool, Failure> {
            loop {
                let Some(typed) = terminal::line(prompt)? else { return Ok(false) };
                let typed = if typed.trim().is_empty() { "yes" } else { &typed };
                match answers::yes_or_no(typed) {
                    Ok(answer) => return Ok(answer),
                    Err(why) => output::line(&format!("  {why}")),
                }
            }
        };
        if asked("Rehearse now? (yes or no) [yes]: ")? {
            super::run(&self.dialogue.out, true)?;
            output::line("");
        }
        Ok(if asked("Archive now, with a first cycle? (yes or no) [yes]: ")? { Then::Once } else { Then::Nothing })
    }
}
