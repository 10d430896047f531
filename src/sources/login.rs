//! What is said at a login, whatever the protocol: SASL messages, and what a refusal of them means.
//!
//! Must: a password is never sent where tokens are configured, and never the other way round; a refused token is
//! replaced once, a refused password never: another try with the same one counts towards a lock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::failure::operator;
use super::{Retry, Scope, SourceError};
use crate::base::secret::Secret;
use crate::net::clean;
use crate::net::login::Login;
use crate::net::oauth::{TokenError, TokenProblem, Tokens};

/// What a session logs in with, at hand.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    Password(Secret),
    Token(Secret),
    Certificate,
}

/// How SASL says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Google's and Microsoft's own, older than the next.
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
    /// RFC 4422, appendix A.
    External,
}

/// The side of the server, as an OAuth2 message names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub host: &'a str,
    pub port: u16,
}

/// The token at hand, or the password; just before a session begins.
pub(super) async fn first(login: &Login, username: &str) -> Result<Credential, SourceError> {
    match login {
        Login::Password(password) => Ok(Credential::Password(password.clone())),
        Login::Certificate => Ok(Credential::Certificate),
        Login::Process => {
            let what = format!("logging in as {}", clean(username));
            Err(operator(Scope::Profile, what, "the program's own account can log in over EWS only", None))
        }
        Login::Tokens(tokens) => current(tokens, username).await.map(Credential::Token),
    }
}

pub(super) async fn current(tokens: &Tokens, username: &str) -> Result<Secret, SourceError> {
    tokens.current().await.map_err(|error| of_token(&error, username))
}

/// After a session that ended in `error`: what a second one may be tried with. Anything but a token that was refused is
/// tried no second time, and neither is the same token.
pub(super) async fn second(
    login: &Login,
    username: &str,
    refused: &Credential,
    error: SourceError,
) -> Result<Credential, SourceError> {
    match (login, refused) {
        (Login::Tokens(tokens), Credential::Token(refused)) if error.refused_login => {
            let token = tokens.instead_of(refused).await.map_err(|error| of_token(&error, username))?;
            if token.expose() == refused.expose() { Err(error) } else { Ok(Credential::Token(token)) }
        }
        _ => Err(error),
    }
}

/// An error of the token server, or on the way to it.
pub(super) fn of_token(error: &TokenError, username: &str) -> SourceError {
    let (refused_login, kind) = match error.problem {
        TokenProblem::Refused => (true, "the token server refused the login"),
        TokenProblem::Expired => (true, "what the token is asked for with is expired"),
        TokenProblem::ConsentMissing => (true, "consent is missing"),
        TokenProblem::Throttled => (false, "the token server throttles"),
        TokenProblem::Unreachable => (false, "the token server cannot be reached"),
        TokenProblem::Configuration => (false, "the configuration of OAuth2 cannot be used"),
        TokenProblem::Protocol => (false, "the token server's answer was not understood"),
    };
    SourceError {
        retry: if error.problem.is_passing() { Retry::Later } else { Retry::Operator },
        refused_login,
        hint: error.hint.clone(),
        ..SourceError::new(
            Scope::Profile,
            format!("getting a token for {} ({})", clean(username), error.what),
            format!("{kind}: {}", error.answer),
        )
    }
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::XOAuth2 => "XOAUTH2",
            Mechanism::OAuthBearer => "OAUTHBEARER",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// In base64. `None`: it cannot say this credential.
    pub fn message(self, target: Target<'_>, user: &str, credential: &Credential) -> Option<Zeroizing<String>> {
        let message = Zeroizing::new(match (self, credential) {
            (Mechanism::Plain, Credential::Password(password)) => format!("\0{user}\0{}", password.expose()),
            (Mechanism::XOAuth2, Credential::Token(token)) => {
                format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose())
            }
            (Mechanism::OAuthBearer, Credential::Token(token)) => {
                // As a name of GS2 (RFC 5801 §4).
                let name = user.replace('=', "=3D").replace(',', "=2C");
                let Target { host, port } = target;
                format!("n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {}\x01\x01", token.expose())
            }
            // Named, so that a certificate of somebody else is a refusal, and not another mailbox.
            (Mechanism::External, Credential::Certificate) => user.to_owned(),
            (Mechanism::Plain | Mechanism::XOAuth2 | Mechanism::OAuthBearer | Mechanism::External, _) => return None,
        });
        Some(Zeroizing::new(STANDARD.encode(message.as_bytes())))
    }

    /// What a server must hear after it told why it refuses a token, so that it ends the login; `None`: it never tells.
    pub fn dismissal(self) -> Option<&'static str> {
        match self {
            Mechanism::XOAuth2 => Some(""),
            // ^A (RFC 7628 §3.2.3).
            Mechanism::OAuthBearer => Some("AQ=="),
            Mechanism::Plain | Mechanism::External => None,
        }
    }
}

