//! Where the bytes of a body go: memory, a spool file, or nowhere when it is larger than allowed.

use std::fs::File;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::base::bytes::{SpoolFile, WINDOW};
use crate::sources::{Intake, ItemBytes};

/// A body that arrived completely.
pub(in crate::sources::imap) struct Diverted {
    pub(super) token: String,
    pub content: Content,
}

pub(in crate::sources::imap) enum Content {
    Bytes(ItemBytes),
    /// It was longer than an item may be: its bytes were read and thrown away, so that the connection
    /// stays usable for the items behind it.
    TooLong {
        bytes: u64,
    },
}

pub(super) type Opening = Pin<Box<dyn Future<Output = io::Result<Sink>> + Send>>;

/// Waits for room and opens the place for a body of `bytes`.
pub(super) async fn open(intake: Intake, bytes: u64) -> io::Result<Sink> {
    if bytes > intake.item_bytes_max {
        let place = Place::Nowhere { scratch: vec![0; 64 * 1024] };
        return Ok(Sink { place, bytes, filled: 0, permit: None });
    }
    let permit = intake.room(bytes).await;
    let place = match usize::try_from(bytes) {
        Ok(n) if n <= intake.memory_item_bytes_max => Place::Memory(vec![0; n]),
        _ => {
            let file = tempfile::tempfile_in(&intake.spool_dir)?;
            Place::Spool { file: Some(file), chunk: vec![0; WINDOW], used: 0, writing: None }
        }
    };
    Ok(Sink { place, bytes, filled: 0, permit })
}

pub(super) struct Sink {
    place: Place,
    bytes: u64,
    filled: u64,
    permit: Option<OwnedSemaphorePermit>,
}

/// The file and the chunk come back from the thread that wrote.
type Written = io::Result<(File, Vec<u8>)>;

enum Place {
    Memory(Vec<u8>),
    Spool {
        /// `None` while a chunk is being written.
        file: Option<File>,
        chunk: Vec<u8>,
        used: usize,
        writing: Option<JoinHandle<Written>>,
    },
    Nowhere {
        scratch: Vec<u8>,
    },
}

impl Sink {
    /// Ready when [`Sink::space`] may be used (`false`), or when all bytes are in their place (`true`).
    /// A full chunk is written on a thread for such work: a slow disk must not stop the other profiles.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let complete = self.filled == self.bytes;
        if let Place::Spool { file, chunk, used, writing } = &mut self.place {
            if *used > 0
                && (*used == chunk.len() || complete)
                && writing.is_none()
                && let Some(mut file) = file.take()
            {
                let (chunk, n) = (std::mem::take(chunk), *used);
                *writing = Some(tokio::task::spawn_blocking(move || {
                    file.write_all(&chunk[..n])?;
                    Ok((file, chunk))
                }));
            }
            if let Some(task) = writing {
                let written = ready!(Pin::new(task).poll(cx)).map_err(io::Error::other)?;
                *writing = None;
                let (same_file, same_chunk) = written?;
                (*file, *chunk, *used) = (Some(same_file), same_chunk, 0);
            }
        }
        Poll::Ready(Ok(complete))
    }

    /// Room for the next bytes; never more than are missing.
    pub fn space(&mut self) -> &mut [u8] {
        let missing = self.bytes - self.filled;
        let fit = |n: usize| n.min(usize::try_from(missing).unwrap_or(usize::MAX));
        match &mut self.place {
            Place::Memory(bytes) => &mut bytes[self.filled as usize..],
            Place::Spool { chunk, used, .. } => {
                let n = fit(chunk.len() - *used);
                &mut chunk[*used..*used + n]
            }
            Place::Nowhere { scratch } => {
                let n = fit(scratch.len());
                &mut scratch[..n]
            }
        }
    }

    pub fn advance(&mut self, n: usize) {
        self.filled += n as u64;
        if let Place::Spool { used, .. } = &mut self.place {
            *used += n;
        }
    }

    /// Only after [`Sink::poll_settled`] said that all bytes are there.
    pub fn finish(self, token: String) -> Diverted {
        debug_assert_eq!(self.filled, self.bytes);
        let content = match self.place {
            Place::Memory(bytes) => Content::Bytes(ItemBytes::memory(bytes, self.permit)),
            Place::Spool { file: Some(file), .. } => {
                Content::Bytes(ItemBytes::spool(SpoolFile::new(file, self.bytes), self.permit))
            }
            // A file that is missing here is being written, which a settled sink does not do.
            Place::Spool { file: None, .. } | Place::Nowhere { .. } => Content::TooLong { bytes: self.bytes },
        };
        Diverted { token, content }
    }
}
