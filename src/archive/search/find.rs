//! Asking the index: which messages fit a query, and which of their filings are shown.
//!
//! The index says which messages; the catalogue, which is never behind, says whose they are. What the header does not
//! show to everybody ([`Fields::hidden`]) is searched in the sender's own archive only, and everywhere for an operator.

use std::collections::BTreeSet;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, EmptyQuery, Occur, PhrasePrefixQuery, PhraseQuery, Query as Question,
    RangeQuery, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, Index, Score, SegmentOrdinal, SegmentReader, Term};

use super::query::{Leaf, Node, Place, Query};
use super::schema::Fields;
use super::state::failed;
use crate::archive::error::{ArchiveError, ErrorKind, Result};
use crate::archive::read::{Entry, Filter, Reader};
use crate::archive::record::Folder;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Newest,
    Oldest,
    /// What fits best comes first (BM25).
    Rank,
}

/// What is to be found; everything must fit.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub query: Query,
    /// By the catalogue; its limit is not used.
    pub filter: Filter,
    /// An operator asks: search what only the envelope shows, too.
    pub envelope: bool,
    pub order: Order,
    /// Filings to pass over first.
    pub skip: u64,
    /// `None`: all of them.
    pub limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Messages that fit the query, in whosever archives.
    pub messages: u64,
    /// More filings fit than were asked for.
    pub more: bool,
}

/// A message that fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    message: u64,
    date: Option<i64>,
    score: Score,
    /// Only with what the header does not show: for its sender.
    seen_by_sender: bool,
    seen_by_all: bool,
}

/// An index, open for asking.
pub struct Finder {
    searcher: tantivy::Searcher,
    fields: Fields,
}

/// How many words a prefix may stand for.
const EXPANSIONS_MAX: u32 = 10_000;

impl Finder {
    pub fn new(index: &Index) -> Result<Finder> {
        let reader = index.reader_builder().reload_policy(tantivy::ReloadPolicy::Manual).try_into().map_err(failed)?;
        let reader: tantivy::IndexReader = reader;
        Ok(Finder { searcher: reader.searcher(), fields: super::schema::schema().1 })
    }

    /// Every message that fits, in the order that is asked for.
    pub fn hits(&self, request: &Request) -> Result<Vec<Hit>> {
        let with_hidden = self.question(&request.query.mail, true)?;
        let mut hits = self.ask(with_hidden.as_ref(), request.order)?;
        let hides = !request.envelope && self.asks_for_hidden(&request.query.mail)?;
        if !hides {
            for hit in &mut hits {
                (hit.seen_by_all, hit.seen_by_sender) = (true, true);
            }
        } else {
            // A message that fits without, and not with (`-bob`), is for all but its sender.
            let open = self.ask(self.question(&request.query.mail, false)?.as_ref(), request.order)?;
            for hit in &mut hits {
                hit.seen_by_sender = true;
            }
            hits.extend(open.into_iter().map(|hit| Hit { seen_by_all: true, ..hit }));
            hits.sort_unstable_by_key(|hit| hit.message);
            hits.dedup_by(|later, first| {
                let same = later.message == first.message;
                if same {
                    first.seen_by_all |= later.seen_by_all;
                    first.seen_by_sender |= later.seen_by_sender;
                    first.score = first.score.max(later.score);
                }
                same
            });
        }
        match request.order {
            // The order of `list`: those without a date come last.
            Order::Newest => hits.sort_unstable_by_key(|hit| std::cmp::Reverse((hit.date, hit.message))),
            Order::Oldest => {
                hits.sort_unstable_by_key(|hit| (hit.date.is_none(), hit.date, hit.message));
            }
            Order::Rank => {
                hits.sort_unstable_by(|a, b| {
                    b.score.total_cmp(&a.score).then((b.date, b.message).cmp(&(a.date, a.message)))
                });
            }
        }
        Ok(hits)
    }