/// Which of the two a server takes that offers what `offers` says; the standard one first.
pub(super) fn token_mechanism(offers: impl Fn(&str) -> bool) -> Option<Mechanism> {
    [Mechanism::OAuthBearer, Mechanism::XOAuth2].into_iter().find(|mechanism| offers(mechanism.name()))
}

/// Why a server refuses a token, as it says in its error challenge (JSON in base64).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(super) struct TokenStatus {
    pub status: String,
    pub scope: String,
}

impl TokenStatus {
    /// `None`: not of that form.
    pub fn read(challenge: &str) -> Option<TokenStatus> {
        let json = STANDARD.decode(challenge.trim()).ok()?;
        let TokenStatus { status, scope } = serde_json::from_slice(&json).ok()?;
        Some(TokenStatus { status: clean(&status), scope: clean(&scope) })
    }

    fn is_about_rights(&self) -> bool {
        matches!(self.status.as_str(), "insufficient_scope" | "403")
    }
}

/// What a refused credential means, and what to do; `told` is the server's error challenge.
pub(super) fn explain(
    error: &mut SourceError,
    credential: &Credential,
    told: Option<&TokenStatus>,
    protocol: &'static str,
) {
    error.refused_login = true;
    error.hint = Some(match credential {
        Credential::Password(_) => {
            format!("check the login and the password, and that the account may use {protocol}")
        }
        Credential::Certificate => {
            format!(
                "check that the server takes `client_certificate` for this `username`, and {protocol} with EXTERNAL"
            )
        }
        Credential::Token(_) => {
            if let Some(told) = told {
                let scope =
                    if told.scope.is_empty() { String::new() } else { format!(", it wants the scope {}", told.scope) };
                error.answer = format!("{} (status {}{scope})", error.answer, told.status);
            }
            match told {
                Some(told) if told.is_about_rights() => {
                    "the token lacks a right: check the scope in `oauth2`, and that an administrator has consented to it"
                }
                _ => {
                    "the token is expired or not for this mailbox: check `username`, the scope and tenant in `oauth2`, \
                     and that the application or account may use the mailbox"
                }
            }
            .to_owned()
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mechanism: Mechanism, user: &str, credential: &Credential) -> Option<String> {
        let message = mechanism.message(Target { host: "imap.example.com", port: 993 }, user, credential)?;
        Some(String::from_utf8(STANDARD.decode(message.as_bytes()).unwrap()).unwrap())
    }

    #[test]
    fn messages_are_as_their_specifications_show_them() {
        let [password, token] =
            ["secret", "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg=="].map(|it| Secret::new(it.into()));
        let (password, token) = (Credential::Password(password), Credential::Token(token));
        assert_eq!(said(Mechanism::Plain, "anna", &password).unwrap(), "\0anna\0secret");
        assert_eq!(
            said(Mechanism::XOAuth2, "anna@corp.example", &token).unwrap(),
            "user=anna@corp.example\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\x01\x01"
        );
        assert_eq!(
            said(Mechanism::OAuthBearer, "a,n=a", &token).unwrap(),
            "n,a=a=2Cn=3Da,\x01host=imap.example.com\x01port=993\x01auth=Bearer \
             vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\x01\x01"
        );
        assert_eq!(said(Mechanism::External, "anna", &Credential::Certificate).unwrap(), "anna");
    }

    #[test]
    fn no_mechanism_says_another_kind_of_secret() {
        let secret = || Secret::new("secret".into());
        for mechanism in [Mechanism::XOAuth2, Mechanism::OAuthBearer, Mechanism::External] {
            assert!(said(mechanism, "anna", &Credential::Password(secret())).is_none());
        }
        for mechanism in [Mechanism::Plain, Mechanism::External] {
            assert!(said(mechanism, "anna", &Credential::Token(secret())).is_none());
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_read() {
        let of = |json: &str| TokenStatus::read(&STANDARD.encode(json));
        let google = of(r#"{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}"#).unwrap();
        assert_eq!((google.status.as_str(), google.scope.as_str()), ("400", "https://mail.google.com/"));
        assert!(of(r#"{"status":"insufficient_scope"}"#).unwrap().is_about_rights());
        assert_eq!(of("nothing"), None);
        assert_eq!(TokenStatus::read("%%%"), None);
    }

    #[tokio::test]
    async fn only_a_refused_token_is_tried_again_and_only_with_another() {
        let refused = SourceError { refused_login: true, ..SourceError::new(Scope::Profile, "logging in", "no") };
        let secret = || Secret::new("secret".into());
        let tokens = Login::Tokens(std::sync::Arc::new(Tokens::fixed(secret())));
        let token = first(&tokens, "anna").await.unwrap();
        second(&tokens, "anna", &token, refused.clone()).await.unwrap_err();
        let password = Login::Password(secret());
        let at_hand = first(&password, "anna").await.unwrap();
        second(&password, "anna", &at_hand, refused).await.unwrap_err();
    }
}
