//! From a host name to a session that is logged in: TLS, greeting, CAPA, STLS, login.
//!
//! Nothing secret is sent before the connection is what the profile asks for: STLS that is wanted and not offered
//! is an error, and so is plaintext to another machine without `allow_plaintext`.

use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::options::{Pop3Auth, Pop3Options};
use super::wire::{Challenge, Failure, Wire};
use crate::net::tls::NetError;
use crate::net::{TlsMode, clean, tls};
use crate::sources::failure::{exposed, exposes, net_error, operator};
use crate::sources::login::{self, Credential, Mechanism, Target, TokenStatus, explain, token_mechanism};
use crate::sources::{Retry, Scope, SourceError};

/// What the server says it can do (CAPA, RFC 2449), in upper case.
#[derive(Clone, Debug, Default)]
pub(super) struct Capabilities(Vec<String>);

impl Capabilities {
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|line| line.split(' ').next() == Some(name))
    }

    /// The first word behind the name of a capability.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next())
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
    pub port: u16,
    pub tls: TlsMode,
    pub greeting: String,
    pub capabilities: Capabilities,
}

/// Connects and logs in; once more where a token was refused and another is to be had. Says how, too.
pub(super) async fn session(options: &Pop3Options) -> Result<(Greeted, &'static str), SourceError> {
    let at_hand = login::first(&options.login, &options.username).await?;
    let refused = match session_with(options, &at_hand).await {
        Ok(session) => return Ok(session),
        Err(refused) => refused,
    };
    let another = login::second(&options.login, &options.username, &at_hand, refused).await?;
    session_with(options, &another).await
}

async fn session_with(options: &Pop3Options, credential: &Credential) -> Result<(Greeted, &'static str), SourceError> {
    let mut greeted = connect(options).await?;
    let way = log_in(&mut greeted, options, credential).await?;
    Ok((greeted, way))
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
    let connected = tls::connect(&options.host, port, mode, &options.trust, options.timeout)
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
    Ok(Greeted { wire, peer, port, tls: mode, greeting, capabilities })
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
    let secured = tls::handshake(stream, &options.host, &options.trust, options.timeout)
        .await
        .map_err(|error| net_error(&error, what))?;
    Ok(Wire::new(secured.stream, options.timeout))
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

/// What is said at the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Sasl(Mechanism),
    UserPass,
}

/// Logs in and says how. Only one way is tried: a second attempt with the same password counts twice at a server that
/// locks accounts.
pub(super) async fn log_in(
    greeted: &mut Greeted,
    options: &Pop3Options,
    credential: &Credential,
) -> Result<&'static str, SourceError> {
    let what = format!("logging in as {}", clean(&options.username));
    let user = options.username.as_str();
    let unfit = |text: &str| text.contains(['\0', '\x01', '\r', '\n']);
    if unfit(user)
        || matches!(credential, Credential::Password(secret) | Credential::Token(secret) if unfit(secret.expose()))
    {
        return Err(operator(Scope::Profile, what, "a line break or NUL in it cannot be sent", None));
    }
    let way = choose(options.auth, credential, &greeted.capabilities)
        .map_err(|(answer, hint)| operator(Scope::Profile, what.as_str(), answer, Some(hint)))?;
    let mut told = None;
    let wire = &mut greeted.wire;
    let (name, done) = match (way, credential) {
        (Way::Sasl(mechanism), _) => {
            let target = Target { host: &options.host, port: greeted.port };
            let Some(message) = mechanism.message(target, user, credential) else {
                return Err(operator(Scope::Profile, what, format!("{} cannot say it", mechanism.name()), None));
            };
            (mechanism.name(), authenticate(wire, mechanism, &message, &mut told).await)
        }
        (Way::UserPass, Credential::Password(password)) => {
            ("USER and PASS", user_pass(wire, user, password.expose()).await)
        }
        (Way::UserPass, Credential::Token(_) | Credential::Certificate) => {
            return Err(operator(Scope::Profile, what, "PASS takes a password only", None));
        }
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
            let told = told.as_deref().and_then(TokenStatus::read);
            explain(&mut error, credential, told.as_ref(), "POP3");
        }
        error
    })?;
    Ok(name)
}

/// `Err`: why there is none, and what to do.
fn choose(auth: Pop3Auth, credential: &Credential, offered: &Capabilities) -> Result<Way, (String, &'static str)> {
    const OTHER: &str = "leave `auth` out, or see what the account and the server are set up for";
    match (auth, credential) {
        // With PASS, a password that holds more than ASCII has no defined encoding; PLAIN says UTF-8.
        (Pop3Auth::Auto, Credential::Password(password))
            if offered.takes("PLAIN") && (!offered.has("USER") || !password.expose().is_ascii()) =>
        {
            Ok(Way::Sasl(Mechanism::Plain))
        }
        (Pop3Auth::Plain, Credential::Password(_)) => Ok(Way::Sasl(Mechanism::Plain)),
        (Pop3Auth::Auto | Pop3Auth::User, Credential::Password(_)) => Ok(Way::UserPass),
        (Pop3Auth::Auto, Credential::Token(_)) => {
            token_mechanism(|name| offered.takes(name)).map(Way::Sasl).ok_or_else(|| {
                let answer = "the server offers neither OAUTHBEARER nor XOAUTH2 on this connection";
                (answer.to_owned(), "OAuth2 must be enabled there; or it wants TLS; a password goes without `oauth2`")
            })
        }
        (Pop3Auth::XOAuth2, Credential::Token(_)) => Ok(Way::Sasl(Mechanism::XOAuth2)),
        (Pop3Auth::OAuthBearer, Credential::Token(_)) => Ok(Way::Sasl(Mechanism::OAuthBearer)),
        (Pop3Auth::Auto | Pop3Auth::External, Credential::Certificate) => Ok(Way::Sasl(Mechanism::External)),
        (
            Pop3Auth::Plain | Pop3Auth::User | Pop3Auth::XOAuth2 | Pop3Auth::OAuthBearer | Pop3Auth::External,
            Credential::Password(_) | Credential::Token(_) | Credential::Certificate,
        ) => Err(("`auth` is for another kind of login than the configured one".to_owned(), OTHER)),
    }
}

/// `told`: the reason that the server gives before it ends the login, in base64.
async fn authenticate(
    wire: &mut Wire,
    mechanism: Mechanism,
    message: &str,
    told: &mut Option<String>,
) -> Result<(), Failure> {
    // Not in one line with the command: that may have 255 bytes (RFC 5034 §4), and a token is longer.
    wire.send(&format!("AUTH {}", mechanism.name())).await?;
    let mut rest = Some(message);
    loop {
        let text = match wire.challenge().await? {
            Challenge::Done if rest.is_none() => return Ok(()),
            Challenge::Done => return Err(wire.give_up(Failure::Protocol("it logs in without a login".into()))),
            Challenge::More(text) => text,
        };
        match (rest.take(), mechanism.dismissal()) {
            (Some(message), _) => wire.send(message).await?,
            (None, Some(dismissal)) if told.is_none() => {
                *told = Some(text);
                wire.send(dismissal).await?;
            }
            (None, _) => return Err(wire.give_up(Failure::Protocol("it asks for more than a login has".into()))),
        }
    }
}

async fn user_pass(wire: &mut Wire, user: &str, password: &str) -> Result<(), Failure> {
    wire.run(&format!("USER {user}")).await?;
    let line = Zeroizing::new(format!("PASS {password}"));
    wire.run(&line).await.map(|_| ())
}
