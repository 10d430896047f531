//! From a host name to a session that is logged in.
//!
//! Nothing secret is sent before the connection is what the profile asks for: STARTTLS that is wanted
//! and not offered is an error, and so is plaintext to another machine without `allow_plaintext`, here
//! as well as in the configuration.

use std::net::SocketAddr;

use async_imap::imap_proto::{Response, ResponseCode, Status};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::capabilities::Capabilities;
use super::names::quote;
use super::options::{ImapAuth, ImapOptions};
use super::wire::{Answer, Done, Failure, Wire, protocol};
use crate::net::{BoxTransport, TlsMode, clean, tls};
use crate::sources::failure::{exposed, exposes, net_error, operator};
use crate::sources::{Retry, Scope, SourceError};

/// A session before its login.
pub(super) struct Greeted {
    pub wire: Wire,
    pub greeting: String,
    capabilities: Option<Capabilities>,
}

/// A session after its login.
pub(super) struct LoggedIn {
    pub wire: Wire,
    pub greeting: String,
    pub capabilities: Capabilities,
}

pub(super) async fn connect(options: &ImapOptions) -> Result<(Greeted, SocketAddr), SourceError> {
    let what = format!("connecting to {}:{}", clean(&options.host), options.port);
    let connected = tls::connect(&options.host, options.port, options.tls, options.ca_file.as_deref(), options.timeout)
        .await
        .map_err(|error| net_error(&error, &what))?;
    let peer = connected.peer;
    if exposes(options.tls, options.allow_plaintext, peer) {
        return Err(exposed(what, peer));
    }
    Ok((greet(connected.stream, options).await?, peer))
}

/// Reads the greeting, and makes the connection a TLS one where STARTTLS is configured.
pub(super) async fn greet(stream: BoxTransport, options: &ImapOptions) -> Result<Greeted, SourceError> {
    let mut wire = Wire::new(stream, options.timeout);
    let (greeting, capabilities) = read_greeting(&mut wire)
        .await
        .map_err(|failure| failure.into_error("reading the greeting", Scope::Profile, Retry::Later))?;
    if options.tls != TlsMode::StartTls {
        return Ok(Greeted { wire, greeting, capabilities });
    }
    let what = "protecting the connection with STARTTLS";
    let capabilities = match capabilities {
        Some(capabilities) => capabilities,
        None => ask_capabilities(&mut wire).await?,
    };
    if !capabilities.has("STARTTLS") {
        let hint = "use `tls = \"implicit\"` and its port (993), or turn STARTTLS on at the server";
        return Err(operator(Scope::Profile, what, "the server does not offer it", Some(hint)));
    }
    wire.run("STARTTLS", |_| Ok(()))
        .await
        .map_err(|failure| failure.into_error(what, Scope::Profile, Retry::Operator))?;
    if wire.diverter().has_more() {
        // Whoever wrote this was not protected by what follows (CVE-2011-0411 and its like).
        let answer = "the server sent more than its answer before the handshake";
        return Err(operator(Scope::Profile, what, answer, Some("somebody may be tampering with the connection")));
    }
    let stream = tls::handshake(wire.into_inner(), &options.host, options.ca_file.as_deref(), options.timeout)
        .await
        .map_err(|error| net_error(&error, what))?;
    // What was offered before the handshake is not believed after it.
    Ok(Greeted { wire: Wire::new(stream, options.timeout), greeting, capabilities: None })
}

async fn read_greeting(wire: &mut Wire) -> Result<(String, Option<Capabilities>), Failure> {
    let greeting = wire
        .read(|response| {
            let Response::Data { status, outcome } = response else {
                return Err(protocol("it does not begin with a greeting"));
            };
            let text = clean(outcome.information.as_deref().unwrap_or_default());
            match status {
                Status::Ok => match &outcome.code {
                    Some(ResponseCode::Capabilities(list)) => Ok((text, Some(Capabilities::of(list)))),
                    _ => Ok((text, None)),
                },
                Status::Bye => Err(Failure::Bye(text)),
                // As whom? A session that nobody logged in to may be anybody's, and cannot be given TLS.
                Status::PreAuth => Err(protocol("it logged this connection in by itself (PREAUTH)")),
                Status::No | Status::Bad => Err(protocol("its greeting is a refusal")),
            }
        })
        .await?;
    greeting.map_err(|failure| wire.give_up(failure))
}

