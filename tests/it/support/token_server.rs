//! A token server on loopback that takes nothing but what RFC 6749, 7521, 7523 and 8628 say, and does what token
//! servers are known to do.

mod check;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use gatepost::base::clock::{Clock, FixedClock};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};

pub const CLIENT: &str = "2f7d4f1e-journal";
/// With all that must be encoded on the way.
pub const SECRET: &str = "s3cret&=+%/~ value";
pub const SCOPE: &str = "https://mail.example/.default offline_access";
pub const HOST: &str = "login.corp.test";
pub const SERVICE: &str = "journal@project.example";

/// How the client has to prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Public,
    Body,
    Header,
    /// Signed by the key of [`client_key`], with this algorithm.
    Assertion(&'static str),
}

/// What a test makes of a request in the place of the answer.
pub enum Reply {
    /// Status, further header lines, body.
    Http(u16, String, String),
    /// The answer, changed.
    Changed(Box<dyn Fn(Value) -> Value + Send>),
    /// No more than so many bytes of the answer; then the connection ends.
    Cut(usize),
    /// Nothing, until the other side gives up.
    Silence,
    /// An answer without an end, until the other side gives up.
    Endless,
}

pub struct State {
    clock: Arc<FixedClock>,
    proof: Proof,
    url: String,
    pub lifetime_s: u64,
    /// The refresh tokens that are good, and of these the ones that replaced another, which is dead once they are used.
    pub refresh: HashMap<String, Option<String>>,
    /// Each use of a refresh token gives another one.
    pub rotates: bool,
    dead: HashSet<String>,
    jtis: HashSet<String>,
    pub device: VecDeque<&'static str>,
    device_asked_at: Option<jiff::Timestamp>,
    device_interval_s: i64,
    /// Subjects that a service account may act for.
    pub delegated: Vec<String>,
    pub replies: VecDeque<Option<Reply>>,
    pub requests: Vec<HashMap<String, String>>,
    /// What was wrong with requests; a test of good ones wants none.
    pub refused: Vec<String>,
    count: u64,
    /// Bytes of the last whole answer.
    pub answer_len: usize,
    /// How much of an endless answer was taken.
    pub poured: usize,
}

pub struct TokenServer {
    pub url: String,
    pub device_url: String,
    pub ca_file: Option<PathBuf>,
    pub port: u16,
    state: Arc<Mutex<State>>,
    _dir: tempfile::TempDir,
}

/// A key of the client's that all tests share: making one takes its time.
pub fn client_key() -> &'static RsaPrivateKey {
    static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
    KEY.get_or_init(|| RsaPrivateKey::new(&mut getrandom::rand_core::UnwrapErr(getrandom::SysRng), 2048).unwrap())
}

pub fn client_key_pem() -> String {
    client_key().to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

/// The certificate of [`client_key`].
pub fn client_certificate() -> (String, Vec<u8>) {
    static PEM: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    let made = PEM.get_or_init(|| {
        let key = KeyPair::from_pem(&client_key_pem()).unwrap();
        let certificate = CertificateParams::new(vec!["journal.example".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        (certificate.pem(), certificate.der().to_vec())
    });
    made.clone()
}

/// The key file of a service account with that key.
pub fn service_account(token_url: &str) -> String {
    json!({
        "type": "service_account", "project_id": "project", "private_key_id": "key-1",
        "private_key": client_key_pem(), "client_email": SERVICE, "client_id": "1234", "token_uri": token_url,
    })
    .to_string()
}

impl TokenServer {
    pub fn start(proof: Proof, clock: &Arc<FixedClock>) -> TokenServer {
        TokenServer::serve(proof, clock, false)
    }

    /// Under the name [`HOST`], which no resolver knows.
    pub fn start_tls(proof: Proof, clock: &Arc<FixedClock>) -> TokenServer {
        TokenServer::serve(proof, clock, true)
    }

    fn serve(proof: Proof, clock: &Arc<FixedClock>, with_tls: bool) -> TokenServer {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, ca_file, base) = match with_tls {
            true => {
                let (acceptor, pem) = tls();
                let path = dir.path().join("ca.pem");
                std::fs::write(&path, pem).unwrap();
                (Some(Arc::new(acceptor)), Some(path), format!("https://{HOST}:{port}"))
            }
            false => (None, None, format!("http://127.0.0.1:{port}")),
        };
        let url = format!("{base}/token");
        let state = State {
            clock: clock.clone(),
            proof,
            url: url.clone(),
            lifetime_s: 3600,
            refresh: HashMap::from([("rt-configured".to_owned(), None)]),
            rotates: false,
            dead: HashSet::new(),
            jtis: HashSet::new(),
            device: VecDeque::new(),
            device_asked_at: None,
            device_interval_s: 5,
            delegated: vec!["journal@corp.example".to_owned()],
            replies: VecDeque::new(),
            requests: Vec::new(),
            refused: Vec::new(),
            count: 0,
            answer_len: 0,
            poured: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, acceptor) = (shared.clone(), acceptor.clone());
                std::thread::spawn(move || match acceptor {
                    Some(acceptor) => {
                        // A client that does not trust the certificate goes away here.
                        if let Ok(stream) = acceptor.accept(stream) {
                            talk(stream, &state);
                        }
                    }
                    None => talk::<TcpStream>(stream, &state),
                });
            }
        });
        TokenServer { device_url: format!("{base}/device"), url, ca_file, port, state, _dir: dir }
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What the next request gets.
    pub fn next(&self, reply: Reply) {
        self.state().replies.push_back(Some(reply));
    }

    pub fn next_says(&self, status: u16, body: &Value) {
        self.next(Reply::Http(status, String::new(), body.to_string()));
    }

    pub fn asked(&self) -> usize {
        self.state().requests.len()
    }

    /// What was wrong with the requests so far.
    pub fn refused(&self) -> Vec<String> {
        self.state().refused.clone()
    }
}

