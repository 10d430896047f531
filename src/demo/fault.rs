//! What can be made to go wrong on the embedded gateway, exactly and repeatably.
//!
//! Faults are added at runtime ([`super::server::Gateway::misbehave`]) and hold until they fired (where
//! they say "once") or until [`super::server::Gateway::behave`]. They never damage the mails held in
//! memory, so that a test can compare the gateway with the archive afterwards.

/// Which mails a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Every,
    Uid(u32),
}

impl Which {
    pub(super) fn is(self, uid: u32) -> bool {
        match self {
            Which::Every => true,
            Which::Uid(this) => this == uid,
        }
    }
}

/// Which of the matching commands a fault is about, counted from when the fault was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// Once, at the n-th (the first is 1).
    Nth(u64),
}

/// What a command gets instead of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is done; tagged NO.
    No,
    /// Nothing is done; tagged BAD.
    Bad,
    /// Nothing is done; BYE, then the connection is closed.
    Bye,
    /// Nothing is done; the connection is closed without a word.
    Eof,
    /// Nothing is done and nothing is ever answered.
    Hang,
    /// All is done and all untagged lines are sent, but the tagged line says NO.
    NoAtEnd,
    /// All is done and all untagged lines are sent, but the tagged line says BAD.
    BadAtEnd,
    /// All is done and all untagged lines are sent; BYE and the end of the connection come instead of the tagged line.
    ByeAtEnd,
    /// As `ByeAtEnd`, without the BYE.
    EofAtEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// NO to LOGIN and AUTHENTICATE, whatever the password.
    RefuseLogin,
    /// Exactly this many more bytes are sent, over all connections, then the connection that sends is
    /// closed. Once.
    CutAfter { bytes: u64 },
    /// The connection is closed after this many bytes of a whole-body literal (`BODY[]`, `RFC822`). Once.
    CutInBody { which: Which, after: u64 },
    /// To a command, by its name in upper case: `SELECT`, `UID FETCH`, `UID EXPUNGE` …
    On { command: String, when: When, answer: Answer },
    /// `BODY[] NIL`, as servers say that cannot convert or read a mail.
    BodyNil { which: Which },
    /// `BODY[] {0}`.
    BodyEmpty { which: Which },
    /// FETCH leaves the mail out and still says OK.
    OmitMail { which: Which },
    /// FETCH leaves out one data item, such as `BODY[]`, `UID`, `RFC822.SIZE`, `INTERNALDATE`.
    OmitData { which: Which, data: String },
    /// RFC822.SIZE says this.
    WrongSize { which: Which, size: u64 },
    /// A body literal of this length is announced, 1,000 bytes of it are sent, and the connection is
    /// closed. Once.
    HugeLiteral { which: Which, announce: u64 },
    /// UIDPLUS is neither offered nor understood.
    NoUidPlus,
    /// OK to UID EXPUNGE and EXPUNGE, and nothing is expunged.
    PretendExpunge,
    /// OK to UID MOVE, and only so many mails are moved.
    MoveOnly { mails: usize },
    /// A FETCH line with FLAGS only stands before each mail in a fetch stream.
    UnsolicitedFlags,
    /// Another client expunges this mail after the first mail of the next UID FETCH was answered, and the
    /// EXPUNGE line stands in the fetch stream. With `bodies`, only a FETCH of whole bodies counts. Once.
    ExpungeDuringFetch { uid: u32, bodies: bool },
}

impl Fault {
    /// Short form of [`Fault::On`].
    pub fn on(command: &str, when: When, answer: Answer) -> Fault {
        Fault::On { command: command.to_ascii_uppercase(), when, answer }
    }
}

/// The faults that are set.
#[derive(Default)]
pub(super) struct Plan {
    /// Each with how many matching commands it has seen.
    active: Vec<(Fault, u64)>,
    /// Bytes that may still be sent.
    cut: Option<u64>,
}

/// What the plan says about the whole body of one mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    Nil,
    Empty,
    Cut(u64),
    Huge(u64),
}

impl Plan {
    pub fn add(&mut self, fault: Fault) {
        match fault {
            Fault::CutAfter { bytes } => self.cut = Some(bytes),
            other => self.active.push((other, 0)),
        }
    }

    pub fn clear(&mut self) {
        *self = Plan::default();
    }

    pub fn has(&self, fault: &Fault) -> bool {
        self.active.iter().any(|(active, _)| active == fault)
    }

    /// How many of `wanted` bytes may be sent, and whether the connection ends after them.
    pub fn allow(&mut self, wanted: u64) -> (u64, bool) {
        let Some(left) = self.cut else { return (wanted, false) };
        if wanted < left {
            self.cut = Some(left - wanted);
            return (wanted, false);
        }
        self.cut = None;
        (left, true)
    }

    /// What a command gets instead of its answer; counts it.
    pub fn answer(&mut self, name: &str) -> Option<Answer> {
        let mut found = None;
        self.active.retain_mut(|(fault, seen)| {
            let Fault::On { command, when, answer } = fault else { return true };
            if command != name {
                return true;
            }
            *seen += 1;
            match when {
                When::Always => found = Some(answer.clone()),
                When::Nth(n) if *n == *seen => {
                    found = Some(answer.clone());
                    return false;
                }
                When::Nth(_) => {}
            }
            true
        });
        found
    }

    /// Takes a fault about the whole body of a mail; those that end the connection fire once.
    pub fn body(&mut self, uid: u32) -> Option<BodyFault> {
        let mut found = None;
        self.active.retain(|(fault, _)| {
            if found.is_some() {
                return true;
            }
            let (fired, keep) = match fault {
                Fault::BodyNil { which } if which.is(uid) => (BodyFault::Nil, true),
                Fault::BodyEmpty { which } if which.is(uid) => (BodyFault::Empty, true),
                Fault::CutInBody { which, after } if which.is(uid) => (BodyFault::Cut(*after), false),
                Fault::HugeLiteral { which, announce } if which.is(uid) => (BodyFault::Huge(*announce), false),
                _ => return true,
            };
            found = Some(fired);
            keep
        });
        found
    }

    pub fn moves_at_most(&self) -> usize {
        let most = self.active.iter().find_map(|(fault, _)| match fault {
            Fault::MoveOnly { mails } => Some(*mails),
            _ => None,
        });
        most.unwrap_or(usize::MAX)
    }

    pub fn omits_mail(&self, uid: u32) -> bool {
        self.active.iter().any(|(fault, _)| matches!(fault, Fault::OmitMail { which } if which.is(uid)))
    }

    pub fn omits_data(&self, uid: u32, name: &str) -> bool {
        self.active.iter().any(|(fault, _)| {
            matches!(fault, Fault::OmitData { which, data } if which.is(uid) && data.eq_ignore_ascii_case(name))
        })
    }

    pub fn size(&self, uid: u32) -> Option<u64> {
        self.active.iter().find_map(|(fault, _)| match fault {
            Fault::WrongSize { which, size } if which.is(uid) => Some(*size),
            _ => None,
        })
    }

    /// Takes the mail that another client expunges during this fetch.
    pub fn take_expunge_during_fetch(&mut self, whole_body: bool) -> Option<u32> {
        let due = |fault: &Fault| matches!(fault, Fault::ExpungeDuringFetch { bodies, .. } if whole_body || !bodies);
        let at = self.active.iter().position(|(fault, _)| due(fault))?;
        match self.active.swap_remove(at).0 {
            Fault::ExpungeDuringFetch { uid, .. } => Some(uid),
            _ => None,
        }
    }
}
