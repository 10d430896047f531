//! One window of a listing, sorted by what is known of each item. Pure: rows and policy in, work out.

use jiff::Timestamp;

use crate::archive::{DeletePolicy, Disposition, Row, Seen};
use crate::sources::Listed;

/// What is to be done about one window of a listing.
#[derive(Default)]
pub struct Window {
    pub wanted: Vec<Listed>,
    /// Wanted too; failed before.
    pub again: Vec<Listed>,
    pub due_for_deletion: Vec<Seen>,
    /// How many of these are excluded items.
    pub excluded_due: u64,
    /// To be deleted too; nobody can read them yet, but their bytes are as safe.
    pub quarantined_due: Vec<Seen>,
    /// Failed before, and not yet due again.
    pub waiting: Vec<String>,
    /// Gone without ever having been archived.
    pub lost: u64,
    /// The folder is not the one that was recorded.
    pub other: Option<Other>,
}

pub struct Other {
    pub native_id: String,
    pub why: String,
}

impl Window {
    pub fn sort(&mut self, seen: Seen, row: Option<Row>, policy: DeletePolicy, now: Timestamp) {
        let Some(row) = row else {
            self.wanted.push(listed_of(&seen));
            return;
        };
        if !row.matches(&seen) {
            let why = format!("item {} has another size or date", seen.native_id);
            self.other = Some(Other { native_id: seen.native_id, why });
            return;
        }
        match (row.gone.as_deref(), row.disposition) {
            // It was away and is there again, the very same: a listing that missed it, or mail put back.
            (Some("vanished"), _) => self.wanted.push(listed_of(&seen)),
            (Some(_), _) => {
                let why = format!("item {} was deleted and is there again", seen.native_id);
                self.other = Some(Other { native_id: seen.native_id, why });
            }
            (None, Disposition::Failed | Disposition::Unfetchable | Disposition::Vanished) => {
                if row.due() <= now {
                    self.again.push(listed_of(&seen));
                } else {
                    self.waiting.push(seen.native_id);
                }
            }
            (None, Disposition::Archived | Disposition::AlreadyArchived) => {
                if policy.delete && row.at <= policy.archived_before {
                    self.due_for_deletion.push(row.seen);
                }
            }
            (None, Disposition::Excluded) => {
                if !row.excluded_under(policy.mark) {
                    self.wanted.push(listed_of(&seen));
                } else if policy.delete && policy.delete_excluded && row.at <= policy.archived_before {
                    self.excluded_due += 1;
                    self.due_for_deletion.push(row.seen);
                }
            }
            (None, Disposition::Quarantined) => {
                if policy.delete && policy.quarantined_before.is_some_and(|before| row.at <= before) {
                    self.quarantined_due.push(row.seen);
                }
            }
        }
    }
}

pub fn seen_of(epoch: u64, listed: &Listed) -> Seen {
    Seen {
        epoch,
        native_id: listed.native_id.clone(),
        order: listed.order,
        size: listed.size,
        date: listed.date.clone(),
    }
}

pub fn listed_of(seen: &Seen) -> Listed {
    Listed { native_id: seen.native_id.clone(), order: seen.order, size: seen.size, date: seen.date.clone() }
}
