//! One request for a token, by each grant.

use jiff::{SignedDuration, Timestamp};
use oauth2::basic::{
    BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenResponse, BasicTokenType,
};
use oauth2::http::{Request, header};
use oauth2::{
    AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpResponse, RefreshToken, RequestTokenError,
    Scope, StandardRevocableToken, TokenResponse as _, TokenUrl,
};
use reqwest::Url;

use super::error::Said;
use super::http::{Failure, Http};
use super::{ClientProof, Grant, OAuth2Options, TokenError, TokenProblem};
use crate::base::secret::Secret;

/// Where the server does not say how long a token is good for. A refusal brings a new one in any case.
const LIFETIME_USUAL_S: i64 = 60 * 60;
const LIFETIME_MAX_S: i64 = 24 * 60 * 60;
/// Far longer than any; what is longer fits into no login.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Of RFC 7523 §2.2 and §2.1.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The library's client, with our error answer, and the token endpoint known or not.
type Client<Token> = oauth2::Client<
    Said,
    BasicTokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    Token,
>;

/// What a token server granted.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub access: Secret,
    pub expires: Timestamp,
    pub refresh: Option<Secret>,
}

/// Why not, with how long the server wants to be left alone.
pub(super) type Refusal = (TokenError, Option<std::time::Duration>);

/// Asks once. `refresh` is the newest refresh token, for the grants that live by one.
pub(super) async fn ask(options: &OAuth2Options, refresh: Option<&Secret>, now: Timestamp) -> Result<Granted, Refusal> {
    let http = Http::new(options, now).map_err(|failure| (failure.told(options, &[]), None))?;
    let asked = match &options.grant {
        Grant::ClientCredentials(_) => by_credentials(options, &http, now).await,
        Grant::RefreshToken { .. } | Grant::DeviceCode { .. } => match refresh {
            Some(refresh) => by_refresh(options, refresh, &http, now).await,
            None => return Err((not_signed_in(options), None)),
        },
        Grant::ServiceAccount { account, subject } => {
            let assertion = account.assertion(subject.as_deref(), &options.scope, &options.token_url, now);
            match assertion {
                Ok(assertion) => by_assertion(options, &assertion, &http).await,
                Err(bad) => return Err((unusable(options, bad.what, bad.hint), None)),
            }
        }
    };
    let answer = asked.map_err(|error| told(options, &http, error))?;
    granted(options, &answer, now).map_err(|error| (error, None))
}

fn not_signed_in(options: &OAuth2Options) -> TokenError {
    let hint = "`gatepost init` shows a code that a person enters on another device";
    TokenError::of(
        options,
        TokenProblem::Expired,
        "nobody has signed in yet, or what was kept is gone",
        Some(hint),
        &[],
    )
}

fn unusable(options: &OAuth2Options, what: &str, hint: &str) -> TokenError {
    TokenError::of(options, TokenProblem::Configuration, &format!("the key file {what}"), Some(hint), &[])
}

pub(super) fn client(options: &OAuth2Options) -> Result<Client<EndpointSet>, TokenError> {
    let unusable = |_| {
        let hint = Some("check `token_url`");
        TokenError::of(options, TokenProblem::Configuration, "the address of the token server is none", hint, &[])
    };
    let url = TokenUrl::new(options.token_url.clone()).map_err(unusable)?;
    let client = Client::<EndpointNotSet>::new(ClientId::new(options.client_id.clone())).set_token_uri(url);
    let secret = |secret: &Secret| ClientSecret::new(secret.expose().to_owned());
    Ok(match options.grant.proof() {
        Some(ClientProof::SecretInBody(text)) => {
            client.set_auth_type(AuthType::RequestBody).set_client_secret(secret(text))
        }
        Some(ClientProof::SecretInHeader(text)) => {
            client.set_auth_type(AuthType::BasicAuth).set_client_secret(secret(text))
        }
        // Beside an assertion the ID goes into the body, too.
        Some(ClientProof::Certificate(_)) | None => client.set_auth_type(AuthType::RequestBody),
    })
}

/// What proves the application beside its ID, as fields of the request.
pub(super) fn assertion_fields(
    options: &OAuth2Options,
    now: Timestamp,
) -> Result<Vec<(&'static str, String)>, TokenError> {
    match options.grant.proof() {
        Some(ClientProof::Certificate(key)) => {
            let assertion = key.client_assertion(&options.client_id, &options.token_url, now);
            let assertion = assertion.map_err(|bad| unusable(options, bad.what, bad.hint))?;
            Ok(vec![
                ("client_assertion_type", ASSERTION_TYPE.to_owned()),
                ("client_assertion", assertion.expose().to_owned()),
            ])
        }
        Some(ClientProof::SecretInBody(_) | ClientProof::SecretInHeader(_)) | None => Ok(Vec::new()),
    }
}

pub(super) fn scopes(options: &OAuth2Options) -> impl Iterator<Item = Scope> + '_ {
    options.scope.split_ascii_whitespace().map(|scope| Scope::new(scope.to_owned()))
}

/// What the library reports, or what was wrong before it came to a request.
pub(super) enum AskError {
    Library(Box<RequestTokenError<Failure, Said>>),
    Ours(TokenError),
}

