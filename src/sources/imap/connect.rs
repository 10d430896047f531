//! From a host name to a session that is logged in.
//!
//! Nothing secret is sent before the connection is what the profile asks for: STARTTLS that is wanted
//! and not offered is an error, and so is plaintext to another machine without `allow_plaintext`, here
//! as well as in the configuration.

use std::net::SocketAddr;

use async_imap::imap_proto::{Response, ResponseCode, Status};
use zeroize::Zeroizing;

use super::capabilities::Capabilities;
use super::names::quote;
use super::options::{ImapAuth, ImapOptions};
use super::wire::{Answer, Done, Failure, Wire, protocol};
use crate::net::deflate::deflated;
use crate::net::{BoxTransport, TlsMode, clean, tls};
use crate::sources::failure::{exposed, exposes, net_error, operator};
use crate::sources::login::{self, Credential, Mechanism, Target, TokenStatus, explain, token_mechanism};
use crate::sources::{Retry, Scope, SourceError};

/// A longer message waits for the server's `+`: servers bound the length of a command (Exchange: 10,240 bytes).
const INITIAL_BYTES_MAX: usize = 8000;

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
    /// How it was logged in.
    pub way: &'static str,
}

/// Connects and logs in; once more where a token was refused and another is to be had.
pub(super) async fn session(options: &ImapOptions) -> Result<(LoggedIn, SocketAddr), SourceError> {
    let at_hand = login::first(&options.login, &options.username).await?;
    let refused = match session_with(options, &at_hand).await {
        Ok(session) => return Ok(session),
        Err(refused) => refused,
    };
    let another = login::second(&options.login, &options.username, &at_hand, refused).await?;
    session_with(options, &another).await
}

/// The session on a compressed connection, where that is wanted and offered; else as it is.
pub(super) async fn compressed(session: LoggedIn, options: &ImapOptions) -> Result<LoggedIn, SourceError> {
    if !options.compress || !session.capabilities.has("COMPRESS=DEFLATE") {
        return Ok(session);
    }
    let LoggedIn { mut wire, greeting, capabilities, way } = session;
    let what = "compressing the connection";
    wire.run("COMPRESS DEFLATE", |_| Ok(()))
        .await
        .map_err(|failure| failure.into_error(what, Scope::Profile, Retry::Later))?;
    if wire.diverter().has_more() {
        // From the answer's end on everything is compressed; what was read ahead would be taken for plain text.
        let failure = wire.give_up(protocol("it sent more than its answer before it compresses"));
        return Err(failure.into_error(what, Scope::Profile, Retry::Later));
    }
    tracing::debug!("the connection is compressed");
    let wire = Wire::new(deflated(wire.into_inner()), options.timeout);
    Ok(LoggedIn { wire, greeting, capabilities, way })
}

async fn session_with(options: &ImapOptions, credential: &Credential) -> Result<(LoggedIn, SocketAddr), SourceError> {
    let (greeted, peer) = connect(options).await?;
    Ok((log_in(greeted, options, credential).await?, peer))
}

pub(super) async fn connect(options: &ImapOptions) -> Result<(Greeted, SocketAddr), SourceError> {
    let what = format!("connecting to {}:{}", clean(&options.host), options.port);
    let connected = tls::connect(&options.host, options.port, options.tls, &options.trust, options.timeout)
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
    let secured = tls::handshake(wire.into_inner(), &options.host, &options.trust, options.timeout)
        .await
        .map_err(|error| net_error(&error, what))?;
    // What was offered before the handshake is not believed after it.
    Ok(Greeted { wire: Wire::new(secured.stream, options.timeout), greeting, capabilities: None })
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

/// What is said at the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Sasl(Mechanism),
    /// The command LOGIN.
    Login,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Sasl(mechanism) => mechanism.name(),
            Way::Login => "LOGIN",
        }
    }
}

/// Logs in. Only one way is tried: a second attempt with the same password counts twice at a server
/// that locks accounts.
pub(super) async fn log_in(
    greeted: Greeted,
    options: &ImapOptions,
    credential: &Credential,
) -> Result<LoggedIn, SourceError> {
    let what = format!("logging in as {}", clean(&options.username));
    let Greeted { mut wire, greeting, capabilities } = greeted;
    let offered = match capabilities {
        Some(capabilities) => capabilities,
        None => ask_capabilities(&mut wire).await?,
    };
    let way = choose(options.auth, credential, &offered)
        .map_err(|(answer, hint)| operator(Scope::Profile, what.as_str(), answer, Some(hint)))?;
    let user = options.username.as_str();
    let unfit = |text: &str| text.contains(['\0', '\x01']);
    if unfit(user)
        || matches!(credential, Credential::Password(secret) | Credential::Token(secret) if unfit(secret.expose()))
    {
        return Err(operator(Scope::Profile, what, "a control character in it cannot be sent", None));
    }
    let mut told = None;
    let result = match (way, credential) {
        (Way::Sasl(mechanism), _) => {
            let target = Target { host: &options.host, port: options.port };
            let Some(message) = mechanism.message(target, user, credential) else {
                return Err(operator(Scope::Profile, what, format!("{} cannot say it", mechanism.name()), None));
            };
            authenticate(&mut wire, mechanism, &message, offered.has("SASL-IR"), &mut told).await
        }
        (Way::Login, Credential::Password(password)) => login(&mut wire, user, password.expose()).await,
        (Way::Login, Credential::Token(_) | Credential::Certificate) => {
            return Err(operator(Scope::Profile, what, "LOGIN takes a password only", None));
        }
    };
    let done = result.map_err(|failure| {
        // What a server says to a token that it does not know differs: NO, and BAD when it breaks the login off.
        let refused = matches!(failure, Failure::No(_)) || (told.is_some() && matches!(failure, Failure::Bad(_)));
        let refused = refused && !failure.is_passing_no();
        let mut error = failure.into_error(what.as_str(), Scope::Profile, Retry::Operator);
        if refused {
            let told = told.as_deref().and_then(TokenStatus::read);
            explain(&mut error, credential, told.as_ref(), "IMAP");
        }
        error
    })?;
    // What is offered after the login is often more than before.
    let capabilities = match done.capabilities {
        Some(capabilities) => capabilities,
        None => ask_capabilities(&mut wire).await?,
    };
    Ok(LoggedIn { wire, greeting, capabilities, way: way.name() })
}

