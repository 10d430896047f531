//! PDF, read by a program of its own: what parses it may hang, use up memory or crash, and takes nothing with it.
//!
//! The program is gatepost again, with the hidden command [`COMMAND`]: the file on standard input, its text on standard
//! output, page by page. It limits itself before it reads ([`extract`] is what it runs then); here stand the limits from
//! outside: time, and bytes of text. Whatever happens, the text of the pages before it is kept.

use std::cell::RefCell;
use std::io::{self, Read as _, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pdf_extract::{Document, MediaBox, OutputDev, OutputError, PlainTextOutput, Transform};

use super::office::Outcome;
use crate::base::process::Group;

pub const COMMAND: &str = "extract-pdf";
/// For one file. The program's own limit is on processor time; a busy host may need longer.
const TIME_MAX: Duration = Duration::from_secs(20);

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Whole,
    /// Text beyond the limit, or pages that could not be read.
    Cut,
    Encrypted,
    Damaged,
}

impl Ended {
    pub fn code(self) -> u8 {
        match self {
            Ended::Whole => 0,
            Ended::Cut => 20,
            Ended::Encrypted => 21,
            Ended::Damaged => 22,
        }
    }

    fn of(status: ExitStatus) -> Option<Ended> {
        let all = [Ended::Whole, Ended::Cut, Ended::Encrypted, Ended::Damaged];
        all.into_iter().find(|ended| status.code() == Some(ended.code().into()))
    }
}

/// The words in a PDF; whether there were more. What it takes of time is taken from `time_left`.
pub fn read(program: &Path, pdf: &[u8], text_max: usize, time_left: &mut Duration) -> Outcome {
    if time_left.is_zero() {
        return Err("the PDFs of this mail took too long");
    }
    let start = Instant::now();
    let (text, ended) =
        run(program, pdf, text_max, TIME_MAX.min(*time_left)).map_err(|_| "it could not be read here")?;
    *time_left = time_left.saturating_sub(start.elapsed());
    let text = tidy(&text, text_max);
    match ended {
        Ok(Ended::Whole) => Ok((text, false)),
        _ if !text.is_empty() => Ok((text, true)),
        Ok(Ended::Cut) => Ok((text, true)),
        Ok(Ended::Encrypted) => Err("it is encrypted"),
        Ok(Ended::Damaged) => Err("it is damaged"),
        Err(why) => Err(why),
    }
}

type Ending = Result<Ended, &'static str>;

fn run(program: &Path, pdf: &[u8], text_max: usize, time_max: Duration) -> io::Result<(Vec<u8>, Ending)> {
    let mut command = Command::new(program);
    command.arg(COMMAND).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Nothing of Windows runs without it.
    #[cfg(windows)]
    command.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
    // It holds no folder that somebody may want to remove.
    #[cfg(unix)]
    command.current_dir("/");
    let end = Instant::now() + time_max;
    let mut group = Group::spawn(command)?;
    let (input, output) = (group.input(), group.output());
    std::thread::scope(|scope| {
        let (send, read) = channel();
        let threads = (|| {
            // A pipe has no time-out, and both directions must flow. Killing the program ends both threads.
            std::thread::Builder::new().spawn_scoped(scope, move || {
                // Who reads no further has read enough.
                let _ = input.map(|mut input| input.write_all(pdf));
            })?;
            std::thread::Builder::new().spawn_scoped(scope, move || {
                let mut text = Vec::new();
                // What was read before an error is what there is.
                let _ = output.map(|output| output.take(text_max as u64 + 1).read_to_end(&mut text));
                let _ = send.send(text);
            })
        })();
        if let Err(error) = threads {
            group.kill();
            return Err(error);
        }
        let left = || end.saturating_duration_since(Instant::now());
        let early = read.recv_timeout(left()).ok();
        let ending = match &early {
            None => Err("it took too long"),
            Some(text) if text.len() > text_max => Ok(Ended::Cut),
            Some(_) => wait(&mut group, end),
        };
        group.kill();
        let text = early.or_else(|| read.recv().ok()).unwrap_or_default();
        Ok((text, ending))
    })
}

/// Its output is closed, so that this is short.
fn wait(group: &mut Group, end: Instant) -> Ending {
    loop {
        match group.try_wait() {
            Ok(Some(status)) => return Ended::of(status).ok_or("it used up memory or time, or was not understood"),
            Ok(None) if Instant::now() >= end => return Err("it took too long"),
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return Err("it could not be followed"),
        }
    }
}