fn tls() -> (native_tls::TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let (leaf, key) = (leaf.pem(), leaf_key.serialize_pem());
    let identity = native_tls::Identity::from_pkcs8(leaf.as_bytes(), key.as_bytes()).unwrap();
    (native_tls::TlsAcceptor::new(identity).unwrap(), ca.pem())
}

/// A request as it came.
struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: String,
}

fn read<S: Read>(stream: &mut BufReader<S>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let twice = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        assert!(twice.is_none(), "a header twice: {name}");
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body: String::from_utf8(body).ok()? })
}

fn talk<S: Read + Write>(stream: S, state: &Mutex<State>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let (reply, status, body) = {
            let mut state = state.lock().unwrap();
            let reply = state.replies.pop_front().flatten();
            // Requests that a test answers itself are looked at all the same.
            let (status, body) = state.answer(&request);
            (reply, status, body)
        };
        let (status, extra, body) = match &reply {
            Some(Reply::Http(status, extra, body)) => (*status, extra.clone(), body.clone()),
            Some(Reply::Changed(change)) => (status, String::new(), change(body).to_string()),
            _ => (status, String::new(), body.to_string()),
        };
        let kind = if body.starts_with('<') { "text/html" } else { "application/json;charset=UTF-8" };
        let answer = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        state.lock().unwrap().answer_len = answer.len();
        let stream = stream.get_mut();
        match reply {
            Some(Reply::Cut(bytes)) => {
                let _ = stream.write_all(&answer.as_bytes()[..bytes.min(answer.len())]);
                return;
            }
            Some(Reply::Silence) => {
                let _ = stream.read_to_end(&mut Vec::new());
                return;
            }
            Some(Reply::Endless) => {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"access_token\": \"");
                while stream.write_all(&[b'a'; 4096]).is_ok() {
                    state.lock().unwrap().poured += 4096;
                }
                return;
            }
            Some(Reply::Http(..) | Reply::Changed(_)) | None => {
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}

impl State {
    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    fn answer(&mut self, request: &Request) -> (u16, Value) {
        match self.checked(request) {
            Ok(answer) => (200, answer),
            Err((error, why)) => {
                self.refused.push(format!("{error}: {why}"));
                let status = if error == "invalid_client" { 401 } else { 400 };
                (status, json!({ "error": error, "error_description": why }))
            }
        }
    }

    fn grant(&mut self, refresh: Option<String>) -> Value {
        self.count += 1;
        let mut answer = json!({
            "access_token": format!("at-{}", self.count), "token_type": "Bearer", "expires_in": self.lifetime_s,
        });
        if let Some(refresh) = refresh {
            answer["refresh_token"] = refresh.into();
        }
        answer
    }

    /// Another refresh token for this one, or the same.
    fn refreshed(&mut self, token: &str) -> Result<Option<String>, (&'static str, String)> {
        if self.dead.contains(token) {
            // As RFC 9700 §4.14.2 wants it: who uses a token twice may have stolen it.
            self.refresh.clear();
            return Err(("invalid_grant", "the refresh token was used twice; everything is revoked".into()));
        }
        let Some(before) = self.refresh.get(token).cloned() else {
            return Err(("invalid_grant", "the refresh token is not known".into()));
        };
        // The one before is dead once its successor is used: an answer that was lost costs nothing.
        if let Some(before) = before {
            self.refresh.remove(&before);
            self.dead.insert(before);
            self.refresh.insert(token.to_owned(), None);
        }
        if !self.rotates {
            return Ok(None);
        }
        let next = format!("rt-{}", self.count + 1);
        self.refresh.insert(next.clone(), Some(token.to_owned()));
        Ok(Some(next))
    }
}