/// `Err`: why there is none, and what to do.
fn choose(auth: ImapAuth, credential: &Credential, offered: &Capabilities) -> Result<Way, (String, &'static str)> {
    let offers = |mechanism: &str| offered.has(&format!("AUTH={mechanism}"));
    let sasl = |mechanism: Mechanism, hint: &'static str| match offers(mechanism.name()) {
        true => Ok(Way::Sasl(mechanism)),
        false => Err((format!("the server does not offer AUTHENTICATE {}", mechanism.name()), hint)),
    };
    let login = || match offered.has("LOGINDISABLED") {
        false => Ok(Way::Login),
        true => Err((
            "the server takes no password on this connection (LOGINDISABLED)".to_owned(),
            "it usually wants TLS: `tls = \"starttls\"` or `\"implicit\"`",
        )),
    };
    const OTHER: &str = "leave `auth` out, or see what the account and the server are set up for";
    match (auth, credential) {
        (ImapAuth::Auto, Credential::Password(_)) if offers("PLAIN") => Ok(Way::Sasl(Mechanism::Plain)),
        (ImapAuth::Auto | ImapAuth::Login, Credential::Password(_)) => login(),
        (ImapAuth::Plain, Credential::Password(_)) => sasl(Mechanism::Plain, "try `auth = \"login\"`, or TLS"),
        (ImapAuth::Auto, Credential::Token(_)) => token_mechanism(offers).map(Way::Sasl).ok_or_else(|| {
            let answer = "the server offers neither OAUTHBEARER nor XOAUTH2 on this connection";
            (answer.to_owned(), "OAuth2 must be enabled there; or it wants TLS; a password goes without `oauth2`")
        }),
        (ImapAuth::XOAuth2, Credential::Token(_)) => sasl(Mechanism::XOAuth2, OTHER),
        (ImapAuth::OAuthBearer, Credential::Token(_)) => sasl(Mechanism::OAuthBearer, OTHER),
        (ImapAuth::Auto | ImapAuth::External, Credential::Certificate) => {
            sasl(Mechanism::External, "the server must ask for a client certificate and take EXTERNAL; over TLS only")
        }
        (
            ImapAuth::Plain | ImapAuth::Login | ImapAuth::XOAuth2 | ImapAuth::OAuthBearer | ImapAuth::External,
            Credential::Password(_) | Credential::Token(_) | Credential::Certificate,
        ) => Err(("`auth` is for another kind of login than the configured one".to_owned(), OTHER)),
    }
}

/// `told`: the reason that the server gives before it ends the login, in base64.
async fn authenticate(
    wire: &mut Wire,
    mechanism: Mechanism,
    message: &str,
    initial_response: bool,
    told: &mut Option<String>,
) -> Result<Done, Failure> {
    let mut command = Zeroizing::new(format!("AUTHENTICATE {}", mechanism.name()));
    let mut rest = Some(message);
    if initial_response && message.len() <= INITIAL_BYTES_MAX {
        command.push(' ');
        // Nothing at all is said as `=` (RFC 4959 §3).
        command.push_str(if message.is_empty() { "=" } else { message });
        rest = None;
    }
    wire.start(&command).await?;
    loop {
        match wire.next(|_| ()).await? {
            Answer::Data(()) => {}
            Answer::Done(done) => return done,
            Answer::Continue(text) => match (rest.take(), mechanism.dismissal()) {
                (Some(message), _) => wire.write(Zeroizing::new(format!("{message}\r\n")).as_bytes()).await?,
                (None, Some(dismissal)) if told.is_none() => {
                    *told = Some(text);
                    wire.write(format!("{dismissal}\r\n").as_bytes()).await?;
                }
                (None, _) => return Err(wire.give_up(protocol("it asks for more than a login has"))),
            },
        }
    }
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
            Answer::Continue(_) => match parts.next() {
                Some(part) => wire.write(part).await?,
                None => return Err(wire.give_up(protocol("it asks for more than a login has"))),
            },
        }
    }
}
