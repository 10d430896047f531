//! Somebody between client and server, with a certificate that the client's authority signed; and a forwarder whose
//! target can be changed.

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    Implicit,
    /// After this line of the client's, with this answer.
    With(&'static str, &'static str),
}

/// Ends TLS, passes everything on to the plain port of a real server, and keeps what the client said.
pub struct Middle {
    pub port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Middle {
    /// `folder` holds `middle.pem` and `middle.key`.
    pub fn before(plain_port: u16, folder: &Path, begins: Begins) -> Middle {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let identity = native_tls::Identity::from_pkcs8(&read("middle.pem"), &read("middle.key")).unwrap();
        let acceptor = tokio_native_tls::TlsAcceptor::from(native_tls::TlsAcceptor::new(identity).unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, ears) = (Arc::new(acceptor), heard.clone());
        let port = listen(move |client| {
            let (acceptor, ears) = (acceptor.clone(), ears.clone());
            async move {
                let server = TcpStream::connect(("127.0.0.1", plain_port)).await.ok()?;
                let (client, server) = match begins {
                    Begins::Implicit => (client, server),
                    Begins::With(line, answer) => before_tls(client, server, line, answer).await?,
                };
                let client = acceptor.accept(client).await.ok()?;
                pass(client, server, Some(ears)).await;
                Some(())
            }
        });
        Middle { port, heard }
    }

    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

/// The server's greeting goes through, and the client's wish for TLS is granted here.
async fn before_tls(client: TcpStream, server: TcpStream, wish: &str, answer: &str) -> Option<(TcpStream, TcpStream)> {
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    let mut greeting = String::new();
    server.read_line(&mut greeting).await.ok()?;
    client.get_mut().write_all(greeting.as_bytes()).await.ok()?;
    let mut line = String::new();
    client.read_line(&mut line).await.ok()?;
    assert!(line.contains(wish), "{line:?} in place of {wish}");
    let tag = line.split(' ').next()?.to_owned();
    client.get_mut().write_all(answer.replace("TAG", &tag).as_bytes()).await.ok()?;
    Some((client.into_inner(), server.into_inner()))
}

/// Passes connections on to a port of this machine that can be another one for the next connection.
pub struct Switch {
    pub port: u16,
    target: Arc<AtomicU16>,
}

impl Switch {
    pub fn to(port: u16) -> Switch {
        let target = Arc::new(AtomicU16::new(port));
        let now = target.clone();
        let port = listen(move |client| {
            let port = now.load(Ordering::SeqCst);
            async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
                pass(client, server, None).await;
                Some(())
            }
        });
        Switch { port, target }
    }

    /// From the next connection on.
    pub fn turn(&self) -> impl Fn(u16) + Send + 'static {
        let target = self.target.clone();
        move |port| target.store(port, Ordering::SeqCst)
    }
}

/// Serves connections until the test's process ends.
fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client));
            }
        });
    });
    port
}

async fn pass<A, B>(client: A, server: B, ears: Option<Arc<Mutex<Vec<u8>>>>)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut buffer = [0; 8192];
        loop {
            match from_client.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    if let Some(ears) = &ears {
                        ears.lock().unwrap().extend_from_slice(&buffer[..count]);
                    }
                    if to_server.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            }
        }
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    // Whichever side ends first ends the other.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    let _ = (to_client.shutdown().await, to_server.shutdown().await);
}
