//! UID sets: many UIDs in one command, ranges compressed, each set under 8,000 bytes (RFC 2683 §3.2.1.5
//! and what servers take in practice).
//!
//! A range only ever covers UIDs that were asked for one by one: a set must never name a mail that
//! nobody wanted, because sets are also what is deleted.

/// Bytes of a set, at most.
pub(super) const SET_BYTES_MAX: usize = 7_900;

/// A run of UIDs as the text of a set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UidSet {
    pub text: String,
    pub uids: Vec<u32>,
}

/// Cuts rising UIDs into sets of at most `items_max` UIDs. Doubles are merged.
pub(super) fn uid_sets(uids: &[u32], items_max: usize) -> Vec<UidSet> {
    let mut sorted = uids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut sets = Vec::new();
    let mut text = String::new();
    let mut start = 0; // the set's first UID in `sorted`
    let mut at = 0;
    while at < sorted.len() {
        let first = sorted[at];
        let room = items_max.max(1) - (at - start);
        let mut run = 1;
        while run < room && at + run < sorted.len() && sorted[at + run] == first + run as u32 {
            run += 1;
        }
        let range = match run {
            1 => first.to_string(),
            _ => format!("{first}:{}", first + (run as u32 - 1)),
        };
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&range);
        at += run;
        // The longest range there is: two UIDs of ten digits, a colon and a comma.
        if at - start >= items_max || text.len() + 22 > SET_BYTES_MAX {
            sets.push(UidSet { text: std::mem::take(&mut text), uids: sorted[start..at].to_vec() });
            start = at;
        }
    }
    if !text.is_empty() {
        sets.push(UidSet { text, uids: sorted[start..].to_vec() });
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(uids: &[u32], items_max: usize) -> Vec<String> {
        uid_sets(uids, items_max).into_iter().map(|set| set.text).collect()
    }

    #[test]
    fn ranges_are_compressed() {
        assert_eq!(texts(&[], 10), Vec::<String>::new());
        assert_eq!(texts(&[7], 10), ["7"]);
        assert_eq!(texts(&[3, 1, 2, 9, 8, 3], 10), ["1:3,8:9"]);
        assert_eq!(texts(&[1, 2, 3, 4, 5], 2), ["1:2", "3:4", "5"]);
        assert_eq!(texts(&[u32::MAX - 1, u32::MAX], 10), ["4294967294:4294967295"]);
    }

    proptest! {
        #[test]
        fn a_set_names_exactly_what_was_asked_for(
            uids in proptest::collection::vec(1u32..100_000, 0..3000), items_max in 1usize..500,
        ) {
            let mut named = Vec::new();
            for set in uid_sets(&uids, items_max) {
                prop_assert!(set.text.len() < 8_000 && set.uids.len() <= items_max);
                let mut of_set = Vec::new();
                for part in set.text.split(',') {
                    let (a, b) = part.split_once(':').unwrap_or((part, part));
                    of_set.extend(a.parse::<u32>().unwrap()..=b.parse::<u32>().unwrap());
                }
                prop_assert_eq!(&of_set, &set.uids);
                named.extend(of_set);
            }
            let mut wanted = uids.clone();
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(named, wanted);
        }
    }
}
