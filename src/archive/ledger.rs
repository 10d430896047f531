//! The gateway's side of the catalogue: epochs, sightings and their dispositions.
//!
//! Everything that decides about deletion is answered here, from what was committed or lies in the open
//! batch; nothing is remembered elsewhere.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension as _, params};

use super::catalogue::Catalogue;
use super::core::{Core, Seen};
use super::error::Result;
use super::record::{DeletedHow, DeletedRecord, Disposition, DispositionRecord, EpochRecord, Record};

/// What names an identity space; `archive` knows no sources, so this is its own spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochName {
    pub kind: String,
    pub host: String,
    pub login: String,
    pub folder: String,
    pub validity: String,
}

#[derive(Clone, Debug)]
pub struct Epoch {
    pub id: u64,
    pub generation: u32,
    /// Set when it began just now: why, for the alarm. `None` for the very first sight of a gateway too.
    pub alarm: Option<String>,
    /// The folder's counters when a cycle last finished with nothing left to list.
    pub state: Option<(u64, u64)>,
    /// Everything below was listed completely.
    pub listed_to: u64,
    /// The highest order value that was ever recorded.
    pub highest: u64,
}

/// A recorded sighting.
#[derive(Clone, Debug)]
pub struct Row {
    pub seen: Seen,
    pub disposition: Disposition,
    pub item: Option<u64>,
    pub at: Timestamp,
    pub tries: u32,
    pub because: Option<String>,
    /// `deleted`, `inferred`, `vanished`; `None`: it is on the gateway, as far as we know.
    pub gone: Option<String>,
}

impl Row {
    /// Size and date are what they were. A source that lists neither, or no date, is asked again before a deletion.
    pub fn matches(&self, seen: &Seen) -> bool {
        let is_bare = seen.date.is_empty() && seen.size == 0;
        is_bare || self.seen.size == seen.size && (self.seen.date == seen.date || seen.date.is_empty())
    }

    /// Of an excluded one: whether the policies are still those that excluded it.
    pub fn excluded_under(&self, mark: Option<u32>) -> bool {
        let because = self.because.as_deref().unwrap_or_default();
        mark.is_some_and(|mark| because.ends_with(&marked(mark)))
    }

    /// When a failed or unfetchable item is tried again: after a minute, doubling up to a day. A failure may
    /// have been the connection's, so the first three are tried again at once.
    pub fn due(&self) -> Timestamp {
        if self.disposition == Disposition::Failed && self.tries <= 3 {
            return self.at;
        }
        let doublings = self.tries.saturating_sub(1).min(11);
        let wait = SignedDuration::from_secs(60 << doublings).min(SignedDuration::from_hours(24));
        self.at.checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}

/// What policy says about the archived items of a profile that still are on its gateway.
#[derive(Clone, Copy, Debug)]
pub struct DeletePolicy {
    pub delete: bool,
    pub delete_excluded: bool,
    /// Archived before this moment: due now.
    pub archived_before: Timestamp,
    /// Quarantined before this moment: due now. `None`: never.
    pub quarantined_before: Option<Timestamp>,
    /// The mark of the policies. What was excluded under another one is looked at again; `None`: all of it is.
    pub mark: Option<u32>,
}

/// How a mark ends the reason of an excluded sighting.
pub(super) fn marked(mark: u32) -> String {
    format!("[{mark:08x}]")
}

impl DeletePolicy {
    pub const NEVER: DeletePolicy = DeletePolicy {
        delete: false,
        delete_excluded: false,
        archived_before: Timestamp::MIN,
        quarantined_before: None,
        mark: None,
    };
}

const ROW: &str = "epoch, native, ord, size, date, disposition, item, at, tries, because, gone";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let name: String = row.get(5)?;
    Ok(Row {
        seen: Seen {
            epoch: row.get::<_, i64>(0)? as u64,
            native_id: row.get(1)?,
            order: row.get::<_, Option<i64>>(2)?.map(|order| order as u64),
            size: row.get::<_, i64>(3)? as u64,
            date: row.get(4)?,
        },
        // Rows come from records only; a name that no version wrote is treated as what blocks nothing.
        disposition: Disposition::from_name(&name).unwrap_or(Disposition::Failed),
        item: row.get::<_, Option<i64>>(6)?.map(|item| item as u64),
        at: Timestamp::from_second(row.get(7)?).unwrap_or(Timestamp::UNIX_EPOCH),
        tries: row.get(8)?,
        because: row.get(9)?,
        gone: row.get(10)?,
    })
}

