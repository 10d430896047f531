//! What a token server's refusal means, and what a person can do about it.
//!
//! Decided by the codes that the standards and Microsoft define, never by the text beside them; the text is repeated,
//! cleaned, and without any secret that it may hold.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{ClientProof, Grant, OAuth2Options, TokenError, TokenProblem};
use crate::base::secret::Secret;
use crate::net::clean;

/// Long enough for a whole Retry-After of a large provider, short enough that a hostile one cannot stop a profile.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// The error answer of RFC 6749 §5.2, with Microsoft's own numbers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Said {
    pub error: String,
    #[serde(default)]
    pub error_description: Option<String>,
    #[serde(default)]
    pub error_codes: Vec<u32>,
}

impl oauth2::ErrorResponse for Said {}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        match &self.error_description {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl Said {
    /// The numbers of Microsoft (AADSTS…). Where the list is missing the description begins with the number.
    fn numbers(&self) -> Vec<u32> {
        if !self.error_codes.is_empty() {
            return self.error_codes.clone();
        }
        let text = self.error_description.as_deref().and_then(|text| text.trim_start().strip_prefix("AADSTS"));
        let digits = text.map(|text| text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        digits.and_then(|digits| digits.parse().ok()).into_iter().collect()
    }
}

type Meaning = (TokenProblem, &'static str);

const SECRET: &str = "client_secret must be the secret's value as it was shown once, not its ID";
const NEW_SECRET: &str = "make a new secret for the application, and put its value where client_secret points to";
const CERTIFICATE: &str =
    "register the certificate (not the key) with the application, and check `certificate` and `key`";
const CLOCK: &str = "check this machine's clock: the signed statement was not valid at the server's time";
const CONSENT: &str = "an administrator has to grant the application its rights (admin consent)";
const NEW_SIGN_IN: &str = "the person has to sign in again: what was granted has ended, or the password was changed";
const SCOPE: &str = "check `scope`: an application's own right is asked for with \"…/.default\"";
const CLIENT: &str = "check `client_id` and `tenant`: there is no such application in this directory";
const TENANT: &str = "check `tenant`: the directory's ID, or a domain of it";
const ACCOUNT: &str = "look at the account in the directory: it is disabled, locked or not there";
const POLICY: &str = "a policy of the directory stands before it (conditional access, or a second factor): exempt this \
                      application, or use client credentials";
const DELEGATION: &str = "in the Google admin console (security, API controls, domain-wide delegation) add the service \
                          account's client ID with exactly the scope that is asked for";
const SUBJECT: &str = "check `subject`: it must be an active mailbox of the domain that delegates";
const KIND: &str =
    "an application that holds no secret must be allowed public client flows; otherwise name client_secret";

fn by_number(number: u32) -> Option<Meaning> {
    use TokenProblem::{Configuration, ConsentMissing, Expired, Refused, Throttled, Unreachable};
    Some(match number {
        7_000_215 | 7_000_216 => (Refused, SECRET),
        7_000_222 => (Expired, NEW_SECRET),
        700_027 | 5_002_723 => (Refused, CERTIFICATE),
        700_024 => (Refused, CLOCK),
        65_001 | 65_004 | 90_094 | 90_095 | 650_052 | 650_053 | 650_056 | 650_057 => (ConsentMissing, CONSENT),
        70_008 | 70_043 | 700_081 | 700_082 | 700_084 | 50_173 | 50_132 | 50_133 | 54_005 | 50_089 => {
            (Expired, NEW_SIGN_IN)
        }
        50_055 => (Expired, "the account's password has expired"),
        70_011 | 70_012 | 28_002 | 1_002_012 | 500_011 | 9_002_313 => (Configuration, SCOPE),
        700_016 => (Configuration, CLIENT),
        90_002 | 900_021 | 900_023 | 50_194 | 50_059 => (Configuration, TENANT),
        7_000_218 | 700_025 => (Configuration, KIND),
        50_034 | 50_053 | 50_057 | 50_020 | 7_000_112 => (Refused, ACCOUNT),
        50_076 | 50_079 | 50_072 | 50_074 | 50_158 | 53_000 | 53_001 | 53_002 | 53_003 | 530_003 => (Refused, POLICY),
        50_196 => (Throttled, "the same was asked for too often; it is asked again later"),
        90_033 | 90_006 | 90_012 => (Unreachable, "the provider has trouble; it is asked again later"),
        _ => return None,
    })
}

fn by_word(word: &str, grant: &Grant) -> Meaning {
    use TokenProblem::{Configuration, ConsentMissing, Expired, Protocol, Refused, Throttled, Unreachable};
    let is_signed_in = matches!(grant, Grant::DeviceCode { .. });
    let is_delegated = matches!(grant, Grant::ServiceAccount { .. });
    match word {
        "invalid_client" if grant.proof().is_none() => (Refused, "check `client_id`, and whether it needs a secret"),
        "invalid_client" => (Refused, "check `client_id` and the secret or certificate"),
        "invalid_grant" => match grant {
            Grant::RefreshToken { .. } | Grant::DeviceCode { .. } => (Expired, NEW_SIGN_IN),
            Grant::ServiceAccount { .. } => (Refused, "check `subject` and the key file, and this machine's clock"),
            Grant::ClientCredentials(_) => (Refused, "check `client_id` and the secret or certificate"),
        },
        "unauthorized_client" if is_delegated => (ConsentMissing, DELEGATION),
        "unauthorized_client" => (Configuration, "the application is not allowed this `grant`"),
        "access_denied" if is_delegated => (ConsentMissing, DELEGATION),
        "access_denied" if is_signed_in => (Refused, "the person declined, or may not: begin anew"),
        "access_denied" | "consent_required" | "admin_policy_enforced" => (ConsentMissing, CONSENT),
        "interaction_required" => (Refused, POLICY),
        "invalid_scope" | "invalid_target" | "invalid_resource" => (Configuration, "check `scope`"),
        "unsupported_grant_type" => (Configuration, "the server does not know this `grant`: check `token_url`"),
        "deleted_client" | "org_internal" => (Configuration, "check `client_id`"),
        "invalid_email" | "invalid_subject" => (Refused, SUBJECT),
        "expired_token" => (Expired, "the code was not entered in time: begin anew"),
        "invalid_request" => (Configuration, "check `token_url`, `client_id` and `scope`"),
        "slow_down" | "rate_limit_exceeded" => (Throttled, "it is asked again later"),
        "temporarily_unavailable" | "server_error" => (Unreachable, "the server has trouble; it is asked again later"),
        _ => (Protocol, "look the word up in the provider's documentation"),
    }
}

impl TokenError {
    /// `sent` are the secrets of the request, which the answer may repeat.
    pub(super) fn of(
        options: &OAuth2Options,
        problem: TokenProblem,
        answer: &str,
        hint: Option<&str>,
        sent: &[Secret],
    ) -> TokenError {
        TokenError {
            problem,
            what: format!("no token from {}", host(&options.token_url)),
            answer: clean(&scrubbed(answer, options, sent)),
            hint: hint.map(str::to_owned),
        }
    }

    /// What the server said of a request.
    pub(super) fn said(options: &OAuth2Options, said: &Said, sent: &[Secret]) -> TokenError {
        let meaning = said.numbers().into_iter().find_map(by_number);
        let (problem, hint) = meaning.unwrap_or_else(|| by_word(&said.error, &options.grant));
        TokenError::of(options, problem, &said.to_string(), Some(hint), sent)
    }
}

/// For people: where the request went, without its path.
pub(super) fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    });
    host.map_or_else(|| "the token server".to_owned(), |host| clean(&host))
}

/// A text of the server's without the secrets that went there: some repeat the whole request.
fn scrubbed(text: &str, options: &OAuth2Options, sent: &[Secret]) -> String {
    // A secret with something invisible in it would be whole again in the log.
    let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
    let configured = match options.grant.proof() {
        Some(ClientProof::SecretInBody(secret) | ClientProof::SecretInHeader(secret)) => Some(secret),
        Some(ClientProof::Certificate(_)) | None => None,
    };
    for secret in sent.iter().chain(configured) {
        let plain = secret.expose();
        let encoded = Url::parse_with_params("http://localhost/", [("s", plain)]).ok();
        let encoded = encoded.as_ref().and_then(Url::query).and_then(|query| query.strip_prefix("s="));
        for word in [Some(plain), encoded].into_iter().flatten().filter(|word| !word.is_empty()) {
            text = text.replace(word, "(secret)");
        }
    }
    text
}
