//! What a mail server asks whether a token is good: token introspection (RFC 7662), strict about how it is asked. It
//! also grants tokens to a client that proves itself by its secret (RFC 6749 §4.4).

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Known {
    /// Token, user and scope.
    tokens: HashMap<String, (String, String)>,
    asked: Vec<String>,
    /// Whom tokens are granted for, and whether they are known afterwards.
    grants: Option<(String, bool)>,
    granted: Vec<String>,
    refused: Vec<String>,
}

pub struct Introspection {
    pub port: u16,
    known: Arc<Mutex<Known>>,
}

impl Introspection {
    pub fn start() -> Introspection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let known = Arc::new(Mutex::new(Known::default()));
        let there = known.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let there = there.clone();
                std::thread::spawn(move || serve(stream, &there));
            }
        });
        Introspection { port, known }
    }

    pub fn knows(&self, token: &str, user: &str, scope: &str) {
        self.known.lock().unwrap().tokens.insert(token.into(), (user.into(), scope.into()));
    }

    /// From now on it grants `granted-1`, `granted-2` … for a user; `good`: and knows them afterwards.
    pub fn grants(&self, user: &str, good: bool) {
        self.known.lock().unwrap().grants = Some((user.into(), good));
    }

    pub fn granted(&self) -> Vec<String> {
        self.known.lock().unwrap().granted.clone()
    }

    pub fn forget(&self, token: &str) {
        self.known.lock().unwrap().tokens.remove(token);
    }

    /// The tokens that it was asked about, in this order.
    pub fn asked(&self) -> Vec<String> {
        let known = self.known.lock().unwrap();
        assert!(known.refused.is_empty(), "not as RFC 7662 has it: {:?}", known.refused);
        known.asked.clone()
    }
}

fn serve(stream: TcpStream, known: &Mutex<Known>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let header = |name: &str| {
            head.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let is_form = header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let mut known = known.lock().unwrap();
        let is_grant = head[0].starts_with("POST /token ") && is_form;
        let answer = match body.strip_prefix("token=").and_then(|rest| rest.split('&').next()) {
            _ if is_grant
                && ["grant_type=client_credentials", "client_id=journal", "client_secret="]
                    .iter()
                    .all(|field| body.contains(field)) =>
            {
                let token = format!("granted-{}", known.granted.len() + 1);
                if let Some((user, true)) = known.grants.clone() {
                    known.tokens.insert(token.clone(), (user, "imap".into()));
                }
                known.granted.push(token.clone());
                format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}")
            }
            Some(token) if head[0].starts_with("POST /introspect ") && is_form => {
                known.asked.push(token.to_owned());
                match known.tokens.get(token) {
                    Some((user, scope)) => format!(
                        "{{\"active\":true,\"username\":\"{user}\",\"scope\":\"{scope}\",\"token_type\":\"bearer\"}}"
                    ),
                    None => "{\"active\":false}".to_owned(),
                }
            }
            _ => {
                known.refused.push(format!("{head:?} {body}"));
                String::new()
            }
        };
        drop(known);
        let status = if answer.is_empty() { "400 Bad Request" } else { "200 OK" };
        let reply = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if stream.get_mut().write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}
