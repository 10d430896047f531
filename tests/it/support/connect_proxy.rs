//! An HTTP proxy that gives tunnels (CONNECT), and keeps what it was asked and what went through it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Seen {
    targets: Vec<String>,
    through: Vec<u8>,
}

pub struct ConnectProxy {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl ConnectProxy {
    /// `login`: the value of Proxy-Authorization that it asks for.
    pub fn start(login: Option<&'static str>) -> ConnectProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let there = seen.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let there = there.clone();
                std::thread::spawn(move || serve(client, login, &there));
            }
        });
        ConnectProxy { port, seen }
    }

    pub fn targets(&self) -> Vec<String> {
        self.seen.lock().unwrap().targets.clone()
    }

    /// What clients sent into their tunnels.
    pub fn through(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().through).into_owned()
    }
}

fn serve(client: TcpStream, login: Option<&str>, seen: &Arc<Mutex<Seen>>) {
    let mut client = BufReader::new(client);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let mut say = |text: &str| client.get_mut().write_all(text.as_bytes()).is_ok();
    let Some(target) = head[0].strip_prefix("CONNECT ").and_then(|rest| rest.strip_suffix(" HTTP/1.1")) else {
        say("HTTP/1.1 405 Only tunnels here\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    let given = head.iter().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    if login.is_some() && given != login {
        say(
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
        );
        return;
    }
    seen.lock().unwrap().targets.push(target.to_owned());
    let Ok(server) = TcpStream::connect(target) else {
        say("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    if !say("HTTP/1.1 200 Connection established\r\n\r\n") {
        return;
    }
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.get_ref().try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut to_server, mut buffer) = (server, [0; 8192]);
    while let Ok(count) = client.read(&mut buffer)
        && count > 0
    {
        seen.lock().unwrap().through.extend_from_slice(&buffer[..count]);
        if to_server.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to_server.shutdown(Shutdown::Both);
}