async fn ask_capabilities(wire: &mut Wire) -> Result<Capabilities, SourceError> {
    let mut found = None;
    let done = wire
        .run("CAPABILITY", |response| {
            if let Response::Capabilities(list) = response {
                found = Some(Capabilities::of(list));
            }
            Ok(())
        })
        .await
        .map_err(|failure| failure.into_error("asking for capabilities", Scope::Profile, Retry::Later))?;
    Ok(found.or(done.capabilities).unwrap_or_default())
}

/// Logs in. Only one way is tried: a second attempt with the same password counts twice at a server
/// that locks accounts.
pub(super) async fn log_in(greeted: Greeted, options: &ImapOptions) -> Result<LoggedIn, SourceError> {
    let what = format!("logging in as {}", clean(&options.username));
    let Greeted { mut wire, greeting, capabilities } = greeted;
    let offered = match capabilities {
        Some(capabilities) => capabilities,
        None => ask_capabilities(&mut wire).await?,
    };
    let (user, password) = (options.username.as_str(), options.password.expose());
    if user.contains('\0') || password.contains('\0') {
        return Err(operator(Scope::Profile, what, "a NUL character cannot be sent", None));
    }
    let plain_offered = offered.has("AUTH=PLAIN");
    let refuse = |answer: &str, hint: &str| Err(operator(Scope::Profile, what.as_str(), answer, Some(hint)));
    let with_plain = match options.auth {
        ImapAuth::Auto => plain_offered,
        ImapAuth::Plain if !plain_offered => {
            return refuse("the server does not offer AUTHENTICATE PLAIN", "try `auth = \"login\"`, or TLS");
        }
        ImapAuth::Plain => true,
        ImapAuth::Login => false,
    };
    if !with_plain && offered.has("LOGINDISABLED") {
        return refuse(
            "the server takes no password on this connection (LOGINDISABLED)",
            "it usually wants TLS: `tls = \"starttls\"` or `\"implicit\"`",
        );
    }
    let result = match with_plain {
        true => authenticate_plain(&mut wire, user, password, offered.has("SASL-IR")).await,
        false => login(&mut wire, user, password).await,
    };
    let done = result.map_err(|failure| {
        let refused = matches!(failure, Failure::No(_)) && !failure.is_passing_no();
        let mut error = failure.into_error(what.as_str(), Scope::Profile, Retry::Operator);
        if refused {
            error.hint = Some("check `username` and `password`, and that the account may use IMAP".into());
        }
        error
    })?;
    // What is offered after the login is often more than before.
    let capabilities = match done.capabilities {
        Some(capabilities) => capabilities,
        None => ask_capabilities(&mut wire).await?,
    };
    Ok(LoggedIn { wire, greeting, capabilities })
}

async fn authenticate_plain(
    wire: &mut Wire,
    user: &str,
    password: &str,
    initial_response: bool,
) -> Result<Done, Failure> {
    let message = Zeroizing::new(format!("\0{user}\0{password}"));
    let coded = Zeroizing::new(STANDARD.encode(message.as_bytes()));
    if initial_response {
        let command = Zeroizing::new(format!("AUTHENTICATE PLAIN {}", coded.as_str()));
        return with_parts(wire, &command, &[]).await;
    }
    let line = Zeroizing::new(format!("{}\r\n", coded.as_str()));
    with_parts(wire, "AUTHENTICATE PLAIN", &[line.as_bytes()]).await
}

async fn login(wire: &mut Wire, user: &str, password: &str) -> Result<Done, Failure> {
    let quotable = |text: &str| text.len() < 1000 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if quotable(user) && quotable(password) {
        let command = Zeroizing::new(format!("LOGIN {} {}", quote(user), quote(password)));
        return with_parts(wire, &command, &[]).await;
    }
    // Anything else can only be said in literals, one after the other.
    let first = Zeroizing::new(format!("{user} {{{}}}\r\n", password.len()));
    let second = Zeroizing::new(format!("{password}\r\n"));
    with_parts(wire, &format!("LOGIN {{{}}}", user.len()), &[first.as_bytes(), second.as_bytes()]).await
}

/// Runs a command of which the server asks for the rest, part by part.
async fn with_parts(wire: &mut Wire, command: &str, parts: &[&[u8]]) -> Result<Done, Failure> {
    wire.start(command).await?;
    let mut parts = parts.iter();
    loop {
        match wire.next(|_| ()).await? {
            Answer::Data(()) => {}
            Answer::Done(done) => return done,
            Answer::Continue => match parts.next() {
                Some(part) => wire.write(part).await?,
                None => return Err(wire.give_up(protocol("it asks for more than a login has"))),
            },
        }
    }
}
