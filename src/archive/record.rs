//! What the packs say: the records' contents, as JSON on one line each. `FORMAT.md` §1.
//!
//! These structures are the format. A member is never renamed or given another meaning; new ones are
//! optional.

use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::frame::{FrameError, Kind};
use crate::base::digest::Digest;
use crate::mail::envelope::Envelope;
use crate::mail::regenerated::Regenerated;
use crate::mail::summary::Summary;

// One at a time is on its way from a payload to the catalogue; boxing would cost more than it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Record {
    Pack(PackRecord),
    Item(ItemRecord),
    Epoch(EpochRecord),
    Sighting(SightingRecord),
    Filing(FilingRecord),
    Union(UnionRecord),
    Withdraw(WithdrawRecord),
    Disposition(DispositionRecord),
    Deleted(DeletedRecord),
    Person(PersonRecord),
    Event(EventRecord),
    Commit(CommitRecord),
    Seal(SealRecord),
    Decode(DecodeRecord),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PackRecord {
    pub pack: u64,
    pub archive: uuid::Uuid,
    pub format: u32,
    /// The head before this pack's first batch.
    pub previous: Head,
    pub about: String,
}

/// Sequence number and hash of a commit: `SEQ:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub hash: Digest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ItemRecord {
    pub item: u64,
    pub sha256: Digest,
    pub size: u64,
    pub chunks: Vec<ChunkRef>,
    /// Where it came from; what the gateway said of it stands in the sighting.
    pub peer: String,
    pub fetched: Timestamp,
    /// The gateway put it together from its own store; what it keeps beside it. `None`: the bytes are those that
    /// came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regenerated: Option<Regenerated>,
    pub program: String,
    /// `None`: stored undecoded; `quarantine` says why.
    pub message: Option<StoredMessage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ChunkRef {
    pub sha256: Digest,
    pub bytes: u64,
}

impl ItemRecord {
    /// The item as the latest decoding says it is.
    pub fn decoded_anew(mut self, decode: DecodeRecord) -> ItemRecord {
        match decode.message {
            Some(message) => {
                self.message = Some(message);
                self.quarantine = None;
            }
            None => self.quarantine = Some(decode.because),
        }
        self
    }
}

/// An archived item decoded anew: one that was quarantined, or by a better decoder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecodeRecord {
    /// The item.
    pub decode: u64,
    /// `None`: it was quarantined and stays so; `because` is the reason now.
    pub message: Option<StoredMessage>,
    pub because: String,
    pub at: Timestamp,
}

/// The message in an item, as it was decoded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredMessage {
    #[serde(flatten)]
    pub summary: Summary,
    pub sha256: Digest,
    pub size: u64,
    pub range: Range<u64>,
    /// `identity`, `base64` or `quoted-printable`; the latter two with ` START..END` where the message is only these
    /// bytes of what the range decodes to.
    pub transfer: String,
    pub format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped_in: Option<String>,
    pub degraded: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    pub envelope: Envelope,
    pub canonical_version: u8,
    pub canonical: Digest,
    /// Version of the decoder.
    pub parser: u32,
    /// The domain of who wrote the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<String>,
    /// The rights-protected message beside its clear copy, which is the one above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Twin>,
}

/// Another message that lies in the same item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    pub range: Range<u64>,
    pub transfer: String,
    pub sha256: Digest,
    pub size: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochRecord {
    pub epoch: u64,
    pub kind: String,
    pub host: String,
    pub login: String,
    pub folder: String,
    pub validity: String,
    /// Counts identity spaces of the same name: a server restored with the same UIDVALIDITY and other
    /// mails starts a new one.
    pub generation: u32,
    pub since: Timestamp,
    /// Why it began.
    pub because: String,
}

