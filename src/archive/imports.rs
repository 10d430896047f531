//! Mail that was imported, beside mail that a gateway brought.
//!
//! What a gateway brings says itself for whom it is, and the same bytes say the same again: they are filed once. Imported
//! mail lies in somebody's folder, and the very same bytes may lie in another's (an archive that stores each mail once
//! exports them so): each is to be filed, whichever came first. `FORMAT.md` §8.

use rusqlite::params;

use super::catalogue::Catalogue;
use super::core::{Core, Seen};
use super::error::Result;
use super::record::{Disposition, Filing, PersonRecord};

/// What identity spaces of imported mail are called (`kind` of an epoch).
pub const IMPORT: &str = "import";

/// The archive of what nobody owns.
const UNASSIGNED: &str = "unassigned";

impl Core {
    /// The same bytes came again: files them where they are not filed yet, when they come from an import, or have come
    /// from imports only until now. All within one batch with the sighting.
    pub(super) fn file_as_well(
        &mut self,
        seen: &Seen,
        item: u64,
        filings: Vec<Filing>,
        people: Vec<PersonRecord>,
        rules: u32,
    ) -> Result<()> {
        let counts = self.catalogue.is_import(seen.epoch)? || self.catalogue.was_only_imported(item)?;
        // What is quarantined is filed when it is decoded.
        if !counts || self.catalogue.quarantine(item)?.is_some() {
            return Ok(());
        }
        let has = self.catalogue.filed(item)?;
        let is_there =
            |new: &Filing| has.filings.iter().any(|old| old.person == new.person && old.folder == new.folder);
        let mut add = filings;
        add.retain(|new| !is_there(new) && (new.person != UNASSIGNED || has.filings.is_empty()));
        if add.is_empty() {
            return Ok(());
        }
        let mut people = people;
        people.retain(|person| add.iter().any(|filing| filing.person == person.person));
        self.file(item, add, people, rules.max(has.rules))?;
        for old in has.filings.iter().filter(|old| old.person == UNASSIGNED) {
            self.withdraw(item, &old.person, old.folder, "filed for its owner")?;
        }
        Ok(())
    }

    /// Whether this sighting stands with this item already, and nothing would be recorded anew.
    pub(super) fn is_recorded(&self, seen: &Seen, item: u64) -> Result<bool> {
        let row = self.catalogue.sighting(seen.epoch, &seen.native_id)?;
        Ok(row.is_some_and(|row| {
            let stands = matches!(row.disposition, Disposition::Archived | Disposition::AlreadyArchived);
            stands && row.item == Some(item) && row.gone.is_none() && row.matches(seen)
        }))
    }
}

impl Catalogue {
    fn is_import(&self, epoch: u64) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM epochs WHERE id = ?1 AND kind = ?2)";
        Ok(self.db.prepare_cached(sql)?.query_row(params![epoch as i64, IMPORT], |row| row.get(0))?)
    }

    fn was_only_imported(&self, item: u64) -> Result<bool> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM sightings s INDEXED BY sightings_item
                                      JOIN epochs e ON e.id = s.epoch WHERE s.item = ?1 AND e.kind <> ?2)";
        Ok(self.db.prepare_cached(sql)?.query_row(params![item as i64, IMPORT], |row| row.get(0))?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{ANNA, BOB, Fixture, SMALL, epoch_name, options, wait};
    use super::super::{EpochName, Folder, Reader, Writer};
    use super::*;

    fn filing(person: &str) -> Filing {
        Filing { person: person.into(), folder: Folder::Inbox, because: "imported from /old".into() }
    }

    fn person(id: &str) -> PersonRecord {
        PersonRecord {
            person: id.into(),
            name: None,
            addresses: Vec::new(),
            origin: "rule".into(),
            key: None,
            tenures: Vec::new(),
            merged_into: None,
        }
    }

    #[test]
    fn the_same_bytes_are_filed_for_everybody_in_whose_folders_they_lie() {
        let fixture = Fixture::new(SMALL);
        let (writer, _) = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
        let archive = writer.handle();
        let filed = |import: bool, who: &'static str| {
            let name = match import {
                true => EpochName { kind: IMPORT.into(), ..epoch_name() },
                false => epoch_name(),
            };
            let job = move |core: &mut Core| {
                let epoch = core.epoch(&name)?.id;
                let seen = Seen { epoch, native_id: "x".into(), order: None, size: 1, date: String::new() };
                core.file_as_well(&seen, 1, vec![filing(who)], vec![person(who)], 1)?;
                core.close()?;
                core.catalogue.filed(1)
            };
            let filed = wait(archive.call(job)).unwrap();
            filed.filings.into_iter().map(|filing| filing.person).collect::<std::collections::BTreeSet<_>>()
        };
        let before = {
            let reader = Reader::open(&fixture.layout).unwrap();
            reader.filed(1).unwrap().filings
        };
        let persons: std::collections::BTreeSet<_> = before.iter().map(|filing| filing.person.clone()).collect();
        let new = "carla@corp.example";
        assert_eq!(filed(false, new), persons, "a gateway's item is filed once");
        let with_new: std::collections::BTreeSet<_> = persons.iter().cloned().chain([new.to_owned()]).collect();
        assert_eq!(filed(true, new), with_new);
        assert_eq!(filed(true, UNASSIGNED), with_new, "somebody has it");
        assert!(persons.contains(ANNA) || persons.contains(BOB), "{persons:?}");
        drop(archive);
        writer.finish().unwrap();
    }
}
