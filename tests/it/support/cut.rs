//! A connection that breaks off: passes so many bytes of the server's on, then ends both sides.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Listens for connections to a server on loopback. All of them together pass at most so many bytes.
pub struct Cut {
    pub port: u16,
    left: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
    greeting: Arc<Mutex<Option<&'static str>>>,
}

impl Cut {
    pub fn before(server: u16) -> Cut {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (left, passed) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        let (left_there, passed_there) = (left.clone(), passed.clone());
        let greeting = Arc::new(Mutex::new(None::<&'static str>));
        let greeting_there = greeting.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                if let Some(text) = greeting_there.lock().unwrap().take() {
                    let _ = client.write_all(text.as_bytes());
                    let _ = client.shutdown(Shutdown::Both);
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (left, passed) = (left_there.clone(), passed_there.clone());
                std::thread::spawn(move || pass(client, server, &left, &passed));
            }
        });
        Cut { port, left, passed, greeting }
    }

    /// From now on so many bytes pass.
    pub fn after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// The next connection is greeted in this way, and ends.
    pub fn greet_once(&self, text: &'static str) {
        *self.greeting.lock().unwrap() = Some(text);
    }

    /// How many bytes the servers have sent.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

fn pass(client: TcpStream, mut server: TcpStream, left: &AtomicU64, passed: &AtomicU64) {
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        // Whichever side ends first ends the other.
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let mut client = client;
    let mut buffer = [0; 4096];
    while let Ok(count) = server.read(&mut buffer)
        && count > 0
    {
        passed.fetch_add(count as u64, Ordering::SeqCst);
        let allowed = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(count as u64)))
            .unwrap_or(0)
            .min(count as u64) as usize;
        if client.write_all(&buffer[..allowed]).is_err() || allowed < count {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
