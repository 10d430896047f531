//! A mail server on loopback that takes nothing but what RFC 5321, 3207 and 4954 allow, and does what mail servers are
//! known to do. And a web address that keeps what it is told.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

pub const USER: &str = "gatepost";
pub const SECRET: &str = "s3cret-of-smtp";

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    Implicit,
    StartTls,
    /// It is not offered.
    None,
}

/// What the server does at a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// This answer in the place of the usual one, at commands that begin so.
    Answers(&'static str, String),
    /// Nothing is said from this command on.
    Hangs(&'static str),
    /// Says more than was asked for when it consents to TLS: what somebody in between slips in.
    Injects,
}

#[derive(Clone, Debug)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    /// With its dots as they were.
    pub data: String,
    pub is_protected: bool,
    pub is_logged_in: bool,
}

pub type Deliver = Box<dyn Fn(&[u8]) + Send>;

pub struct State {
    tls: Protection,
    /// `PLAIN`, `LOGIN`, or nothing.
    pub mechanisms: &'static str,
    pub mood: Mood,
    pub taken: Vec<Taken>,
    /// What was wrong with what the client did.
    pub wrong: Vec<String>,
    pub commands: Vec<String>,
    /// Called with each mail.
    pub deliver: Option<Deliver>,
}

pub struct SmtpSink {
    pub port: u16,
    pub ca_file: PathBuf,
    state: Arc<Mutex<State>>,
    _dir: tempfile::TempDir,
}

impl SmtpSink {
    pub fn start(tls: Protection) -> SmtpSink {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, pem) = certificate();
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, pem).unwrap();
        let state = State {
            tls,
            mechanisms: "PLAIN LOGIN",
            mood: Mood::Takes,
            taken: Vec::new(),
            wrong: Vec::new(),
            commands: Vec::new(),
            deliver: None,
        };
        let state = Arc::new(Mutex::new(state));
        let (shared, acceptor) = (state.clone(), Arc::new(acceptor));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, acceptor) = (shared.clone(), acceptor.clone());
                std::thread::spawn(move || serve(stream, &state, &acceptor));
            }
        });
        SmtpSink { port, ca_file, state, _dir: dir }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The lines of a configuration that lead here.
    pub fn lines(&self) -> String {
        let tls = match self.state().tls {
            Protection::Implicit => "implicit",
            Protection::StartTls => "starttls",
            Protection::None => "none",
        };
        format!(
            "host = \"localhost\"\nport = {}\ntls = \"{tls}\"\nca_file = {:?}\nusername = \"{USER}\"\n\
             password = {{ env = \"GATEPOST_TEST_SMTP\" }}\ntimeout = \"20s\"\n",
            self.port, self.ca_file
        )
    }
}

fn certificate() -> (native_tls::TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let (leaf, key) = (leaf.pem(), leaf_key.serialize_pem());
    let identity = native_tls::Identity::from_pkcs8(leaf.as_bytes(), key.as_bytes()).unwrap();
    (native_tls::TlsAcceptor::new(identity).unwrap(), ca.pem())
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn serve(stream: TcpStream, state: &Mutex<State>, acceptor: &native_tls::TlsAcceptor) {
    let tls = state.lock().unwrap().tls;
    if tls == Protection::Implicit {
        // A client that does not trust the certificate goes away here.
        if let Ok(stream) = acceptor.accept(stream) {
            talk(stream, state, true, true);
        }
        return;
    }
    let copy = stream.try_clone().unwrap();
    if talk(stream, state, false, true)
        && let Ok(stream) = acceptor.accept(copy)
    {
        talk(stream, state, true, false);
    }
}

/// Whether TLS is to begin.
fn talk(stream: impl Wire, state: &Mutex<State>, is_protected: bool, greets: bool) -> bool {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to, mut is_logged_in, mut said_hello) = (None, Vec::new(), false, false);
    let wrong = |what: String| state.lock().unwrap().wrong.push(what);
    if greets && say(&mut stream, "220 sink.test ESMTP").is_none() {
        return false;
    }
    loop {
        let Some(line) = line(&mut stream, state) else { return false };
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        // What a login holds is no business of a list of commands.
        state.lock().unwrap().commands.push(verb.clone());
        let (mood, tls, mechanisms) = {
            let state = state.lock().unwrap();
            (state.mood.clone(), state.tls, state.mechanisms)
        };
        match &mood {
            Mood::Answers(at, answer) if line.starts_with(at) => {
                if say(&mut stream, answer).is_none() {
                    return false;
                }
                continue;
            }
            Mood::Hangs(at) if line.starts_with(at) => {
                let _ = stream.read_to_end(&mut Vec::new());
                return false;
            }
            _ => {}
        }
        let answer = match verb.as_str() {
            "EHLO" => {
                said_hello = true;
                let mut offer = vec!["sink.test".to_owned(), "8BITMIME".to_owned()];
                if tls == Protection::StartTls && !is_protected {
                    offer.push("STARTTLS".into());
                } else if !mechanisms.is_empty() {
                    offer.push(format!("AUTH {mechanisms}"));
                }
                let last = offer.len() - 1;
                let lines: Vec<String> = offer
                    .iter()
                    .enumerate()
                    .map(|(at, word)| format!("250{}{word}", if at == last { ' ' } else { '-' }))
                    .collect();
                lines.join("\r\n")
            }
            "STARTTLS" if tls == Protection::StartTls && !is_protected && said_hello => {
                let extra = if mood == Mood::Injects { "\r\n250 this was not protected" } else { "" };
                say(&mut stream, &format!("220 go ahead{extra}"));
                return true;
            }
            "AUTH" if said_hello => {
                if tls == Protection::StartTls && !is_protected {
                    wrong("AUTH before TLS".into());
                }
                match login(&mut stream, &line, state) {
                    Some(true) => {
                        is_logged_in = true;
                        "235 2.7.0 welcome".to_owned()
                    }
                    // Some repeat what they refuse.
                    Some(false) => format!("535 5.7.8 no such login: {line}"),
                    None => return false,
                }
            }
            "MAIL" if said_hello && from.is_none() => {
                from = line.strip_prefix("MAIL FROM:<").and_then(|rest| rest.split('>').next()).map(str::to_owned);
                if from.is_some() { "250 2.1.0 ok".to_owned() } else { "501 5.5.4 syntax".to_owned() }
            }
            "RCPT" if from.is_some() => match line.strip_prefix("RCPT TO:<").and_then(|rest| rest.strip_suffix('>')) {
                Some(one) => {
                    to.push(one.to_owned());
                    "250 2.1.5 ok".to_owned()
                }
                None => "501 5.5.4 syntax".to_owned(),
            },
            "DATA" if !to.is_empty() => {
                if say(&mut stream, "354 go on").is_none() {
                    return false;
                }
                let Some(data) = data(&mut stream, state) else { return false };
                let taken = Taken {
                    from: from.take().unwrap_or_default(),
                    to: std::mem::take(&mut to),
                    data,
                    is_protected,
                    is_logged_in,
                };
                let mut state = state.lock().unwrap();
                if let Some(deliver) = &state.deliver {
                    deliver(taken.data.as_bytes());
                }
                state.taken.push(taken);
                format!("250 2.0.0 queued as {}", state.taken.len())
            }
            "QUIT" => {
                say(&mut stream, "221 2.0.0 bye");
                return false;
            }
            _ => {
                wrong(format!("out of order: {verb}"));
                "503 5.5.1 bad sequence".to_owned()
            }
        };
        if say(&mut stream, &answer).is_none() {
            return false;
        }
    }
}