impl From<RequestTokenError<Failure, Said>> for AskError {
    fn from(error: RequestTokenError<Failure, Said>) -> AskError {
        AskError::Library(Box::new(error))
    }
}

impl From<TokenError> for AskError {
    fn from(error: TokenError) -> AskError {
        AskError::Ours(error)
    }
}

async fn by_credentials(
    options: &OAuth2Options,
    http: &Http<'_>,
    now: Timestamp,
) -> Result<BasicTokenResponse, AskError> {
    let client = client(options)?;
    let mut request = client.exchange_client_credentials().add_scopes(scopes(options));
    for (name, value) in assertion_fields(options, now)? {
        request = request.add_extra_param(name, value);
    }
    Ok(request.request_async(http).await?)
}

async fn by_refresh(
    options: &OAuth2Options,
    refresh: &Secret,
    http: &Http<'_>,
    now: Timestamp,
) -> Result<BasicTokenResponse, AskError> {
    let (client, refresh) = (client(options)?, RefreshToken::new(refresh.expose().to_owned()));
    let mut request = client.exchange_refresh_token(&refresh).add_scopes(scopes(options));
    for (name, value) in assertion_fields(options, now)? {
        request = request.add_extra_param(name, value);
    }
    Ok(request.request_async(http).await?)
}

/// The one grant that the library does not know (RFC 7523 §2.1).
async fn by_assertion(
    options: &OAuth2Options,
    assertion: &Secret,
    http: &Http<'_>,
) -> Result<BasicTokenResponse, AskError> {
    let fields = [("grant_type", JWT_BEARER), ("assertion", assertion.expose())];
    let body = Url::parse_with_params("http://localhost/", fields).ok();
    let body = body.as_ref().and_then(Url::query).unwrap_or_default().as_bytes().to_vec();
    let request = Request::post(&options.token_url)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body)
        .map_err(|error| RequestTokenError::Other(error.to_string()))?;
    let response = http.send(request).await.map_err(RequestTokenError::Request)?;
    Ok(read(&response)?)
}

/// As the library reads an answer.
fn read(response: &HttpResponse) -> Result<BasicTokenResponse, RequestTokenError<Failure, Said>> {
    let unread = |_| RequestTokenError::Other("an answer that is none".to_owned());
    if response.status() != 200 {
        let said: Said = serde_json::from_slice(response.body()).map_err(unread)?;
        return Err(RequestTokenError::ServerResponse(said));
    }
    serde_json::from_slice(response.body()).map_err(unread)
}

/// An error of the library's for people. What could not be read is not repeated: it may hold half a token.
pub(super) fn told(options: &OAuth2Options, http: &Http<'_>, error: AskError) -> Refusal {
    let error = match error {
        AskError::Ours(error) => return (error, None),
        AskError::Library(error) => *error,
    };
    let sent = http.sent();
    let no_answer = |text: &str| {
        let hint = "check `token_url`: the answer does not come from a token endpoint";
        TokenError::of(options, TokenProblem::Protocol, text, Some(hint), &sent)
    };
    match error {
        RequestTokenError::ServerResponse(said) => (TokenError::said(options, &said, &sent), None),
        RequestTokenError::Request(failure) => (failure.told(options, &sent), failure.wait()),
        RequestTokenError::Parse(error, _) => {
            let what = match error.path().to_string().as_str() {
                "." | "" | "?" => "its answer is no JSON of a token".to_owned(),
                path => format!("its answer cannot be read at {path}"),
            };
            (no_answer(&what), None)
        }
        RequestTokenError::Other(_) => (no_answer("its answer is none of a token endpoint"), None),
    }
}

/// Takes from an answer what is needed, when it can be one.
pub(super) fn granted(
    options: &OAuth2Options,
    answer: &BasicTokenResponse,
    now: Timestamp,
) -> Result<Granted, TokenError> {
    let wrong = |text: &str| TokenError::of(options, TokenProblem::Protocol, text, Some("check `token_url`"), &[]);
    match answer.token_type() {
        BasicTokenType::Bearer => {}
        BasicTokenType::Extension(kind) if kind.eq_ignore_ascii_case("bearer") => {}
        BasicTokenType::Mac | BasicTokenType::Extension(_) => {
            return Err(wrong("it grants a token of another kind than bearer"));
        }
    }
    // RFC 6749 appendix A.12: what is printable. Anything else could end a line of a mail protocol.
    let fits = |token: &str| {
        !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    };
    let access = answer.access_token().secret();
    let refresh = answer.refresh_token().map(RefreshToken::secret);
    if !fits(access) || refresh.is_some_and(|token| !fits(token)) {
        return Err(wrong("it grants a token that can be none"));
    }
    let lifetime = answer.expires_in().map_or(LIFETIME_USUAL_S, |lifetime| {
        i64::try_from(lifetime.as_secs()).unwrap_or(LIFETIME_MAX_S).min(LIFETIME_MAX_S)
    });
    let expires = now.checked_add(SignedDuration::from_secs(lifetime)).unwrap_or(now);
    Ok(Granted {
        access: Secret::new(access.clone()),
        expires,
        refresh: refresh.map(|token| Secret::new(token.clone())),
    })
}