/// A sighting with an item: its disposition is `archived`, `already_archived` or `quarantined`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SightingRecord {
    /// The native id.
    pub sighting: String,
    pub epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    pub size: u64,
    pub date: String,
    pub item: u64,
    pub disposition: Disposition,
    pub at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilingRecord {
    /// The item whose variant of the message is filed.
    pub filing: u64,
    pub filings: Vec<Filing>,
    /// Version of the filing rules.
    pub rules: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filing {
    pub person: String,
    pub folder: Folder,
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Folder {
    Inbox,
    Sent,
}

impl Folder {
    pub fn as_str(self) -> &'static str {
        match self {
            Folder::Inbox => "inbox",
            Folder::Sent => "sent",
        }
    }
}

impl std::str::FromStr for Folder {
    type Err = String;

    fn from_str(text: &str) -> Result<Folder, String> {
        match text.to_ascii_lowercase().as_str() {
            "inbox" => Ok(Folder::Inbox),
            "sent" => Ok(Folder::Sent),
            _ => Err("a folder is `inbox` or `sent`".into()),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnionRecord {
    /// The message that was there first; the item's own number: it stands for itself again.
    pub union: u64,
    pub item: u64,
    pub canonical_version: u8,
    pub canonical: Digest,
}

/// A filing taken back by re-filing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WithdrawRecord {
    pub withdraw: u64,
    pub person: String,
    pub folder: Folder,
    pub because: String,
}

/// What became of a sighting that has no item (yet).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DispositionRecord {
    pub disposition: Disposition,
    pub epoch: u64,
    pub sighting: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    pub size: u64,
    pub date: String,
    /// The gateway's words, or the rule.
    pub because: String,
    pub at: Timestamp,
    /// Of an excluded item: what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    Archived,
    AlreadyArchived,
    Quarantined,
    Unfetchable,
    Excluded,
    Vanished,
    Failed,
}

impl Disposition {
    pub fn as_str(self) -> &'static str {
        match self {
            Disposition::Archived => "archived",
            Disposition::AlreadyArchived => "already_archived",
            Disposition::Quarantined => "quarantined",
            Disposition::Unfetchable => "unfetchable",
            Disposition::Excluded => "excluded",
            Disposition::Vanished => "vanished",
            Disposition::Failed => "failed",
        }
    }

    pub fn from_name(name: &str) -> Option<Disposition> {
        [
            Disposition::Archived,
            Disposition::AlreadyArchived,
            Disposition::Quarantined,
            Disposition::Unfetchable,
            Disposition::Excluded,
            Disposition::Vanished,
            Disposition::Failed,
        ]
        .into_iter()
        .find(|disposition| disposition.as_str() == name)
    }

    /// The item's bytes are durable in the archive.
    pub fn is_stored(self) -> bool {
        match self {
            Disposition::Archived | Disposition::AlreadyArchived | Disposition::Quarantined => true,
            Disposition::Unfetchable | Disposition::Excluded | Disposition::Vanished | Disposition::Failed => false,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeletedRecord {
    /// Native ids.
    pub deleted: Vec<String>,
    pub epoch: u64,
    pub how: DeletedHow,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletedHow {
    /// gatepost deleted it and the gateway confirmed.
    Confirmed,
    /// It stands in the archive and was absent from a complete listing.
    Inferred,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRecord {
    pub person: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub addresses: Vec<String>,
    /// `config`, `csv`, `rule` …
    pub origin: String,
    /// What a directory knows this person by for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of those addresses that were not always this person's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenures: Vec<Tenure>,
    /// The archive that this one was joined to; it owns all addresses now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
}

/// From when and until when an address belongs to a person; `None`: without end on that side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tenure {
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRecord {
    /// `run`, `new-epoch`, `torn-tail` …
    pub event: String,
    pub at: Timestamp,
    /// The operating system's user, or `agent`.
    pub who: String,
    pub what: serde_json::Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommitRecord {
    pub commit: u64,
    pub hash: Digest,
    pub previous: Digest,
    /// Records in the batch, without this one.
    pub records: u64,
    pub batch: Digest,
    /// Exactly as it went into the hash.
    pub time: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SealRecord {
    pub seal: u64,
    /// Length and SHA-256 of everything before the index.
    pub bytes: u64,
    pub sha256: Digest,
    pub head: Head,
}

impl Record {
    pub fn kind(&self) -> Kind {
        match self {
            Record::Pack(_) => Kind::Pack,
            Record::Item(_) => Kind::Item,
            Record::Epoch(_) => Kind::Epoch,
            Record::Sighting(_) => Kind::Sighting,
            Record::Filing(_) => Kind::Filing,
            Record::Union(_) => Kind::Union,
            Record::Withdraw(_) => Kind::Withdraw,
            Record::Disposition(_) => Kind::Disposition,
            Record::Deleted(_) => Kind::Deleted,
            Record::Person(_) => Kind::Person,
            Record::Event(_) => Kind::Event,
            Record::Commit(_) => Kind::Commit,
            Record::Seal(_) => Kind::Seal,
            Record::Decode(_) => Kind::Decode,
        }
    }

    /// The payload: one line of JSON between two line feeds, so that it stands on a line of its own when
    /// a pack is printed.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut out = vec![b'\n'];
        let written = match self {
            Record::Pack(record) => serde_json::to_writer(&mut out, record),
            Record::Item(record) => serde_json::to_writer(&mut out, record),
            Record::Epoch(record) => serde_json::to_writer(&mut out, record),
            Record::Sighting(record) => serde_json::to_writer(&mut out, record),
            Record::Filing(record) => serde_json::to_writer(&mut out, record),
            Record::Union(record) => serde_json::to_writer(&mut out, record),
            Record::Withdraw(record) => serde_json::to_writer(&mut out, record),
            Record::Disposition(record) => serde_json::to_writer(&mut out, record),
            Record::Deleted(record) => serde_json::to_writer(&mut out, record),
            Record::Person(record) => serde_json::to_writer(&mut out, record),
            Record::Event(record) => serde_json::to_writer(&mut out, record),
            Record::Commit(record) => serde_json::to_writer(&mut out, record),
            Record::Seal(record) => serde_json::to_writer(&mut out, record),
            Record::Decode(record) => serde_json::to_writer(&mut out, record),
        };
        // reason: writing plain structures with string keys into a Vec cannot fail.
        written.expect("a record is always JSON");
        out.push(b'\n');
        out
    }

    /// Reads a payload of any kind but `chunk`.
    pub fn from_payload(kind: Kind, payload: &[u8]) -> Result<Record, FrameError> {
        fn read<'a, T: Deserialize<'a>>(kind: Kind, payload: &'a [u8]) -> Result<T, FrameError> {
            serde_json::from_slice(payload).map_err(|error| FrameError::Content(kind.name(), error.to_string()))
        }
        Ok(match kind {
            Kind::Pack => Record::Pack(read(kind, payload)?),
            Kind::Chunk => return Err(FrameError::Content("chunk", "not metadata".into())),
            Kind::Item => Record::Item(read(kind, payload)?),
            Kind::Epoch => Record::Epoch(read(kind, payload)?),
            Kind::Sighting => Record::Sighting(read(kind, payload)?),
            Kind::Filing => Record::Filing(read(kind, payload)?),
            Kind::Union => Record::Union(read(kind, payload)?),
            Kind::Withdraw => Record::Withdraw(read(kind, payload)?),
            Kind::Disposition => Record::Disposition(read(kind, payload)?),
            Kind::Deleted => Record::Deleted(read(kind, payload)?),
            Kind::Person => Record::Person(read(kind, payload)?),
            Kind::Event => Record::Event(read(kind, payload)?),
            Kind::Commit => Record::Commit(read(kind, payload)?),
            Kind::Seal => Record::Seal(read(kind, payload)?),
            Kind::Decode => Record::Decode(read(kind, payload)?),
        })
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Head, String> {
        let parsed = text
            .split_once(':')
            .and_then(|(seq, hash)| Some(Head { seq: seq.trim().parse().ok()?, hash: hash.trim().parse().ok()? }));
        parsed.ok_or_else(|| "a head is SEQ:HASH, a number and 64 hexadecimal digits".into())
    }
}

impl Serialize for Head {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Head, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