/// Letters that are drawn as one are two again, and empty lines are few.
fn tidy(text: &[u8], text_max: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() && (out.is_empty() || out.ends_with("\n\n")) {
            continue;
        }
        for c in line.chars() {
            match c {
                '\u{fb00}' => out.push_str("ff"),
                '\u{fb01}' => out.push_str("fi"),
                '\u{fb02}' => out.push_str("fl"),
                '\u{fb03}' => out.push_str("ffi"),
                '\u{fb04}' => out.push_str("ffl"),
                '\u{fb05}' | '\u{fb06}' => out.push_str("st"),
                '\0' | '\u{ad}' => {}
                c => out.push(c),
            }
        }
        out.push('\n');
    }
    out.truncate(out.floor_char_boundary(text_max));
    out.truncate(out.trim_end().len());
    out
}

/// What the program does: writes the text of the pages to `out`, each as soon as it is read. A page that the parser
/// panics on is passed over.
pub fn extract(pdf: &[u8], text_max: usize, out: &mut dyn Write) -> Ended {
    let Ok(loaded) = catch_unwind(|| Document::load_mem(pdf)) else { return Ended::Damaged };
    let Ok(mut document) = loaded else { return Ended::Damaged };
    if document.is_encrypted() {
        // Many are, with an empty password, only to forbid printing.
        match catch_unwind(AssertUnwindSafe(|| document.decrypt(""))) {
            Ok(Ok(())) => {}
            _ => return Ended::Encrypted,
        }
    }
    let sink = Rc::new(RefCell::new(Sink { out, left: text_max, is_over: false }));
    let at = Rc::new(RefCell::new(At::default()));
    let mut is_whole = true;
    let run = |page: Option<u32>| {
        let (sink, at) = (sink.clone(), at.clone());
        catch_unwind(AssertUnwindSafe(|| {
            let mut shared = Shared(sink.clone());
            let mut pages = Pages { text: PlainTextOutput::new(&mut shared as &mut dyn Write), sink, at };
            match page {
                None => pdf_extract::output_doc(&document, &mut pages),
                Some(page) => pdf_extract::output_doc_page(&document, &mut pages, page),
            }
        }))
    };
    // All in one: to find a page by its number, all before it are counted again.
    let mut outcome = run(None);
    let last = document.page_iter().count() as u32;
    while !matches!(outcome, Ok(Ok(()))) {
        is_whole = false;
        if sink.borrow().is_over {
            break;
        }
        let next = at.borrow().after_failure();
        if next > last {
            break;
        }
        at.replace(At { begun: next - 1, ended: next - 1 });
        outcome = run(Some(next));
        if matches!(outcome, Ok(Ok(()))) && next < last {
            // One page went well; the next one has its turn.
            at.replace(At { begun: next, ended: next });
            outcome = Ok(Err(OutputError::FormatError(std::fmt::Error)));
        }
    }
    let is_empty = sink.borrow().left == text_max;
    match (is_whole, is_empty) {
        (true, _) => Ended::Whole,
        (false, false) => Ended::Cut,
        (false, true) => Ended::Damaged,
    }
}

/// The pages that were begun and ended.
#[derive(Clone, Copy, Default)]
struct At {
    begun: u32,
    ended: u32,
}

impl At {
    /// The page behind the one that failed, which may have done so before it began.
    fn after_failure(self) -> u32 {
        if self.begun > self.ended { self.begun + 1 } else { self.ended + 2 }
    }
}

struct Sink<'a> {
    out: &'a mut dyn Write,
    left: usize,
    is_over: bool,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = bytes.len().min(self.left);
        let written = self.out.write_all(&bytes[..taken]);
        self.left -= taken;
        if taken < bytes.len() || written.is_err() {
            self.is_over = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }
}

struct Shared<'a>(Rc<RefCell<Sink<'a>>>);

impl Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pages<'a, 's> {
    text: PlainTextOutput<&'a mut dyn Write>,
    sink: Rc<RefCell<Sink<'s>>>,
    at: Rc<RefCell<At>>,
}

impl OutputDev for Pages<'_, '_> {
    fn begin_page(
        &mut self,
        page: u32,
        media_box: &MediaBox,
        art_box: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        self.at.borrow_mut().begun = page;
        self.text.begin_page(page, media_box, art_box)
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        let mut at = self.at.borrow_mut();
        at.ended = at.begun;
        let mut sink = self.sink.borrow_mut();
        sink.put(b"\n\n")?;
        sink.out.flush()?;
        Ok(())
    }

    fn output_character(
        &mut self,
        transform: &Transform,
        width: f64,
        spacing: f64,
        font_size: f64,
        character: &str,
    ) -> Result<(), OutputError> {
        self.text.output_character(transform, width, spacing, font_size, character)
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        self.text.begin_word()
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        self.text.end_word()
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        self.text.end_line()
    }
}
