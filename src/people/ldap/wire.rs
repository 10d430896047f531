//! What lies between the network and the LDAP library: every answer is weighed and checked here first.
//!
//! The library takes the other side's word for the form of an answer: it panics on a malformed one, recurses as deep
//! as one is nested, and waits for as many bytes as one announces. A directory that was replaced by something else, or
//! the wrong port, must be an error with a name instead. So the connection is made here (with the TLS that all sources
//! use), and only whole answers of the one form that RFC 4511 gives them are passed on.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::net::{BoxTransport, clean};

/// One answer: one person, or one group with all its members.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// All answers of one load. 20,000 people are 20 MB.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const CONTROLS: u8 = 0xa0;
const REFERRAL: u8 = 0xa3;
const BIND_DONE: u8 = 0x61;
const ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED_DONE: u8 = 0x78;

/// Why an answer was not passed on, in words that follow "the server …".
type Bad = String;

/// BER, as far as LDAP has it: one octet of tag, definite lengths.
#[derive(Clone, Copy)]
pub(super) struct Ber<'a>(&'a [u8]);

impl<'a> Ber<'a> {
    pub fn new(bytes: &'a [u8]) -> Ber<'a> {
        Ber(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next element, which must have this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (header, length) = header(self.0).ok()??;
        if self.peek() != Some(tag) || self.0.len() - header < length {
            return None;
        }
        let (element, rest) = self.0.split_at(header + length);
        self.0 = rest;
        Some(&element[header..])
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.take(OCTETS)?).ok()
    }

    /// An integer that is not negative and has at most 32 bits.
    fn number(&mut self, tag: u8) -> Option<u32> {
        match self.take(tag)? {
            bytes @ [first, ..] if bytes.len() <= 4 && first & 0x80 == 0 => {
                Some(bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
            }
            _ => None,
        }
    }
}

/// Lengths of the header and of the content that it announces; `None`: not all of the header is there.
fn header(bytes: &[u8]) -> Result<Option<(usize, usize)>, Bad> {
    let Some(&first) = bytes.get(1) else { return Ok(None) };
    if first < 0x80 {
        return Ok(Some((2, usize::from(first))));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err("sends something that is no LDAP".into());
    }
    let Some(octets) = bytes.get(2..2 + count) else { return Ok(None) };
    Ok(Some((2 + count, octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)))))
}

/// The size of paged results and the cookie of the next page; `None` when the value is not of that form.
pub(super) fn paged_cookie(value: &[u8]) -> Option<Vec<u8>> {
    let mut outer = Ber::new(value);
    let mut inner = Ber::new(outer.take(SEQUENCE)?);
    inner.take(INTEGER)?;
    Some(inner.take(OCTETS)?.to_vec())
}

/// One whole answer, header included.
fn check(message: &[u8]) -> Result<(), Bad> {
    let malformed = || "sends an answer that is no LDAP".to_owned();
    let mut outer = Ber(message);
    let mut parts = Ber(outer.take(SEQUENCE).ok_or_else(malformed)?);
    let id = parts.number(INTEGER).ok_or_else(malformed)?;
    let tag = parts.peek().ok_or_else(malformed)?;
    let content = parts.take(tag).ok_or_else(malformed)?;
    if id == 0 {
        // RFC 4511 §4.4.1; Active Directory writes its name outside of where it belongs, so nothing else is checked.
        let said = result(&mut Ber(content)).map(|(_, said)| clean(said)).unwrap_or_default();
        return Err(if said.is_empty() {
            "ends the connection".into()
        } else {
            format!("ends the connection: {said}")
        });
    }
    let is_well = match tag {
        ENTRY => is_entry(content),
        REFERENCE => texts(content).is_some(),
        SEARCH_DONE => {
            let mut rest = Ber(content);
            result(&mut rest).is_some() && rest.is_empty()
        }
        // What follows in these two is the library's to ignore: credentials, names.
        BIND_DONE | EXTENDED_DONE => result(&mut Ber(content)).is_some(),
        _ => false,
    };
    if is_well && is_controls(parts) { Ok(()) } else { Err(malformed()) }
}

/// Result code and diagnostic text.
fn result<'a>(parts: &mut Ber<'a>) -> Option<(u32, &'a str)> {
    let code = parts.number(ENUMERATED)?;
    parts.text()?;
    let said = parts.text()?;
    if parts.peek() == Some(REFERRAL) {
        texts(parts.take(REFERRAL)?)?;
    }
    Some((code, said))
}

fn texts(content: &[u8]) -> Option<()> {
    let mut rest = Ber(content);
    while !rest.is_empty() {
        rest.text()?;
    }
    Some(())
}

