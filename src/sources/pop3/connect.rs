//! From a host name to a session that is logged in: TLS, greeting, CAPA, STLS, login.
//!
//! Nothing secret is sent before the connection is what the profile asks for: STLS that is wanted and not offered
//! is an error, and so is plaintext to another machine without `allow_plaintext`.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::options::{Pop3Auth, Pop3Options};
use super::wire::{Failure, Wire};
use crate::net::tls::NetError;
use crate::net::{TlsMode, clean, tls};
use crate::sources::failure::{exposed, exposes, net_error, operator};
use crate::sources::{Retry, Scope, SourceError};

/// What the server says it can do (CAPA, RFC 2449), in upper case.
#[derive(Clone, Debug, Default)]
pub(super) struct Capabilities(Vec<String>);

impl Capabilities {
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|line| line.split(' ').next() == Some(name))
    }

    fn takes(&self, mechanism: &str) -> bool {
        self.0.iter().any(|line| {
            let mut words = line.split(' ');
            words.next() == Some("SASL") && words.any(|word| word == mechanism)
        })
    }
}

/// A session before its login.
pub(super) struct Greeted {
    pub wire: Wire,
    pub peer: SocketAddr,
    pub tls: TlsMode,
    pub greeting: String,
    pub capabilities: Capabilities,
}

pub(super) async fn connect(options: &Pop3Options) -> Result<Greeted, SourceError> {
    let mut refused = None;
    for &(port, mode) in &options.ports {
        match connect_to(options, port, mode).await {
            // Nothing listens there; whatever else goes wrong is what the administrator must hear.
            Err((_, Some(NetError::Refused { .. }))) if refused.is_none() && options.ports.len() > 1 => {
                refused = Some(port);
            }
            done => return done.map_err(|(error, _)| error),
        }
    }
    let what = format!("connecting to {}", clean(&options.host));
    Err(operator(Scope::Profile, what, "no port is configured", None))
}

async fn connect_to(
    options: &Pop3Options,
    port: u16,
    mode: TlsMode,
) -> Result<Greeted, (SourceError, Option<NetError>)> {
    let what = format!("connecting to {}:{port}", clean(&options.host));
    let connected = tls::connect(&options.host, port, mode, options.ca_file.as_deref(), options.timeout)
        .await
        .map_err(|error| (net_error(&error, &what), Some(error)))?;
    let peer = connected.peer;
    if exposes(mode, options.allow_plaintext, peer) {
        return Err((exposed(what, peer), None));
    }
    let mut wire = Wire::new(connected.stream, options.timeout);
    let greeting =
        wire.status().await.map_err(|failure| (failure.into_error("reading the greeting", Retry::Later), None))?;
    if mode == TlsMode::StartTls {
        wire = protect(wire, options).await.map_err(|error| (error, None))?;
    }
    let capabilities = capabilities(&mut wire).await.map_err(|error| (error, None))?;
    Ok(Greeted { wire, peer, tls: mode, greeting, capabilities })
}

async fn protect(mut wire: Wire, options: &Pop3Options) -> Result<Wire, SourceError> {
    let what = "protecting the connection with STLS";
    wire.run("STLS").await.map_err(|failure| {
        let refused = matches!(failure, Failure::Refused { .. });
        let mut error = failure.into_error(what, Retry::Operator);
        if refused {
            error.hint = Some("use `tls = \"implicit\"` and its port (995), or turn STLS on at the server".into());
        }
        error
    })?;
    let (stream, more) = wire.into_inner();
    if more {
        // Whoever wrote this was not protected by what follows (CVE-2011-0411 and its like).
        let answer = "the server sent more than its answer before the handshake";
        return Err(operator(Scope::Profile, what, answer, Some("somebody may be tampering with the connection")));
    }
    let stream = tls::handshake(stream, &options.host, options.ca_file.as_deref(), options.timeout)
        .await
        .map_err(|error| net_error(&error, what))?;
    Ok(Wire::new(stream, options.timeout))
}

/// A server without CAPA can do what RFC 1939 demands of all.
async fn capabilities(wire: &mut Wire) -> Result<Capabilities, SourceError> {
    let what = "asking what the server can do";
    let mut found = Capabilities::default();
    match wire.run("CAPA").await {
        Ok(_) => {}
        Err(Failure::Refused { .. }) => return Ok(found),
        Err(failure) => return Err(failure.into_error(what, Retry::Later)),
    }
    let read = wire.lines(|line| {
        found.0.push(line.to_ascii_uppercase());
        if found.0.len() > 1000 { Err(Failure::Protocol("it can do too much".into())) } else { Ok(()) }
    });
    read.await.map_err(|failure| failure.into_error(what, Retry::Later))?;
    Ok(found)
}

/// Logs in. Only one way is tried: a second attempt with the same password counts twice at a server that locks
/// accounts.
pub(super) async fn log_in(greeted: &mut Greeted, options: &Pop3Options) -> Result<(), SourceError> {
    let what = format!("logging in as {}", clean(&options.username));
    let (user, password) = (options.username.as_str(), options.password.expose());
    let unfit = |text: &str| text.contains(['\0', '\r', '\n']);
    if unfit(user) || unfit(password) {
        return Err(operator(Scope::Profile, what, "a line break or NUL in it cannot be sent", None));
    }
    let offered = &greeted.capabilities;
    let plain = match options.auth {
        Pop3Auth::Plain => true,
        Pop3Auth::User => false,
        // With PASS, a password that holds more than ASCII has no defined encoding; PLAIN says UTF-8.
        Pop3Auth::Auto => offered.takes("PLAIN") && (!offered.has("USER") || !password.is_ascii()),
    };
    let wire = &mut greeted.wire;
    let done = if plain {
        let message = Zeroizing::new(format!("\0{user}\0{password}"));
        let coded = Zeroizing::new(STANDARD.encode(message.as_bytes()));
        authenticate(wire, &coded).await
    } else {
        user_pass(wire, user, password).await
    };
    done.map_err(|failure| {
        let lasting = match &failure {
            Failure::Refused { code, .. } => {
                let code = code.as_deref().unwrap_or_default();
                !matches!(code, "IN-USE" | "LOGIN-DELAY") && !code.starts_with("SYS")
            }
            _ => false,
        };
        let mut error = failure.into_error(what, Retry::Operator);
        if lasting {
            error.hint = Some("check the login and the password, and that the account may use POP3".into());
        }
        error
    })?;
    Ok(())
}

async fn authenticate(wire: &mut Wire, coded: &str) -> Result<String, Failure> {
    wire.send("AUTH PLAIN").await?;
    wire.challenge().await?;
    wire.run(coded).await
}

async fn user_pass(wire: &mut Wire, user: &str, password: &str) -> Result<String, Failure> {
    wire.run(&format!("USER {user}")).await?;
    let line = Zeroizing::new(format!("PASS {password}"));
    wire.run(&line).await
}
