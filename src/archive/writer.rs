//! The archive's writer: one thread that owns all writing, and the handle by which others reach it.
//!
//! Group commit: a batch closes when it is full, when it is old, or when nothing came in for a moment; its
//! answers go out together. After an error the thread ends and everything that was not answered counts as
//! not archived.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::core::{Core, Submission};
use super::encode::{KnownChunks, PreparedChunk};
use super::error::{ArchiveError, ErrorKind, Result};
use super::recover::OpenOptions;

/// Something to be done on the writer's thread.
type Job = Box<dyn FnOnce(&mut Core) -> Result<()> + Send>;

enum Command {
    Submit(Box<Submission>),
    /// A chunk of an item that is too large to be handed over whole. The batch stays open until its item
    /// follows. The sender waits for the answer, which bounds what is under way.
    Chunk(PreparedChunk, Sender<()>),
    /// The item of the chunks before will not come.
    GiveUp,
    Call(Job),
}

/// The writer's thread. Ends when all handles are gone or after an error.
pub struct Writer {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    ended: Arc<OnceLock<ArchiveError>>,
    known: KnownChunks,
    spool: std::path::PathBuf,
}

impl Writer {
    /// Opens the archive (`FORMAT.md` §6) and starts the thread. The strings say what was mended.
    pub fn open(options: OpenOptions) -> Result<(Writer, Vec<String>)> {
        let spool = options.layout.spool();
        let (core, mended) = Core::open(options)?;
        let (commands, receiver) = std::sync::mpsc::channel();
        let ended = Arc::new(OnceLock::new());
        let handle = Handle { commands, ended: ended.clone(), known: core.known.clone(), spool };
        let thread = std::thread::Builder::new()
            .name("archive-writer".into())
            .spawn(move || run(core, &receiver, &ended))
            .map_err(|error| ArchiveError::new(ErrorKind::Failed, format!("cannot start a thread: {error}")))?;
        Ok((Writer { handle, thread: Some(thread) }, mended))
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until everything is committed and the lock is given back. All other handles must be gone.
    pub fn finish(mut self) -> Result<()> {
        let Handle { commands, ended, .. } = self.handle;
        drop(commands);
        if let Some(thread) = self.thread.take() {
            // A panic in the writer is an error like any other: nothing of its batch was acknowledged.
            if thread.join().is_err() {
                return Err(ended_by_panic());
            }
        }
        match ended.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Handle {
    pub fn known(&self) -> &KnownChunks {
        &self.known
    }

    pub fn spool(&self) -> &std::path::Path {
        &self.spool
    }

    /// Why the writer ended, if it did.
    pub fn ended(&self) -> Option<ArchiveError> {
        self.ended.get().cloned()
    }

    fn gone(&self) -> ArchiveError {
        self.ended.get().cloned().unwrap_or_else(ended_by_panic)
    }

    pub fn submit(&self, submission: Submission) -> Result<()> {
        self.commands.send(Command::Submit(Box::new(submission))).map_err(|_| self.gone())
    }

    /// Hands a chunk over and waits until it is written.
    pub fn chunk(&self, chunk: PreparedChunk) -> Result<()> {
        let (done, wait) = std::sync::mpsc::channel();
        self.commands.send(Command::Chunk(chunk, done)).map_err(|_| self.gone())?;
        wait.recv().map_err(|_| self.gone())
    }

    pub fn give_up_chunks(&self) {
        // When the writer is gone there is nothing to give up.
        let _ = self.commands.send(Command::GiveUp);
    }

    /// Runs `job` on the writer's thread, where it sees everything that was submitted before.
    pub async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        let command = Command::Call(Box::new(move |core| {
            let result = job(core);
            let failed = result.as_ref().err().cloned();
            // The caller may have gone away; its job is done all the same.
            let _ = answer.send(result);
            failed.map_or(Ok(()), Err)
        }));
        self.commands.send(command).map_err(|_| self.gone())?;
        wait.await.map_err(|_| self.gone())?
    }

    /// Closes the open batch now.
    pub async fn commit(&self) -> Result<super::record::Head> {
        self.call(|core| {
            core.close()?;
            Ok(core.head())
        })
        .await
    }
}

fn ended_by_panic() -> ArchiveError {
    ArchiveError::new(ErrorKind::Failed, "the archive's writer ended unexpectedly")
        .hint("this is a defect of gatepost; nothing was lost, what was not acknowledged is fetched again")
}

fn run(mut core: Core, commands: &Receiver<Command>, ended: &OnceLock<ArchiveError>) {
    // A panic must not end the thread without a word: others would wait for its answers.
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve(&mut core, commands)));
    if let Err(error) = served.unwrap_or_else(|_| Err(ended_by_panic())) {
        core.abandon();
        // Set before the channel closes, so that whoever finds it closed finds the reason.
        let _ = ended.set(error);
    }
}

fn serve(core: &mut Core, commands: &Receiver<Command>) -> Result<()> {
    // Items whose chunks are coming in one by one; their batch is not closed in between.
    let mut streaming = false;
    loop {
        let command = match &core.batch {
            None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(batch) => {
                let age = batch.opened.elapsed();
                let left = core.limits.batch_age_max.saturating_sub(age);
                commands.recv_timeout(core.limits.idle.min(left))
            }
        };
        match command {
            Ok(Command::Submit(submission)) => {
                streaming = false;
                core.submit(*submission)?;
            }
            Ok(Command::Chunk(chunk, done)) => {
                streaming = true;
                core.chunk(&chunk)?;
                // The sender waits; it cannot be gone.
                let _ = done.send(());
            }
            Ok(Command::GiveUp) => streaming = false,
            Ok(Command::Call(job)) => job(core)?,
            Err(RecvTimeoutError::Timeout) if streaming => {}
            Err(RecvTimeoutError::Timeout) => core.close()?,
            Err(RecvTimeoutError::Disconnected) => return core.close(),
        }
        let old = core.batch.as_ref().is_some_and(|batch| batch.opened.elapsed() >= core.limits.batch_age_max);
        if !streaming && (core.batch_is_full() || old) {
            core.close()?;
        }
    }
}
