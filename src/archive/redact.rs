//! Taking `Bcc` out of a message that is shown to somebody else than its sender.
//!
//! Byte for byte: nothing but whole `Bcc` and `Resent-Bcc` fields of the message's own header goes. Must
//! never let one through because a header is unusual: what cannot be told is an error.

use std::io::{self, Write};

use crate::mail::header::without_bcc;

/// Longest header that is looked through.
const HEADER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the header ends, its empty line included.
fn header_end(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.starts_with(b"\n") {
        return Some(1);
    }
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    let mut at = from;
    while let Some(found) = bytes.get(at..)?.iter().position(|byte| *byte == b'\n') {
        let next = at + found + 1;
        match bytes.get(next..)? {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

/// Writes an item's original message without its `Bcc` fields; true when there were any.
pub fn write_without_bcc(reader: &super::Reader, item: u64, out: &mut dyn Write) -> super::Result<bool> {
    let mut filter = WithoutBcc::new(out);
    reader.original_bytes(item, &mut filter)?;
    let (_, redacted) = filter.finish().map_err(|error| {
        super::ArchiveError::new(super::ErrorKind::Failed, format!("cannot pass the message on: {error}"))
    })?;
    Ok(redacted)
}

/// The same for the rights-protected message beside it, whose header is as open.
pub fn write_twin_without_bcc(reader: &super::Reader, item: u64, out: &mut dyn Write) -> super::Result<bool> {
    let mut filter = WithoutBcc::new(out);
    reader.twin_bytes(item, &mut filter)?;
    let (_, redacted) = filter.finish().map_err(|error| {
        super::ArchiveError::new(super::ErrorKind::Failed, format!("cannot pass the message on: {error}"))
    })?;
    Ok(redacted)
}

/// Passes a message on without its `Bcc` fields; only the header is held.
pub(super) struct WithoutBcc<W: Write> {
    out: W,
    /// `None` once the header was passed on.
    header: Option<Vec<u8>>,
    searched: usize,
    redacted: bool,
}

impl<W: Write> WithoutBcc<W> {
    pub(super) fn new(out: W) -> WithoutBcc<W> {
        WithoutBcc { out, header: Some(Vec::new()), searched: 0, redacted: false }
    }

    fn pass_header(&mut self, end: usize) -> io::Result<()> {
        let Some(held) = self.header.take() else { return Ok(()) };
        match without_bcc(&held[..end]) {
            Some(kept) => {
                self.redacted = true;
                self.out.write_all(&kept)?;
            }
            None => self.out.write_all(&held[..end])?,
        }
        self.out.write_all(&held[end..])
    }

    /// A header without an end is passed on now. Gives the output back, and whether a field was removed.
    pub(super) fn finish(mut self) -> io::Result<(W, bool)> {
        let end = self.header.as_ref().map_or(0, Vec::len);
        self.pass_header(end)?;
        Ok((self.out, self.redacted))
    }
}

impl<W: Write> Write for WithoutBcc<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(held) = &mut self.header else {
            self.out.write_all(bytes)?;
            return Ok(bytes.len());
        };
        held.extend_from_slice(bytes);
        // The last bytes seen may begin an empty line that goes on in these.
        if let Some(end) = header_end(held, self.searched.saturating_sub(3)) {
            self.pass_header(end)?;
        } else if held.len() > HEADER_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its header does not end within 16 MiB, so that a Bcc cannot be ruled out (--envelope exports it)",
            ));
        } else {
            self.searched = held.len();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(message: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let mut filter = WithoutBcc::new(Vec::new());
        for part in message.chunks(piece) {
            filter.write_all(part).unwrap();
        }
        filter.finish().unwrap()
    }

    #[test]
    fn only_the_fields_go_and_nothing_else() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"From: a\r\nBcc: x@y\r\n\tz@y\r\nTo: b\r\n\r\nBcc: body\r\n", b"From: a\r\nTo: b\r\n\r\nBcc: body\r\n"),
            (b"bCC : x\nA: 1\nRESENT-BCC:\n y\n\nBcc: body", b"A: 1\n\nBcc: body"),
            (b"X-Bcc: 1\r\nBccx: 2\r\nTo: Bcc: x\r\n\r\n", b"X-Bcc: 1\r\nBccx: 2\r\nTo: Bcc: x\r\n\r\n"),
            (b"\r\nBcc: body", b"\r\nBcc: body"),
            (b"\nBcc: body", b"\nBcc: body"),
            (b"A: 1\r\nBcc: no end", b"A: 1\r\n"),
            (b"Bcc: 1\r\n \r\n 2\r\nTo: x\r\n\r\nb", b"To: x\r\n\r\nb"),
            (b"Subject: s\r\n Bcc: folded\r\n\r\n", b"Subject: s\r\n Bcc: folded\r\n\r\n"),
        ];
        for (message, expected) in cases {
            for piece in [1, 2, 3, 7, 1000] {
                let (out, redacted) = through(message, piece);
                let text = String::from_utf8_lossy(message);
                assert_eq!(out, expected, "{text:?} in pieces of {piece}");
                assert_eq!(redacted, message != expected, "{text:?}");
            }
        }
    }

    #[test]
    fn a_header_without_end_is_an_error_and_not_a_leak() {
        let mut filter = WithoutBcc::new(Vec::new());
        let line = [b"X: ".as_slice(), &[b'a'; 1 << 20], b"\r\n"].concat();
        let error = (0..20).find_map(|_| filter.write_all(&line).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(filter.out.is_empty());
    }
}