fn is_entry(content: &[u8]) -> bool {
    let mut rest = Ber(content);
    let mut entry = || {
        rest.text()?;
        let mut attributes = Ber(rest.take(SEQUENCE)?);
        while !attributes.is_empty() {
            let mut attribute = Ber(attributes.take(SEQUENCE)?);
            attribute.text()?;
            let mut values = Ber(attribute.take(SET)?);
            while !values.is_empty() {
                values.take(OCTETS)?;
            }
            attribute.is_empty().then_some(())?;
        }
        rest.is_empty().then_some(())
    };
    entry().is_some()
}

fn is_controls(mut parts: Ber<'_>) -> bool {
    if parts.is_empty() {
        return true;
    }
    let mut controls = || {
        let mut list = Ber(parts.take(CONTROLS)?);
        while !list.is_empty() {
            let mut control = Ber(list.take(SEQUENCE)?);
            control.text()?;
            if control.peek() == Some(BOOLEAN) {
                control.take(BOOLEAN).filter(|value| value.len() == 1)?;
            }
            if control.peek() == Some(OCTETS) {
                control.take(OCTETS)?;
            }
            control.is_empty().then_some(())?;
        }
        parts.is_empty().then_some(())
    };
    controls().is_some()
}

/// Reads one whole answer into `buffer`, which may hold the beginning of the next one afterwards; its length.
/// `Ok(None)`: the connection ended between two answers.
async fn read_message<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut Vec<u8>) -> Result<Option<usize>, Bad> {
    loop {
        if buffer.first().is_some_and(|&first| first != SEQUENCE) {
            return Err("sends something that is no LDAP".into());
        }
        if let Some((header, length)) = header(buffer)? {
            if length > MESSAGE_BYTES_MAX {
                return Err(format!("announces an answer of {length} bytes, {MESSAGE_BYTES_MAX} are allowed"));
            }
            if buffer.len() >= header + length {
                return Ok(Some(header + length));
            }
        }
        let mut chunk = [0; 16 * 1024];
        match from.read(&mut chunk).await {
            Ok(0) if buffer.is_empty() => return Ok(None),
            Ok(0) => return Err("ended the connection in the middle of an answer".into()),
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            Err(error) => return Err(format!("ended the connection: {}", clean(&error.to_string()))),
        }
    }
}

/// Asks for TLS on a plain connection (RFC 4511 §4.14). `Ok` only when the server agreed and said nothing beyond that:
/// whatever else came unprotected could have been put there by anybody.
pub(super) async fn start_tls(stream: &mut BoxTransport) -> Result<(), Bad> {
    const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    stream.write_all(REQUEST).await.map_err(|error| format!("ended the connection: {error}"))?;
    let mut buffer = Vec::new();
    let length = read_message(stream, &mut buffer).await?.ok_or("ended the connection when asked for TLS")?;
    let message = &buffer[..length];
    check(message)?;
    let mut outer = Ber(message);
    let mut parts = Ber(outer.take(SEQUENCE).unwrap_or_default());
    parts.take(INTEGER);
    let answer = parts.take(EXTENDED_DONE).and_then(|content| result(&mut Ber(content)));
    match answer {
        Some((0, _)) if buffer.len() == length => Ok(()),
        Some((0, _)) => Err("sent more than its answer before TLS began".into()),
        Some((code, said)) => Err(format!("refused TLS: {} (result {code})", clean(said))),
        None => Err("answered something else when asked for TLS".into()),
    }
}

/// A connection for the library, and what went wrong behind it.
pub(super) struct Guarded {
    pub settings: ldap3::LdapConnSettings,
    pub url: &'static str,
    pub trouble: Trouble,
    pub pump: Pump,
}

/// Why the connection ended, when it did.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Bad>>>);

impl Trouble {
    fn note(&self, said: Bad) {
        let mut first = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(said);
    }

