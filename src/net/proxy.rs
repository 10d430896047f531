//! An HTTP proxy, asked for a tunnel to the server (CONNECT, RFC 9110 §9.3.6).
//!
//! Only what the configuration names is used; the environment's proxy variables are not looked at. What goes through
//! the tunnel must be TLS: the proxy, and whoever sees its connections, could read all else. The login for the proxy
//! itself goes to it readable, as with every proxy that is spoken to over http.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::clean;
use super::tls::{self, NetError};
use crate::base::secret::Secret;

/// Of the proxy's answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    pub login: Option<(String, Secret)>,
}

impl Proxy {
    /// A connection to `host` through the proxy, and the proxy's address. `limit` bounds each step.
    pub async fn tunnel(&self, host: &str, port: u16, limit: Duration) -> Result<(TcpStream, SocketAddr), NetError> {
        let (mut stream, peer) = tls::tcp(&self.host, self.port, limit).await.map_err(|error| self.failed(error))?;
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some((user, password)) = &self.login {
            let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
            let coded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&coded);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            head(&mut stream).await
        };
        let head = match timeout(limit, exchange).await {
            Err(_) => return Err(self.refused(&target, format!("silent for {}", humantime::format_duration(limit)))),
            Ok(Err(error)) => return Err(self.refused(&target, clean(&error.to_string()))),
            Ok(Ok(head)) => head,
        };
        let line = String::from_utf8_lossy(&head);
        let line = line.lines().next().unwrap_or_default();
        let mut words = line.splitn(3, ' ');
        let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
        match words.next().filter(|_| is_http).and_then(|code| code.parse::<u16>().ok()) {
            Some(200..=299) => Ok((stream, peer)),
            Some(code) => Err(NetError::Proxy {
                proxy: self.name(),
                target,
                said: clean(line),
                is_login: code == 407,
                // The proxy could not reach the server, or is busy.
                is_passing: matches!(code, 429 | 500..=599),
            }),
            None => Err(self.refused(&target, format!("it answers {:?}", clean(line)))),
        }
    }

    /// As it stands in a URL.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `host:port`, without the login.
    pub fn name(&self) -> String {
        format!("{}:{}", clean(&self.host), self.port)
    }

    fn refused(&self, target: &str, said: String) -> NetError {
        let (proxy, target) = (self.name(), clean(target));
        NetError::Proxy { proxy, target, said, is_login: false, is_passing: true }
    }

    /// So that nobody looks for the server's `host` where the proxy is meant.
    fn failed(&self, error: NetError) -> NetError {
        let is_passing = error.is_passing();
        let said = error.to_string();
        NetError::ProxyUnreachable { proxy: self.name(), said, is_passing }
    }
}

/// The head of the answer. Byte by byte: what follows it belongs to the server.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(std::io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// What a proxy that gives this answer is asked, and what comes of it.
    async fn asked(answer: &'static [u8], login: bool) -> (String, Result<(TcpStream, SocketAddr), NetError>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        let login = login.then(|| ("user".to_owned(), Secret::new("pass:word".into())));
        let proxy = Proxy { host: "127.0.0.1".into(), port, login };
        let result = proxy.tunnel("mail.corp.example", 443, Duration::from_secs(30)).await;
        (server.join().unwrap(), result)
    }

    #[tokio::test]
    async fn the_tunnel_begins_right_after_the_answer() {
        let (request, stream) = asked(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nfirst", true).await;
        assert_eq!(
            request,
            "CONNECT mail.corp.example:443 HTTP/1.1\r\nHost: mail.corp.example:443\r\n\
             Proxy-Authorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n\r\n"
        );
        let mut first = String::new();
        stream.unwrap().0.read_to_string(&mut first).await.unwrap();
        assert_eq!(first, "first");
        assert!(!asked(b"HTTP/1.0 200 OK\r\n\r\n", false).await.0.contains("Authorization"));
    }

    #[tokio::test]
    async fn refusals_are_told_in_the_proxys_words() {
        for (answer, word, is_passing) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "407 Proxy", false),
            (b"HTTP/1.1 403 Forbidden by rule 7\r\n\r\n", "rule 7", false),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502", true),
            (b"* OK IMAP\r\n\r\n", "IMAP", true),
            (b"HTTP/1.1 200 OK\r\n", "", true),
        ] {
            let error = asked(answer, true).await.1.unwrap_err();
            assert!(error.to_string().contains(word) && !error.to_string().contains("pass:word"), "{error}");
            assert_eq!(error.is_passing(), is_passing, "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }
}
