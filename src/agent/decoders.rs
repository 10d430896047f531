//! The decoders: threads that turn fetched bytes into submissions to the archive.
//!
//! Decoding and routing are pure; what is stateful here is the guard around them and the hand-over. Each
//! item that goes in gets exactly one answer: [`Committed`] from the archive, or an error when it cannot even be
//! submitted. When the archive's writer ends, neither comes: whoever waits looks at [`Handle::ended`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::guard::{Care, Guard};
use super::place::Placed;
use super::route;
use super::rules::{self, Rules};
use crate::archive::{
    ArchiveError, Committed, Encoder, ErrorKind, Handle, Outcome, Seen, StoredMessage, Submission, Twin, prepare,
    sha256,
};
use crate::base::bytes::ByteSource;
use crate::base::digest::Digest;
use crate::journal::{Decoded, Format, Original, Transfer};
use crate::mail::regenerated::Regenerated;
use crate::sources::ItemBytes;

/// Version of the decoder; recorded with each item.
pub const PARSER: u32 = 4;

/// An item on its way from the gateway to the archive.
pub struct Work {
    pub seen: Seen,
    pub bytes: ItemBytes,
    /// Of the bytes, where it is known already.
    pub sha256: Option<Digest>,
    /// It is imported, and filed as the operator says.
    pub placed: Option<Placed>,
    pub peer: String,
    pub fetched: Timestamp,
    pub rules: Arc<Rules>,
    pub reply: UnboundedSender<Committed>,
    /// Told when the item cannot even be submitted.
    pub failed: UnboundedSender<ArchiveError>,
    /// Told what was found in the item.
    pub notes: UnboundedSender<Note>,
}

/// What a run's report counts of a decoded item, beside what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// More people would have been created than one item may.
    pub capped: bool,
    /// A journal report that cannot be believed or read; it was filed by headers alone.
    pub suspect: bool,
    /// A report of any format, not a plain copy.
    pub is_report: bool,
    /// Nobody noted its envelope: it was filed by its own headers.
    pub degraded: bool,
    pub content_lost: bool,
    /// The policy that left it out.
    pub excluded: Option<String>,
}

impl Note {
    pub fn of(decoded: &Decoded, routing: &route::Routing) -> Note {
        Note {
            capped: routing.capped,
            suspect: routing.suspect,
            is_report: decoded.format != Format::Plain,
            degraded: decoded.degraded,
            excluded: routing.excluded.clone(),
            content_lost: decoded.flags.iter().any(|flag| flag == crate::journal::flags::CONTENT_LOST),
        }
    }
}

pub struct Decoders {
    work: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Decoders {
    pub fn start(count: usize, archive: &Handle, guard: &Arc<Guard>) -> std::io::Result<Decoders> {
        let (work, receiver) = std::sync::mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::new();
        for slot in 0..count {
            let (receiver, archive, guard) = (receiver.clone(), archive.clone(), guard.clone());
            // A deep stack: decoders do not recurse on input, and if one ever does, it gets far.
            let builder = std::thread::Builder::new().name(format!("decoder-{slot}")).stack_size(8 * 1024 * 1024);
            threads.push(builder.spawn(move || serve(slot, &receiver, &archive, &guard))?);
        }
        Ok(Decoders { work: Some(work), threads })
    }

    /// Never blocks: what is under way is bounded by the window that the item's bytes hold a share of.
    pub fn submit(&self, work: Work) -> Result<(), ArchiveError> {
        let gone = || ArchiveError::new(ErrorKind::Failed, "the decoders have ended");
        self.work.as_ref().ok_or_else(gone)?.send(work).map_err(|_| gone())
    }
}

impl Drop for Decoders {
    fn drop(&mut self) {
        self.work = None;
        for thread in self.threads.drain(..) {
            // A decoder catches its panics; there is nothing to learn from how it ended.
            let _ = thread.join();
        }
    }
}

fn serve(slot: usize, work: &Mutex<Receiver<Work>>, archive: &Handle, guard: &Guard) {
    let lock = || work.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // The encoder's working memory goes with the burst that needed it: an idle agent is small.
    let mut encoder = None;
    loop {
        // Not to be had at once: there is nothing to do, or another one waits for it already.
        let at_once = work.try_lock().ok().and_then(|receiver| receiver.try_recv().ok());
        let next = match at_once {
            Some(work) => Ok(work),
            None => {
                encoder = None;
                lock().recv()
            }
        };
        let Ok(work) = next else { return };
        let failed = work.failed.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut ready = match encoder.take() {
                Some(ready) => ready,
                None => Encoder::new().map_err(|error| {
                    ArchiveError::new(ErrorKind::Failed, format!("cannot prepare to compress: {error}"))
                })?,
            };
            let done = one(slot, work, archive, guard, &mut ready);
            encoder = Some(ready);
            done
        }));
        let error = match result {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(_) => ArchiveError::new(ErrorKind::Failed, "an item could not be prepared for the archive")
                .hint("this is a defect of gatepost; the item stays on the gateway"),
        };
        // Nobody listens any more when the cycle was cut short.
        let _ = failed.send(error);
    }
}

