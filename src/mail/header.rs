//! Header fields as raw bytes: where each one lies, under which name, and how it is unfolded.
//!
//! Nothing is decoded here and nothing is lost: values are slices of the block. Time is linear in the
//! block, however it is folded; lines that are no field are passed over.

use memchr::memchr;

/// More fields than this are not indexed by [`Headers`]; mail of people has about a hundred.
pub const FIELDS_MAX: usize = 50_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a [u8],
    /// After the colon, folded as it is, without the last line break.
    pub value: &'a [u8],
    /// Where the field with all of its lines lies in the block.
    pub start: usize,
    pub end: usize,
}

impl<'a> Field<'a> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value on one line, each run of white space as one space, none around it.
    pub fn one_line(&self) -> Vec<u8> {
        one_line(self.value)
    }
}

/// Each run of white space (folding included) as one space, none around the text.
pub fn one_line(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for word in value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    out
}

/// The fields of a header block, up to its empty line or its end.
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { block, at: 0 }
}

pub struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// The end of the line at `at`, line break included.
    fn line_end(&self, at: usize) -> usize {
        memchr(b'\n', &self.block[at..]).map_or(self.block.len(), |n| at + n + 1)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let start = self.at;
            let first_end = self.line_end(start);
            let line = &self.block[start..first_end];
            if line.is_empty() || line == b"\n" || line == b"\r\n" {
                return None;
            }
            let mut end = first_end;
            while matches!(self.block.get(end), Some(b' ' | b'\t')) {
                end = self.line_end(end);
            }
            self.at = end;
            let Some(colon) = memchr(b':', line) else { continue };
            // "Subject :" is obsolete and legal (RFC 5322 §4.5).
            let name = line[..colon].trim_ascii_end();
            if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                continue;
            }
            let value = &self.block[start + colon + 1..end];
            let value = value.strip_suffix(b"\n").unwrap_or(value);
            let value = value.strip_suffix(b"\r").unwrap_or(value);
            return Some(Field { name, value, start, end });
        }
    }
}

/// A header block with its fields found once, for many look-ups.
pub struct Headers<'a> {
    block: &'a [u8],
    fields: Vec<Field<'a>>,
    is_unplaced: bool,
}

impl<'a> Headers<'a> {
    pub fn of(block: &'a [u8]) -> Headers<'a> {
        Headers { block, fields: fields(block).take(FIELDS_MAX).collect(), is_unplaced: false }
    }

    /// Of a block whose order says nothing about who wrote which field.
    pub fn unplaced(block: &'a [u8]) -> Headers<'a> {
        Headers { is_unplaced: true, ..Headers::of(block) }
    }

    pub fn is_unplaced(&self) -> bool {
        self.is_unplaced
    }

    pub fn block(&self) -> &'a [u8] {
        self.block
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first field of that name.
    pub fn get(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.is(name))
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Field<'a>> {
        self.fields.iter().filter(move |field| field.is(name))
    }
}

/// The block without its `Bcc` and `Resent-Bcc` fields, every other byte as it was; `None` when there are
/// none. For copies of other people than the sender: an added inner `Bcc` must not reach them.
pub fn without_bcc(header_block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut kept_to = 0;
    let mut found = false;
    for field in fields(header_block) {
        if field.is("bcc") || field.is("resent-bcc") {
            found = true;
            out.extend_from_slice(&header_block[kept_to..field.start]);
            kept_to = field.end;
        }
    }
    if !found {
        return None;
    }
    out.extend_from_slice(&header_block[kept_to..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_folded_and_in_any_case() {
        let block = b"From sender@corp.example Mon\r\nSubject : a\r\n\tb\r\n c\r\nno field here\r\nX-EMPTY:\r\n: x\r\n\r\nTo: body\r\n";
        let headers = Headers::of(block);
        let names: Vec<_> = headers.fields.iter().map(|f| f.name).collect();
        assert_eq!(names, [&b"Subject"[..], b"X-EMPTY"]);
        assert_eq!(headers.get("subject").unwrap().one_line(), b"a b c");
        assert_eq!(headers.get("x-empty").unwrap().value, b"");
    }

    #[test]
    fn a_block_may_end_anywhere() {
        for block in ["", "\n", "A", "A:", "A:\r", "A: b", "A: b\n c", "\r\nA: b"] {
            let _ = Headers::of(block.as_bytes());
        }
        assert_eq!(fields(b"A: b\n c").next().unwrap().value, b" b\n c");
    }

    #[test]
    fn without_bcc_leaves_every_other_byte() {
        let block = b"To: a@corp.example\r\nBCC : b@corp.example,\r\n\tc@corp.example\r\nX-Bcc: kept\nresent-bcc:d@corp.example\nSubject: Bcc: no\r\n\r\n";
        assert_eq!(without_bcc(block).unwrap(), b"To: a@corp.example\r\nX-Bcc: kept\nSubject: Bcc: no\r\n\r\n");
        assert_eq!(without_bcc(b"To: a@corp.example\r\n\r\nBcc: body\r\n"), None);
        assert_eq!(without_bcc(b"Bcc: a@corp.example").unwrap(), b"");
    }
}
