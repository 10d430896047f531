//! Finding mail: a full-text index beside the catalogue, and the language of searches ([`query`]).
//!
//! **What it is.** One document per message in a tantivy index, in the folder `catalogue.index` beside the catalogue: subject,
//! names and addresses, text, names and text of attachments, date, size. Derived like the catalogue, and more easily
//! spared: whatever is wrong with it, it is built anew from the archive, which it never touches. Nothing of it can be read
//! back as text. Whose a message is, it does not know: the catalogue says that, for each hit, so that a change of
//! filings needs no new index and no stale index can show a mail to somebody.
//!
//! **Why tantivy.** SQLite's FTS5 would have been one dependency less, and `tests/bench/search` measures both. Over 100,000
//! mails (228 MB of text) the index takes 36.5 % of the text with all its fields, FTS5's 40.8 % with one; 5,400 mails/s are
//! read, reduced to text and indexed, and FTS5 alone takes 6,000 texts/s. So size and rate do not decide. What does: words of
//! our own (accents, scripts without spaces) need no unsafe code here and C there; dates, sizes and numbers are columns of the
//! index; it merges beside the work, and it does not share a lock with the catalogue, whose commits a mail's receipt waits for.
//!
//! **How far it is.** A mark (`state`) in the index's own commit says up to which item, decoding and head the archive was
//! read. Indexing follows committing: a reader of its own asks the catalogue for what came after the mark (`build`),
//! whenever a run of the agent ended or somebody searches. It takes a lock of its own and never the archive's.
//!
//! **When it is wrong.** Another version, another archive or state of it (a restored backup), a missing or damaged file
//! (each has a checksum, which is read again when the file has changed), an error while it is asked: it is built anew,
//! and the question asked again.
//!
//! Must never: change the archive, delay its writer, or show a recipient that the header hides to somebody else than the
//! sender or an operator.

mod build;
mod find;
pub mod query;
mod schema;
mod state;
#[cfg(test)]
mod tests;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::build::{BuildOptions, BuildReport, Progress, catch_up};
pub use self::find::{Found, Order, Request};
pub use self::state::{Standing, standing};

use self::find::Finder;
use self::state::Opened;
use super::Layout;
use super::error::Result;
use super::read::{Entry, Reader};

/// Asks the index as it stands, up to date or not. `Ok(None)`: there is none that could be asked; see [`catch_up`].
pub fn find(
    layout: &Layout,
    reader: &Reader,
    request: &Request,
    visit: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<Option<Found>> {
    let Opened::Whole(index, _) = state::open(layout, reader)? else { return Ok(None) };
    // The library trusts its files; one that changed after it was checked may end it.
    let asked = catch_unwind(AssertUnwindSafe(|| Finder::new(&index)?.hits(request)));
    match asked {
        Ok(Ok(hits)) => Ok(Some(find::show(reader, request, hits, visit)?)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the index could not be asked");
            state::distrust(layout);
            Ok(None)
        }
        Err(_) => {
            state::distrust(layout);
            Ok(None)
        }
    }
}

/// Why the index cannot be used, when there is one; reads all of it. [`catch_up`] builds it anew.
pub fn damage(layout: &Layout, reader: &Reader) -> Result<Option<String>> {
    state::distrust(layout);
    Ok(match state::open(layout, reader)? {
        Opened::Unfit(why) => Some(why),
        Opened::Whole(..) | Opened::Missing => None,
    })
}