fn one(slot: usize, work: Work, archive: &Handle, guard: &Guard, encoder: &mut Encoder) -> Result<(), ArchiveError> {
    let Work { seen, bytes, sha256: known, placed, peer, fetched, rules, reply, failed: _, notes } = work;
    let io = |error: std::io::Error| ArchiveError::of_io(format!("cannot read a fetched item: {error}"), &error);
    let noting =
        |error: std::io::Error| ArchiveError::of_io(format!("cannot note which item is decoded: {error}"), &error);
    let digest = match known {
        Some(digest) => digest,
        None => sha256(&bytes).map_err(io)?,
    };
    let care = guard.care(&seen);
    let beside = bytes.regenerated().cloned();
    let decoded = decode(slot, guard, care, &seen, &bytes, beside.as_ref(), &rules).map_err(noting)?;
    let (leaves, outcome) = match decoded {
        Ok(decoded) => {
            let at = rules::dated(&seen.date).unwrap_or(fetched);
            let routing = match &placed {
                Some(placed) => placed.route(&decoded, &rules, at),
                None => rules.route(&decoded, at),
            };
            // Nobody listens any more when the cycle was cut short.
            let _ = notes.send(Note::of(&decoded, &routing));
            let outcome = match routing.excluded {
                Some(rule) => Outcome::Exclude { rule, mark: rules.mark(), envelope: decoded.envelope.clone() },
                None => Outcome::Message {
                    message: Box::new(StoredMessage { flags: routing.flags_of(&decoded), ..stored(&decoded) }),
                    filings: routing.filings,
                    people: routing.people,
                    rules: route::RULES,
                },
            };
            (decoded.leaves, outcome)
        }
        Err(because) => (Vec::new(), Outcome::Quarantine { because }),
    };
    let is_large = bytes.as_slice().is_none();
    let mut hand_over = |chunk| archive.chunk(chunk);
    let item = match &outcome {
        // Not archived: its bytes are not even cut.
        Outcome::Exclude { .. } => {
            crate::archive::PreparedItem { sha256: digest, size: bytes.len(), chunks: Vec::new() }
        }
        Outcome::Message { .. } | Outcome::Quarantine { .. } => {
            let stream: Option<&mut dyn FnMut(_) -> _> = if is_large { Some(&mut hand_over) } else { None };
            prepare(&bytes, digest, &leaves, archive.known(), encoder, stream)
                .inspect_err(|_| archive.give_up_chunks())?
        }
    };
    // The bytes go; their share of the window stays taken until the archive wrote them.
    let hold: Box<dyn Send> = Box::new(bytes.into_permit());
    if care == Care::Alone {
        guard.settled(&seen).map_err(noting)?;
    }
    archive.submit(Submission { seen, peer, fetched, item, regenerated: beside, outcome, reply, hold: Some(hold) })
}

/// Decodes an item with a note of it on the disk. The inner error is why it is to be quarantined.
pub fn decode(
    slot: usize,
    guard: &Guard,
    care: Care,
    seen: &Seen,
    bytes: &dyn ByteSource,
    beside: Option<&Regenerated>,
    rules: &Rules,
) -> std::io::Result<Result<Decoded, String>> {
    match care {
        Care::Ordinary | Care::Alone => guard.watch(slot, seen, care, || {
            told_to_abort(bytes);
            rules.decode_beside(bytes, beside).map_err(|error| error.to_string())
        }),
        Care::Undecoded => Ok(Err("gatepost ended twice while it decoded this item".into())),
    }
}

/// For crash tests of the whole program: an item that holds this text ends the process.
fn told_to_abort(bytes: &dyn ByteSource) {
    static MARK: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let mark =
        MARK.get_or_init(|| std::env::var("GATEPOST_FAULT").ok()?.strip_prefix("abort-decode:").map(str::to_owned));
    if let (Some(mark), Some(all)) = (mark, bytes.as_slice())
        && !mark.is_empty()
        && all.windows(mark.len()).any(|window| window == mark.as_bytes())
    {
        std::process::abort();
    }
}

pub fn stored(decoded: &Decoded) -> StoredMessage {
    StoredMessage {
        summary: decoded.summary.clone(),
        sha256: decoded.original.sha256,
        size: decoded.original.size,
        range: decoded.original.range.clone(),
        transfer: transfer_name(&decoded.original),
        format: decoded.format.as_str().into(),
        wrapped_in: decoded.wrapped_in.clone(),
        degraded: decoded.degraded,
        flags: decoded.flags.clone(),
        envelope: decoded.envelope.clone(),
        canonical_version: decoded.canonical.version,
        canonical: decoded.canonical.digest,
        parser: PARSER,
        reporter: decoded.reporter.clone(),
        twin: decoded.twin.as_ref().map(|twin| Twin {
            range: twin.range.clone(),
            transfer: transfer_name(twin),
            sha256: twin.sha256,
            size: twin.size,
        }),
    }
}

fn transfer_name(original: &Original) -> String {
    let name = match original.transfer {
        Transfer::Identity => "identity",
        Transfer::Base64 => "base64",
        Transfer::QuotedPrintable => "quoted-printable",
    };
    match &original.inside {
        Some(inside) => format!("{name} {}..{}", inside.start, inside.end),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::transfer::{Encoding, decode as decoded};

    #[test]
    fn where_an_original_lies_in_an_encoded_bounce() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/journal/ndr-report-base64.eml");
        let item = std::fs::read(path).unwrap();
        let message = stored(&crate::journal::decode(&item, &crate::journal::DecodeOptions::default()).unwrap());
        let inside = message.transfer.strip_prefix("base64 ").unwrap();
        let (start, end) = inside.split_once("..").unwrap();
        let coded = &item[message.range.start as usize..message.range.end as usize];
        let report = decoded(Encoding::Base64, coded);
        let original = &report[start.parse().unwrap()..end.parse().unwrap()];
        assert!(original.starts_with(b"From: Alice A"), "{}", String::from_utf8_lossy(original));
        assert_eq!((message.sha256, message.size), (Digest::of(original), original.len() as u64));
        assert_eq!(message.wrapped_in.as_deref(), Some("ndr"));
    }
}