    /// Whether what the header hides could make a difference: most words are nobody's name.
    fn asks_for_hidden(&self, nodes: &[Node]) -> Result<bool> {
        let mut asked = Vec::new();
        for node in nodes {
            node.leaves(&mut |leaf| {
                if let Leaf::Words { place: Place::Anywhere | Place::To | Place::Bcc, words, prefix } = leaf {
                    asked.push((words, *prefix));
                }
            });
        }
        for (words, prefix) in asked {
            let whole = if prefix { &words[..words.len() - 1] } else { &words[..] };
            let mut all = true;
            for word in whole {
                let term = Term::from_field_text(self.fields.hidden, word);
                all = all && self.searcher.doc_freq(&term).map_err(failed)? > 0;
            }
            if all {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ask(&self, question: &dyn Question, order: Order) -> Result<Vec<Hit>> {
        self.searcher.search(question, &Hits { scored: order == Order::Rank }).map_err(failed)
    }

    fn question(&self, nodes: &[Node], hidden: bool) -> Result<Box<dyn Question>> {
        self.all(nodes, hidden)
    }

    fn all(&self, nodes: &[Node], hidden: bool) -> Result<Box<dyn Question>> {
        let mut clauses: Vec<(Occur, Box<dyn Question>)> = Vec::new();
        let mut positive = false;
        for node in nodes {
            match node {
                Node::Not(inner) => clauses.push((Occur::MustNot, self.of(inner, hidden)?)),
                node => {
                    positive = true;
                    clauses.push((Occur::Must, self.of(node, hidden)?));
                }
            }
        }
        if !positive {
            // All but these.
            clauses.push((Occur::Must, Box::new(AllQuery)));
        }
        Ok(Box::new(BooleanQuery::new(clauses)))
    }

    fn of(&self, node: &Node, hidden: bool) -> Result<Box<dyn Question>> {
        match node {
            Node::All(nodes) => self.all(nodes, hidden),
            Node::Any(nodes) => {
                let clauses: Result<Vec<_>> =
                    nodes.iter().map(|node| Ok((Occur::Should, self.of(node, hidden)?))).collect();
                Ok(Box::new(BooleanQuery::new(clauses?)))
            }
            Node::Not(_) => self.all(std::slice::from_ref(node), hidden),
            Node::Leaf(leaf) => self.leaf(leaf, hidden),
        }
    }

    fn leaf(&self, leaf: &Leaf, hidden: bool) -> Result<Box<dyn Question>> {
        let fields = &self.fields;
        Ok(match leaf {
            Leaf::Words { place, words, prefix } => {
                let mut places = match place {
                    Place::Anywhere => {
                        vec![fields.subject, fields.body, fields.from, fields.to, fields.cc, fields.attachment]
                    }
                    Place::From => vec![fields.from],
                    Place::To => vec![fields.to],
                    Place::Cc => vec![fields.cc],
                    Place::Bcc => Vec::new(),
                    Place::Subject => vec![fields.subject],
                    Place::Body => vec![fields.body],
                    Place::Attachment => vec![fields.attachment],
                };
                if hidden && matches!(place, Place::Anywhere | Place::To | Place::Bcc) {
                    places.push(fields.hidden);
                }
                let clauses: Result<Vec<_>> = places
                    .into_iter()
                    .map(|field| {
                        let question = self.words(field, words, *prefix)?;
                        // A word of the subject says more of a mail than one of its text.
                        let boosted: Box<dyn Question> = match field == fields.subject {
                            true => Box::new(BoostQuery::new(question, 2.0)),
                            false => question,
                        };
                        Ok((Occur::Should, boosted))
                    })
                    .collect();
                let mut clauses = clauses?;
                match clauses.len() {
                    0 => Box::new(EmptyQuery),
                    1 => clauses.remove(0).1,
                    _ => Box::new(BooleanQuery::new(clauses)),
                }
            }
            Leaf::MessageId(id) => term(Term::from_field_text(fields.message_id, &id.to_lowercase())),
            Leaf::HasAttachment => term(Term::from_field_u64(fields.attached, 1)),
            Leaf::Date(range) => range_of(
                Term::from_field_i64(fields.date, range.start),
                (range.end != i64::MAX).then(|| Term::from_field_i64(fields.date, range.end)),
            ),
            Leaf::Size(range) => range_of(
                Term::from_field_u64(fields.size, range.start),
                (range.end != u64::MAX).then(|| Term::from_field_u64(fields.size, range.end)),
            ),
            Leaf::In(_) | Leaf::Person(_) => {
                return Err(ArchiveError::new(ErrorKind::Failed, "a question about a filing was put to the index"));
            }
        })
    }

    fn words(&self, field: Field, words: &[String], prefix: bool) -> Result<Box<dyn Question>> {
        let terms: Vec<Term> = words.iter().map(|word| Term::from_field_text(field, word)).collect();
        Ok(match (&terms[..], prefix) {
            ([], _) => Box::new(EmptyQuery),
            ([one], false) => term(one.clone()),
            ([one], true) => {
                // Every word that begins so: up to the next text that does not.
                let mut beyond = words[0].clone();
                beyond.push(char::MAX);
                range_of(one.clone(), Some(Term::from_field_text(field, &beyond)))
            }
            (_, false) => Box::new(PhraseQuery::new(terms)),
            (_, true) => {
                let mut phrase = PhrasePrefixQuery::new(terms);
                phrase.set_max_expansions(EXPANSIONS_MAX);
                Box::new(phrase)
            }
        })
    }
}

/// Calls `visit` with each filing that fits, in the order of the hits.
pub fn show(
    reader: &Reader,
    request: &Request,
    hits: Vec<Hit>,
    visit: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<Found> {
    let mut found = Found { messages: hits.len() as u64, more: false };
    let filings = Filings::of(reader, request)?;
    let (mut skip, mut left) = (request.skip, request.limit.unwrap_or(u64::MAX));
    for hit in hits {
        if !filings.may_have(hit.message) {
            continue;
        }
        for entry in reader.entries_of(hit.message)? {
            let is_seen = if entry.folder == Folder::Sent { hit.seen_by_sender } else { hit.seen_by_all };
            if !is_seen || !filings.fit(&entry) {
                continue;
            }
            if skip > 0 {
                skip -= 1;
            } else if left == 0 {
                found.more = true;
                return Ok(found);
            } else {
                left -= 1;
                visit(entry)?;
            }
        }
    }
    Ok(found)
}

fn term(term: Term) -> Box<dyn Question> {
    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
}

fn range_of(from: Term, to: Option<Term>) -> Box<dyn Question> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    Box::new(RangeQuery::new(Included(from), to.map_or(Unbounded, Excluded)))
}

/// Which filings are shown.
struct Filings<'r> {
    request: &'r Request,
    /// Who is meant by each `person:` of the query, in its order.
    people: Vec<BTreeSet<String>>,
    texts: crate::archive::read::Texts,
    /// Messages that are filed for those who are asked for: a bit for each number. One set for each question that must
    /// be answered with yes.
    of_people: Vec<Vec<u64>>,
}

impl<'r> Filings<'r> {
    fn of(reader: &Reader, request: &'r Request) -> Result<Filings<'r>> {
        let mut people: Vec<BTreeSet<String>> = Vec::new();
        let mut of_people = Vec::new();
        let mut known = None;
        for node in &request.query.filing {
            let mut asked = Vec::new();
            node.leaves(&mut |leaf| {
                if let Leaf::Person(text) = leaf {
                    asked.push(text.as_str());
                }
            });
            for text in asked {
                let known = match &mut known {
                    Some(known) => known,
                    none => none.insert(reader.people()?),
                };
                people.push(persons(known, text)?);
            }
            if let (Node::Leaf(Leaf::Person(_)), Some(named)) = (node, people.last()) {
                of_people.push(messages_of(reader, named)?);
            }
        }
        if let Some(person) = &request.filter.person {
            of_people.push(reader.messages_of(person)?);
        }
        Ok(Filings { request, people, texts: crate::archive::read::Texts::of(&request.filter), of_people })
    }

    fn may_have(&self, message: u64) -> bool {
        let bit =
            |bits: &Vec<u64>| bits.get((message / 64) as usize).is_some_and(|word| word >> (message % 64) & 1 == 1);
        self.of_people.iter().all(bit)
    }

    fn fit(&self, entry: &Entry) -> bool {
        let filter = &self.request.filter;
        let dated = |after: Option<jiff::Timestamp>, before: Option<jiff::Timestamp>| {
            let second = entry.date.map(|date| date.as_second());
            after.is_none_or(|after| second.is_some_and(|date| date >= after.as_second()))
                && before.is_none_or(|before| second.is_some_and(|date| date < before.as_second()))
        };
        let mut people = self.people.iter();
        filter.person.as_ref().is_none_or(|person| *person == entry.person)
            && filter.folder.is_none_or(|folder| folder == entry.folder)
            && dated(filter.after, filter.before)
            && self.texts.fit(entry)
            && self.request.query.filing.iter().all(|node| holds(node, entry, &mut people))
    }
}

/// The messages of any of them.
fn messages_of(reader: &Reader, people: &BTreeSet<String>) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for person in people {
        let some = reader.messages_of(person)?;
        if all.len() < some.len() {
            all.resize(some.len(), 0);
        }
        all.iter_mut().zip(some).for_each(|(all, some)| *all |= some);
    }
    Ok(all)
}

/// Visits every leaf, also when the answer is known: each `person:` takes its own set.
fn holds(node: &Node, entry: &Entry, people: &mut std::slice::Iter<'_, BTreeSet<String>>) -> bool {
    match node {
        Node::All(nodes) => nodes.iter().fold(true, |all, node| holds(node, entry, people) & all),
        Node::Any(nodes) => nodes.iter().fold(false, |any, node| holds(node, entry, people) | any),
        Node::Not(node) => !holds(node, entry, people),
        Node::Leaf(Leaf::In(folder)) => *folder == entry.folder,
        Node::Leaf(Leaf::Person(_)) => people.next().is_some_and(|set| set.contains(&entry.person)),
        Node::Leaf(_) => false,
    }
}

/// Who is meant: the one of this id or address, or else all in whose id, name or addresses the text is a part.
fn persons(known: &[crate::archive::PersonInfo], text: &str) -> Result<BTreeSet<String>> {
    let folded = text.to_lowercase();
    let exact =
        known.iter().find(|person| person.person.to_lowercase() == folded || person.addresses.contains(&folded));
    if let Some(person) = exact {
        return Ok(BTreeSet::from([person.person.clone()]));
    }
    let has = |text: &str| text.to_lowercase().contains(&folded);
    let found: BTreeSet<String> = known
        .iter()
        .filter(|one| has(&one.person) || one.name.as_deref().is_some_and(has) || one.addresses.iter().any(|a| has(a)))
        .map(|one| one.person.clone())
        .collect();
    if found.is_empty() {
        return Err(ArchiveError::new(ErrorKind::Unusable, format!("person:{text}: nobody here is called so"))
            .hint("`gatepost people` shows who has an archive"));
    }
    Ok(found)
}

/// Collects every message that fits.
struct Hits {
    scored: bool,
}

struct SegmentHits {
    message: Column<u64>,
    date: Column<i64>,
    hits: Vec<Hit>,
}

impl Collector for Hits {
    type Fruit = Vec<Hit>;
    type Child = SegmentHits;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentHits> {
        let fast = segment.fast_fields();
        Ok(SegmentHits { message: fast.u64("message")?, date: fast.i64("date")?, hits: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        self.scored
    }

    fn merge_fruits(&self, fruits: Vec<Vec<Hit>>) -> tantivy::Result<Vec<Hit>> {
        Ok(fruits.into_iter().flatten().collect())
    }
}

impl SegmentCollector for SegmentHits {
    type Fruit = Vec<Hit>;

    fn collect(&mut self, document: DocId, score: Score) {
        let Some(message) = self.message.first(document) else { return };
        let date = self.date.first(document);
        self.hits.push(Hit { message, date, score, seen_by_sender: false, seen_by_all: false });
    }

    fn harvest(self) -> Vec<Hit> {
        self.hits
    }
}

/// Collects the numbers of the messages.
pub struct Numbers;

pub struct SegmentNumbers(Column<u64>, Vec<u64>);

impl Collector for Numbers {
    type Fruit = Vec<u64>;
    type Child = SegmentNumbers;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentNumbers> {
        Ok(SegmentNumbers(segment.fast_fields().u64("message")?, Vec::new()))
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, fruits: Vec<Vec<u64>>) -> tantivy::Result<Vec<u64>> {
        Ok(fruits.into_iter().flatten().collect())
    }
}

impl SegmentCollector for SegmentNumbers {
    type Fruit = Vec<u64>;

    fn collect(&mut self, document: DocId, _: Score) {
        self.1.extend(self.0.first(document));
    }

    fn harvest(self) -> Vec<u64> {
        self.1
    }
}