fn say<S: Wire>(stream: &mut BufReader<S>, text: &str) -> Option<()> {
    let stream = stream.get_mut();
    stream.write_all(text.as_bytes()).ok()?;
    stream.write_all(b"\r\n").ok()?;
    stream.flush().ok()
}

/// A line without its end; whatever is wrong with it is noted.
fn line<S: Wire>(stream: &mut BufReader<S>, state: &Mutex<State>) -> Option<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).ok().filter(|count| *count > 0)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let wrong = |what: &str| state.lock().unwrap().wrong.push(format!("{what}: {text:?}"));
    if text.len() > 1000 {
        wrong("a line that is too long");
    }
    match text.strip_suffix("\r\n") {
        Some(line) if !line.contains(['\r', '\n']) => Some(line.to_owned()),
        _ => {
            wrong("a line that does not end in CRLF");
            Some(text.trim_end().to_owned())
        }
    }
}

fn data<S: Wire>(stream: &mut BufReader<S>, state: &Mutex<State>) -> Option<String> {
    let mut data = String::new();
    loop {
        let line = line(stream, state)?;
        match line.strip_prefix('.') {
            Some("") => return Some(data),
            Some(rest) => data.push_str(rest),
            None => data.push_str(&line),
        }
        data.push_str("\r\n");
    }
}

fn login<S: Wire>(stream: &mut BufReader<S>, first: &str, state: &Mutex<State>) -> Option<bool> {
    let decoded = |text: &str| STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let words: Vec<&str> = first.split(' ').collect();
    match words.as_slice() {
        ["AUTH", "PLAIN", initial] => Some(decoded(initial)? == format!("\0{USER}\0{SECRET}")),
        ["AUTH", "LOGIN"] => {
            say(stream, "334 VXNlcm5hbWU6")?;
            let user = decoded(&line(stream, state)?)?;
            say(stream, "334 UGFzc3dvcmQ6")?;
            let password = decoded(&line(stream, state)?)?;
            Some(user == USER && password == SECRET)
        }
        _ => Some(false),
    }
}

/// One call of a web address.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// Keeps what it is told; answers what a test says.
pub struct Hook {
    pub port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Status line, further header lines, body; `None`: silence.
    answer: Arc<Mutex<Option<(String, String, String)>>>,
}

impl Hook {
    pub fn start() -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(Some(("200 OK".to_owned(), String::new(), "taken".to_owned()))));
        let (kept, said) = (calls.clone(), answer.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, said) = (kept.clone(), said.clone());
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    let Some(call) = read_call(&mut stream) else { return };
                    kept.lock().unwrap().push(call);
                    let answer = said.lock().unwrap().clone();
                    let Some((status, further, body)) = answer else {
                        let _ = stream.read_to_end(&mut Vec::new());
                        return;
                    };
                    let length = body.len();
                    let text = format!(
                        "HTTP/1.1 {status}\r\n{further}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    );
                    let _ = stream.get_mut().write_all(text.as_bytes());
                });
            }
        });
        Hook { port, calls, answer }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub fn answers(&self, status: &str, further: &str, body: &str) {
        *self.answer.lock().unwrap() = Some((status.into(), further.into(), body.into()));
    }

    pub fn is_silent(&self) {
        *self.answer.lock().unwrap() = None;
    }
}

fn read_call(stream: &mut BufReader<TcpStream>) -> Option<Call> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Call { method, path, headers, body: String::from_utf8(body).ok()? })
}
