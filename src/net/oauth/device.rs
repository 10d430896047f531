//! A person signs in on another device (RFC 8628): the code to show, and the wait for the answer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use oauth2::http::{Response, StatusCode};
use oauth2::{
    DeviceAuthorizationUrl, DeviceCodeErrorResponse, HttpRequest, HttpResponse, RequestTokenError,
    StandardDeviceAuthorizationResponse,
};

use super::ask::{AskError, Granted, assertion_fields, client, granted, scopes, told};
use super::error::Said;
use super::http::{Failure, Http};
use super::{OAuth2Options, TokenError, TokenProblem};
use crate::base::clock::Clock;
use crate::net::clean;

/// A server that asks to be polled less often than this does not want to be polled.
const INTERVAL_MAX: Duration = Duration::from_secs(5 * 60);
const EXPIRY_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// While the network is down.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// What the person is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePrompt {
    pub url: String,
    /// With the code in it, for a link.
    pub url_complete: Option<String>,
    pub code: String,
    pub expires_in: Duration,
}

pub(super) async fn sign_in<W, F>(
    options: &OAuth2Options,
    clock: &dyn Clock,
    show: impl FnOnce(&DevicePrompt) + Send,
    wait: W,
) -> Result<Granted, TokenError>
where
    W: Fn(Duration) -> F + Send + Sync,
    F: Future<Output = ()> + Send,
{
    let http = Http::new(options, clock.now()).map_err(|failure| failure.told(options, &[]))?;
    let begun = begin(options, &http, clock).await?;
    let prompt = prompt(options, &begun)?;
    show(&prompt);
    let client = client(options)?;
    let mut request = client.exchange_device_access_token(&begun);
    for (name, value) in assertion_fields(options, clock.now())? {
        request = request.add_extra_param(name, value);
    }
    let request = request
        .set_time_fn(|| SystemTime::from(clock.now()).into())
        .set_max_backoff_interval(BACK_OFF_MAX.max(begun.interval()));
    // The library polls on after every failure; one that does not pass would take until the code expires.
    let fatal: Mutex<Option<Failure>> = Mutex::default();
    let poll = async |request: HttpRequest| -> Result<HttpResponse, Failure> {
        match http.send(request).await {
            Err(failure) if !failure.is_passing() => {
                *fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                let mut nothing = Response::new(Vec::new());
                *nothing.status_mut() = StatusCode::BAD_REQUEST;
                Ok(nothing)
            }
            other => other,
        }
    };
    // The server is not asked before the person had time to read.
    wait(begun.interval()).await;
    let polled = request.request_async(&|request| poll(request), &wait, None).await;
    if let Some(failure) = fatal.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure.told(options, &http.sent()));
    }
    let answer = polled.map_err(|error| told(options, &http, AskError::from(ours(error))).0)?;
    granted(options, &answer, clock.now())
}

async fn begin(
    options: &OAuth2Options,
    http: &Http<'_>,
    clock: &dyn Clock,
) -> Result<StandardDeviceAuthorizationResponse, TokenError> {
    let unusable = |text: &str| {
        let hint = "set `device_url`, or use another `grant`";
        TokenError::of(options, TokenProblem::Configuration, text, Some(hint), &[])
    };
    let url = options.device_url.as_ref().ok_or_else(|| unusable("it has no address for a sign-in by code"))?;
    let url = DeviceAuthorizationUrl::new(url.clone()).map_err(|_| unusable("`device_url` is no address"))?;
    let client = client(options)?.set_device_authorization_url(url);
    let mut request = client.exchange_device_code().add_scopes(scopes(options));
    for (name, value) in assertion_fields(options, clock.now())? {
        request = request.add_extra_param(name, value);
    }
    let begun = request.request_async(http).await;
    begun.map_err(|error| told(options, http, AskError::from(error)).0)
}

fn prompt(options: &OAuth2Options, begun: &StandardDeviceAuthorizationResponse) -> Result<DevicePrompt, TokenError> {
    let complete = begun.verification_uri_complete().map(|url| url.secret().as_str());
    let is_web = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    // A person is sent there: nothing else than a page, and no more than can be shown.
    let is_sound = begun.interval() <= INTERVAL_MAX
        && begun.expires_in() <= EXPIRY_MAX
        && is_web(begun.verification_uri())
        && complete.is_none_or(is_web)
        && !begun.user_code().secret().trim().is_empty();
    if !is_sound {
        let hint = Some("check `device_url`");
        let text = "its answer to the sign-in can be none";
        return Err(TokenError::of(options, TokenProblem::Protocol, text, hint, &[]));
    }
    Ok(DevicePrompt {
        url: clean(begun.verification_uri()),
        url_complete: complete.map(clean),
        code: clean(begun.user_code().secret()),
        expires_in: begun.expires_in(),
    })
}

/// The library has an error answer of its own for this grant.
fn ours(error: RequestTokenError<Failure, DeviceCodeErrorResponse>) -> RequestTokenError<Failure, Said> {
    match error {
        RequestTokenError::ServerResponse(said) => RequestTokenError::ServerResponse(Said {
            error: said.error().to_string(),
            error_description: said.error_description().cloned(),
            error_codes: Vec::new(),
        }),
        RequestTokenError::Request(failure) => RequestTokenError::Request(failure),
        RequestTokenError::Parse(error, body) => RequestTokenError::Parse(error, body),
        RequestTokenError::Other(text) => RequestTokenError::Other(text),
    }
}
