//! Where a mail goes while it arrives. POP3 and EWS do not say how long it will be, so it begins in memory and moves to
//! a spool file when it outgrows that; what is longer than an item may be is read and thrown away, so that the
//! connection stays usable for what is behind it.

use std::fs::File;
use std::io::{self, Write as _};

use tokio::sync::OwnedSemaphorePermit;

use crate::base::bytes::{SpoolFile, WINDOW};
use crate::sources::{Intake, ItemBytes};

pub(super) struct Sink {
    /// What is not written yet.
    held: Vec<u8>,
    file: Option<File>,
    total: u64,
    memory_max: usize,
    total_max: u64,
    intake: Intake,
    announced: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl Sink {
    /// Waits for room; `announced` is what the listing says.
    pub async fn new(intake: &Intake, announced: u64) -> Sink {
        let permit = intake.room(announced).await;
        Sink {
            held: Vec::with_capacity(announced.min(intake.memory_item_bytes_max as u64) as usize),
            file: None,
            total: 0,
            memory_max: intake.memory_item_bytes_max,
            total_max: intake.item_bytes_max,
            intake: intake.clone(),
            announced,
            permit,
        }
    }

    /// Takes the next bytes; [`Sink::settle`] follows.
    pub fn put(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if self.total <= self.total_max {
            self.held.extend_from_slice(bytes);
        } else {
            (self.held, self.file) = (Vec::new(), None);
        }
    }

    /// Moves to a file what is too much for memory, on a thread for such work: a slow disk must not stop others.
    pub async fn settle(&mut self) -> io::Result<()> {
        let most = if self.file.is_some() { WINDOW } else { self.memory_max };
        if self.held.len() > most { self.spill().await } else { Ok(()) }
    }

    async fn spill(&mut self) -> io::Result<()> {
        let (file, held, folder) = (self.file.take(), std::mem::take(&mut self.held), self.intake.spool_dir.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => tempfile::tempfile_in(folder)?,
            };
            file.write_all(&held)?;
            Ok::<File, io::Error>(file)
        });
        self.file = Some(writing.await.map_err(io::Error::other)??);
        Ok(())
    }

    /// `Err`: it was longer than an item may be; so many bytes.
    pub async fn finish(mut self) -> io::Result<Result<ItemBytes, u64>> {
        if self.total > self.total_max {
            return Ok(Err(self.total));
        }
        if self.file.is_some() && !self.held.is_empty() {
            self.spill().await?;
        }
        if self.total > self.announced {
            // What is announced is the server's word; the window is filled by what came. The share is given back first:
            // whoever holds one while it waits for a larger one may wait for itself.
            self.permit = None;
            self.permit = self.intake.room(self.total).await;
        }
        Ok(Ok(match self.file {
            Some(file) => ItemBytes::spool(SpoolFile::new(file, self.total), self.permit),
            None => ItemBytes::memory(self.held, self.permit),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mail_that_is_longer_than_announced_takes_its_real_share_of_the_window() {
        let window = 8 * 1024 * 1024;
        let intake = Intake::new(window, std::env::temp_dir());
        for (announced, length, share) in [(1, 500_000, 500_000), (0, 3_000_000, window / 4), (500_000, 10, 500_000)] {
            let mut sink = Sink::new(&intake, announced).await;
            for piece in vec![b'x'; length].chunks(64 * 1024) {
                sink.put(piece);
                sink.settle().await.unwrap();
            }
            let item = sink.finish().await.unwrap().unwrap();
            assert_eq!(window - intake.free(), share, "{announced} announced, {length} came");
            drop(item);
            assert_eq!(intake.free(), window);
        }
    }
}