    pub fn said(&self) -> Option<Bad> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// Ends with its owner.
pub(super) struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn guard(stream: BoxTransport) -> std::io::Result<Guarded> {
    let (near, far, url) = pair().await?;
    let trouble = Trouble::default();
    let noted = trouble.clone();
    let pump = Pump(tokio::spawn(async move {
        let (mut from_server, mut to_server) = tokio::io::split(stream);
        let (mut from_library, mut to_library) = tokio::io::split(near);
        let answers = async {
            let (mut buffer, mut total) = (Vec::new(), 0);
            loop {
                let length = match read_message(&mut from_server, &mut buffer).await {
                    Ok(Some(length)) => length,
                    Ok(None) => break noted.note("ended the connection".into()),
                    Err(said) => break noted.note(said),
                };
                total += length as u64;
                let checked = match total > BYTES_MAX {
                    true => Err(format!("sent more than {BYTES_MAX} bytes")),
                    false => check(&buffer[..length]),
                };
                if let Err(said) = checked {
                    break noted.note(said);
                }
                if to_library.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
                buffer.drain(..length);
            }
        };
        // Either end closes both: dropping the halves tells the library.
        tokio::select! {
            () = answers => {}
            copied = tokio::io::copy(&mut from_library, &mut to_server) => {
                if let Err(error) = copied {
                    noted.note(format!("ended the connection: {}", clean(&error.to_string())));
                }
            }
        }
        let _ = to_server.shutdown().await;
    }));
    Ok(Guarded { settings: ldap3::LdapConnSettings::new().set_std_stream(far), url, trouble, pump })
}

/// Two ends of a connection within this process: ours, and the library's, which takes sockets only.
#[cfg(unix)]
async fn pair() -> std::io::Result<(tokio::net::UnixStream, ldap3::StdStream, &'static str)> {
    let (near, far) = tokio::net::UnixStream::pair()?;
    Ok((near, ldap3::StdStream::Unix(far.into_std()?), "ldapi:///"))
}

/// Windows has no socket pairs; whoever else connects to the port in that moment is turned away.
#[cfg(not(unix))]
async fn pair() -> std::io::Result<(tokio::net::TcpStream, ldap3::StdStream, &'static str)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let far = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
    loop {
        let (near, peer) = listener.accept().await?;
        if peer == far.local_addr()? {
            return Ok((near, ldap3::StdStream::Tcp(far.into_std()?), "ldap://127.0.0.1"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        assert!(content.len() < 128);
        [&[tag, content.len() as u8], content].concat()
    }

    fn message(id: u8, op: &[u8], controls: &[u8]) -> Vec<u8> {
        tlv(SEQUENCE, &[&tlv(INTEGER, &[id]), op, controls].concat())
    }

    fn done(tag: u8, code: u8, said: &str) -> Vec<u8> {
        tlv(tag, &[tlv(ENUMERATED, &[code]), tlv(OCTETS, b""), tlv(OCTETS, said.as_bytes())].concat())
    }

    fn entry() -> Vec<u8> {
        let mail = tlv(SEQUENCE, &[tlv(OCTETS, b"mail"), tlv(SET, &tlv(OCTETS, b"a@corp.example"))].concat());
        tlv(ENTRY, &[tlv(OCTETS, b"cn=a"), tlv(SEQUENCE, &mail)].concat())
    }

    #[test]
    fn the_answers_of_a_directory_pass() {
        let cookie = tlv(SEQUENCE, &[tlv(INTEGER, &[0]), tlv(OCTETS, b"next")].concat());
        let control = tlv(SEQUENCE, &[tlv(OCTETS, b"1.2.840.113556.1.4.319"), tlv(OCTETS, &cookie)].concat());
        for (op, controls) in [
            (done(BIND_DONE, 49, "80090308: LdapErr"), vec![]),
            (entry(), vec![]),
            (done(SEARCH_DONE, 0, ""), tlv(CONTROLS, &control)),
            (tlv(REFERENCE, &tlv(OCTETS, b"ldap://other.corp.example/dc=x")), vec![]),
        ] {
            assert_eq!(check(&message(2, &op, &controls)), Ok(()));
        }
        assert_eq!(paged_cookie(&cookie).as_deref(), Some(&b"next"[..]));
    }

    #[test]
    fn a_notice_of_disconnection_is_told_in_the_servers_words() {
        let notice = done(EXTENDED_DONE, 52, "going down\r\nfor repair");
        assert_eq!(check(&message(0, &notice, &[])), Err("ends the connection: going down  for repair".into()));
    }

    /// No prefix, no flipped octet and no nesting makes it through as something else, or panics.
    #[test]
    fn a_damaged_answer_is_refused_or_still_of_the_form() {
        let whole = message(2, &entry(), &[]);
        for cut in 0..whole.len() {
            assert!(check(&whole[..cut]).is_err(), "{cut}");
        }
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = check(&damaged);
            }
        }
        let mut nested = vec![];
        for _ in 0..60 {
            nested = tlv(SEQUENCE, &nested);
        }
        assert!(check(&message(2, &nested, &[])).is_err());
    }

    async fn read(bytes: &[u8]) -> Result<Option<usize>, Bad> {
        read_message(&mut &bytes[..], &mut Vec::new()).await
    }

    #[tokio::test]
    async fn other_protocols_and_endless_answers_are_named() {
        assert_eq!(read(b"* OK IMAP4rev1 ready\r\n").await.unwrap_err(), "sends something that is no LDAP");
        assert_eq!(read(b"0\x80\0\0").await.unwrap_err(), "sends something that is no LDAP");
        assert!(read(b"0\x84\x7f\xff\xff\xff").await.unwrap_err().starts_with("announces an answer of 2147483647"));
        assert_eq!(read(b"0\x05\x02").await.unwrap_err(), "ended the connection in the middle of an answer");
        assert_eq!(read(b"").await, Ok(None));
        assert_eq!(read(&message(1, &entry(), b"")).await, Ok(Some(message(1, &entry(), b"").len())));
    }
}