impl Catalogue {
    pub fn sighting(&self, epoch: u64, native: &str) -> Result<Option<Row>> {
        let sql = format!("SELECT {ROW} FROM sightings WHERE epoch = ?1 AND native = ?2");
        Ok(self.db.prepare_cached(&sql)?.query_row(params![epoch as i64, native], row).optional()?)
    }

    /// Sightings of an epoch that are on the gateway as far as we know, with an order value from `from` on and
    /// below `to`, in order.
    pub fn present_between(&self, epoch: u64, from: u64, to: Option<u64>) -> Result<Vec<Row>> {
        let sql = format!(
            "SELECT {ROW} FROM sightings WHERE epoch = ?1 AND gone IS NULL AND coalesce(ord, 0) >= ?2
             AND coalesce(ord, 0) < ?3 ORDER BY ord, native"
        );
        let to = to.map_or(i64::MAX, |to| to as i64);
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map([epoch as i64, from as i64, to], row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every sighting of an epoch.
    pub fn all(&self, epoch: u64) -> Result<Vec<Row>> {
        let sql = format!("SELECT {ROW} FROM sightings WHERE epoch = ?1");
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map([epoch as i64], row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The newest few that were finished and stay on the gateway: a sample that shows whether the folder is
    /// still the one that was recorded.
    pub fn newest_present(&self, epoch: u64, count: u32) -> Result<Vec<Row>> {
        let sql = format!(
            "SELECT {ROW} FROM sightings WHERE epoch = ?1 AND gone IS NULL AND ord IS NOT NULL
             ORDER BY ord DESC LIMIT ?2"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map(params![epoch as i64, count], row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn present_below(&self, epoch: u64, below: u64) -> Result<u64> {
        let sql = "SELECT count(*) FROM sightings WHERE epoch = ?1 AND gone IS NULL AND ord < ?2";
        Ok(self.db.prepare_cached(sql)?.query_row([epoch as i64, below as i64], |row| row.get::<_, i64>(0))? as u64)
    }

    /// The lowest order value that still needs something done, now.
    pub fn lowest_due(&self, epoch: u64, policy: DeletePolicy, now: Timestamp) -> Result<Option<u64>> {
        let mut lowest: Option<u64> = None;
        let mut consider = |order: Option<u64>| {
            if let Some(order) = order {
                lowest = Some(lowest.map_or(order, |lowest: u64| lowest.min(order)));
            }
        };
        if policy.delete {
            let sql = "SELECT min(ord) FROM sightings INDEXED BY sightings_open WHERE epoch = ?1 AND gone IS NULL
                       AND disposition IN ('archived', 'already_archived') AND at <= ?2";
            let order: Option<i64> = self
                .db
                .prepare_cached(sql)?
                .query_row(params![epoch as i64, policy.archived_before.as_second()], |row| row.get(0))?;
            consider(order.map(|order| order as u64));
        }
        if policy.delete && policy.delete_excluded {
            let sql = "SELECT min(ord) FROM sightings WHERE epoch = ?1 AND gone IS NULL AND disposition = 'excluded'
                       AND at <= ?2";
            let order: Option<i64> = self
                .db
                .prepare_cached(sql)?
                .query_row(params![epoch as i64, policy.archived_before.as_second()], |row| row.get(0))?;
            consider(order.map(|order| order as u64));
        }
        if let (true, Some(before)) = (policy.delete, policy.quarantined_before) {
            let sql = "SELECT min(ord) FROM sightings INDEXED BY sightings_open WHERE epoch = ?1 AND gone IS NULL
                       AND disposition = 'quarantined' AND at <= ?2";
            let order: Option<i64> =
                self.db.prepare_cached(sql)?.query_row(params![epoch as i64, before.as_second()], |row| row.get(0))?;
            consider(order.map(|order| order as u64));
        }
        let sql = "SELECT min(ord) FROM sightings INDEXED BY sightings_open WHERE epoch = ?1 AND gone IS NULL
                   AND disposition = 'excluded' AND because NOT LIKE '%' || ?2";
        let same = policy.mark.map_or_else(|| "no mark".to_owned(), marked);
        let order: Option<i64> =
            self.db.prepare_cached(sql)?.query_row(params![epoch as i64, same], |row| row.get(0))?;
        consider(order.map(|order| order as u64));
        let sql = format!(
            "SELECT {ROW} FROM sightings WHERE epoch = ?1 AND gone IS NULL
             AND disposition IN ('failed', 'unfetchable')"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        for found in statement.query_map([epoch as i64], row)? {
            let found = found?;
            if found.due() <= now {
                consider(found.seen.order);
            }
        }
        Ok(lowest)
    }

    /// The epoch that a gateway's folder is in, if it was ever seen under this very name.
    fn latest_epoch(&self, name: &EpochName) -> Result<Option<(Epoch, String)>> {
        let sql = "SELECT id, generation, validity, next, present, listed_to,
                          (SELECT coalesce(max(ord), 0) FROM sightings WHERE epoch = epochs.id)
                   FROM epochs WHERE kind = ?1 AND host = ?2 AND login = ?3 AND folder = ?4
                   ORDER BY id DESC LIMIT 1";
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement
            .query_row(params![name.kind, name.host, name.login, name.folder], |row| {
                let next: Option<i64> = row.get(3)?;
                let present: Option<i64> = row.get(4)?;
                let epoch = Epoch {
                    id: row.get::<_, i64>(0)? as u64,
                    generation: row.get(1)?,
                    alarm: None,
                    state: next.zip(present).map(|(next, present)| (next as u64, present as u64)),
                    listed_to: row.get::<_, i64>(5)? as u64,
                    highest: row.get::<_, i64>(6)? as u64,
                };
                Ok((epoch, row.get(2)?))
            })
            .optional()?)
    }

    /// The epoch of a gateway's folder, for readers (`reconcile`, `--dry-run`); `None`: never seen.
    pub fn find_epoch(&self, name: &EpochName) -> Result<Option<Epoch>> {
        Ok(self.latest_epoch(name)?.and_then(|(epoch, validity)| (validity == name.validity).then_some(epoch)))
    }

    /// Another host under which this login's folder was seen before.
    fn other_host(&self, name: &EpochName) -> Result<Option<String>> {
        let sql = "SELECT host FROM epochs WHERE kind = ?1 AND login = ?2 AND folder = ?3 AND host <> ?4
                   ORDER BY id DESC LIMIT 1";
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.query_row(params![name.kind, name.login, name.folder, name.host], |row| row.get(0)).optional()?)
    }
}

impl Core {
    /// The epoch for an opened folder; begins a new one when the name or the validity is another.
    pub fn epoch(&mut self, name: &EpochName) -> Result<Epoch> {
        match self.catalogue.latest_epoch(name)? {
            Some((epoch, validity)) if validity == name.validity => Ok(epoch),
            Some((epoch, validity)) => {
                let because = format!("UIDVALIDITY changed from {validity} to {}", name.validity);
                self.begin_epoch(name, epoch.generation + 1, because.clone(), Some(because))
            }
            None => match self.catalogue.other_host(name)? {
                Some(host) => {
                    let because = format!("the host changed from {host} to {}", name.host);
                    self.begin_epoch(name, 0, because.clone(), Some(because))
                }
                None => self.begin_epoch(name, 0, "first seen".into(), None),
            },
        }
    }

    /// Begins a new identity space under the same name: the folder is not the one that was recorded.
    pub fn next_epoch(&mut self, name: &EpochName, because: String) -> Result<Epoch> {
        let generation = self.catalogue.latest_epoch(name)?.map_or(0, |(epoch, _)| epoch.generation + 1);
        self.begin_epoch(name, generation, because.clone(), Some(because))
    }

    fn begin_epoch(
        &mut self,
        name: &EpochName,
        generation: u32,
        because: String,
        alarm: Option<String>,
    ) -> Result<Epoch> {
        let last: i64 = self.catalogue.db.query_row("SELECT coalesce(max(id), 0) FROM epochs", [], |row| row.get(0))?;
        let id = last as u64 + 1;
        self.put(&Record::Epoch(EpochRecord {
            epoch: id,
            kind: name.kind.clone(),
            host: name.host.clone(),
            login: name.login.clone(),
            folder: name.folder.clone(),
            validity: name.validity.clone(),
            generation,
            since: self.clock.now(),
            because,
        }))?;
        // Durable before an item of it is decoded: the notes of the decoding guard name epochs by number, and
        // a process that ends while it decodes must not leave the number to another gateway.
        self.close()?;
        Ok(Epoch { id, generation, alarm, state: None, listed_to: 0, highest: 0 })
    }

    /// Records what became of a sighting that has no item.
    pub fn dispose(&mut self, seen: &Seen, disposition: Disposition, because: &str) -> Result<()> {
        let at = self.clock.now();
        self.put(&Record::Disposition(DispositionRecord {
            disposition,
            epoch: seen.epoch,
            sighting: seen.native_id.clone(),
            order: seen.order,
            size: seen.size,
            date: seen.date.clone(),
            because: because.into(),
            at,
            sha256: None,
            envelope: None,
        }))
    }

    /// Records sightings as gone from the gateway.
    pub fn deleted(&mut self, epoch: u64, natives: Vec<String>, how: DeletedHow) -> Result<()> {
        if natives.is_empty() {
            return Ok(());
        }
        let at = self.clock.now();
        self.put(&Record::Deleted(DeletedRecord { deleted: natives, epoch, how, at }))
    }

    /// Remembers that the folder was listed completely up to `listed_to`, and its counters when nothing is
    /// left to do. A cache: losing it costs a listing.
    pub fn listed(&mut self, epoch: u64, listed_to: u64, state: Option<(u64, u64)>) -> Result<()> {
        // Within the batch's transaction when there is one, so that it is never ahead of the sightings.
        let mut statement = self
            .catalogue
            .db
            .prepare_cached("UPDATE epochs SET listed_to = ?2, next = ?3, present = ?4 WHERE id = ?1")?;
        statement.execute(params![
            epoch as i64,
            listed_to as i64,
            state.map(|(next, _)| next as i64),
            state.map(|(_, present)| present as i64)
        ])?;
        Ok(())
    }
}

/// The last run of a profile: a cache for `status`; runs that did something are `run` events in the chain.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LastRun {
    pub name: String,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    pub report: serde_json::Value,
}

impl Core {
    /// Notes a run of a profile, and records it in the chain when it did something: then under the number that is returned.
    pub fn ran(&mut self, name: &str, success: bool, report: serde_json::Value, idle: bool) -> Result<Option<u64>> {
        // An outage is recorded once, not once per try.
        let same_error = report["listed"] == 0
            && !report["error"].is_null()
            && self
                .catalogue
                .last_runs()?
                .iter()
                .any(|last| last.name == name && last.report["error"]["what"] == report["error"]["what"]);
        if !idle && !same_error {
            self.event("run", "agent", report)?;
            self.close()?;
            return self.newest_event("run");
        }
        let now = self.clock.now().as_second();
        self.catalogue.put_run(name, now, success.then_some(now), &report.to_string())?;
        Ok(None)
    }
}

impl Catalogue {
    /// Messages in Inbox and Sent of each person.
    pub fn filing_counts(&self) -> Result<std::collections::BTreeMap<String, (u64, u64)>> {
        let sql = "SELECT p.person, f.folder, count(DISTINCT f.message) FROM filings f JOIN people p ON p.id = f.person
                   GROUP BY p.person, f.folder";
        let mut counts: std::collections::BTreeMap<String, (u64, u64)> = std::collections::BTreeMap::new();
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let entry = counts.entry(row.get(0)?).or_default();
            let count = row.get::<_, i64>(2)? as u64;
            match super::catalogue::folder_from(row.get(1)?) {
                super::record::Folder::Inbox => entry.0 = count,
                super::record::Folder::Sent => entry.1 = count,
            }
        }
        Ok(counts)
    }

    pub fn last_runs(&self) -> Result<Vec<LastRun>> {
        let sql = "SELECT name, last_run, last_success, report FROM profiles ORDER BY name";
        let mut statement = self.db.prepare_cached(sql)?;
        let time = |seconds: Option<i64>| seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        let rows = statement.query_map([], |row| {
            let report: String = row.get(3)?;
            Ok(LastRun {
                name: row.get(0)?,
                last_run: time(row.get(1)?),
                last_success: time(row.get(2)?),
                report: serde_json::from_str(&report).unwrap_or_default(),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
