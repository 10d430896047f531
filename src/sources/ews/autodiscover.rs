//! Where the server is, when the configuration does not say: Autodiscover, as JSON (v2), which needs no login, then as
//! XML (POX), which does.
//!
//! Must: only https is asked and only https is believed; the certificate is verified before credentials go out.

use hyper::StatusCode;
use hyper::header::LOCATION;
use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::Url;

use super::failure::Failure;
use super::http::{Http, parse_url};
use super::options::EwsOptions;
use crate::net::clean;
use crate::sources::failure::operator;
use crate::sources::{Scope, SourceError};

const WHAT: &str = "looking for the server (Autodiscover)";
const REDIRECTS_MAX: u32 = 5;
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const OUTLOOK: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006";
const RESPONSE: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";

/// The URL that is configured or found, and whether it was found.
pub(super) async fn url(options: &EwsOptions) -> Result<(Url, bool), SourceError> {
    if let Some(text) = &options.url {
        let url = parse_url(text).map_err(|why| {
            operator(Scope::Profile, "reading `url`", why, Some("https://mail.example.com/EWS/Exchange.asmx"))
        })?;
        return Ok((url, false));
    }
    let address = options.of_mailbox().unwrap_or(&options.username).to_owned();
    let Some((_, domain)) = address.rsplit_once('@') else {
        let hint = "set `url`, or `mailbox` to the address of the mailbox";
        return Err(operator(Scope::Profile, WHAT, format!("{} is no address", clean(&address)), Some(hint)));
    };
    let hosts = [format!("autodiscover.{domain}"), domain.to_owned()];
    let bases: Vec<Url> = hosts.iter().filter_map(|host| Url::parse(&format!("https://{host}/")).ok()).collect();
    discover(&bases, &address, options).await.map(|url| (url, true))
}

async fn discover(bases: &[Url], address: &str, options: &EwsOptions) -> Result<Url, SourceError> {
    let mut said = Vec::new();
    for base in bases {
        match json(base, address, options).await {
            Ok(url) => return Ok(url),
            Err(failure) => said.push(format!("{}: {failure}", base.host_str().unwrap_or_default())),
        }
    }
    for base in bases {
        match pox(base, address, options).await {
            Ok(url) => return Ok(url),
            // A second try with the same password would count towards a lock.
            Err(failure @ (Failure::Login { .. } | Failure::Token(_))) => return Err(failure.into_error(WHAT)),
            Err(failure) => said.push(format!("{}: {failure}", base.host_str().unwrap_or_default())),
        }
    }
    said.dedup();
    let hint = "set `url` to the server's https://HOST/EWS/Exchange.asmx";
    let mut error = operator(Scope::Profile, WHAT, clean(&said.join("; ")), Some(hint));
    // Each of them may be a network that is down.
    error.retry = crate::sources::Retry::Later;
    Err(error)
}

pub(super) async fn json(base: &Url, address: &str, options: &EwsOptions) -> Result<Url, Failure> {
    let wrong = |text: &str| Failure::protocol(format!("Autodiscover: {text}"));
    let mut url = base.clone();
    url.path_segments_mut().map_err(|()| wrong("no path"))?.extend([
        "autodiscover",
        "autodiscover.json",
        "v1.0",
        address,
    ]);
    url.set_query(Some("Protocol=EWS"));
    for _ in 0..REDIRECTS_MAX {
        let mut http = Http::connect(secure(&url)?, options).await?;
        let response = http.get().await?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.header(LOCATION);
            url = to.and_then(|to| url.join(to).ok()).ok_or_else(|| wrong("a redirection to nowhere"))?;
            continue;
        }
        if status != StatusCode::OK {
            return Err(Failure::Http { status: status.as_u16(), text: String::new(), wait: None });
        }
        let answer: serde_json::Value = serde_json::from_slice(&response.body(ANSWER_BYTES_MAX).await?)
            .map_err(|error| wrong(&error.to_string()))?;
        let found = answer["Url"].as_str().ok_or_else(|| wrong("no Url in the answer"))?;
        return believed(found);
    }
    Err(wrong("too many redirections"))
}

async fn pox(base: &Url, address: &str, options: &EwsOptions) -> Result<Url, Failure> {
    let wrong = |text: &str| Failure::protocol(format!("Autodiscover: {text}"));
    let mut address = address.to_owned();
    let mut url = base.join("autodiscover/autodiscover.xml").map_err(|error| wrong(&error.to_string()))?;
    for _ in 0..REDIRECTS_MAX {
        let mut http = Http::connect(secure(&url)?, options).await?;
        let escaped = quick_xml::escape::escape(address.as_str());
        let request = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover xmlns=\"{OUTLOOK}\"><Request>\
             <EMailAddress>{escaped}</EMailAddress><AcceptableResponseSchema>{RESPONSE}</AcceptableResponseSchema>\
             </Request></Autodiscover>"
        );
        let response = http.post_any(&request).await?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.header(LOCATION);
            url = to.and_then(|to| url.join(to).ok()).ok_or_else(|| wrong("a redirection to nowhere"))?;
            continue;
        }
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(Failure::Login { text: String::new(), proven: false }),
            _ => return Err(Failure::Http { status: status.as_u16(), text: String::new(), wait: None }),
        }
        let page = response.body(ANSWER_BYTES_MAX).await?;
        match read_pox(&String::from_utf8_lossy(&page)).map_err(|error| wrong(&error))? {
            Pox::Ews(found) => return believed(&found),
            Pox::RedirectUrl(to) => url = Url::parse(&to).map_err(|error| wrong(&error.to_string()))?,
            Pox::RedirectAddress(to) => {
                let domain = to.rsplit_once('@').map(|(_, domain)| domain).ok_or_else(|| wrong("a wrong address"))?;
                url = Url::parse(&format!("https://autodiscover.{domain}/autodiscover/autodiscover.xml"))
                    .map_err(|error| wrong(&error.to_string()))?;
                address = to;
            }
            Pox::Error(text) => return Err(wrong(&clean(&text))),
        }
    }
    Err(wrong("too many redirections"))
}

fn secure(url: &Url) -> Result<&Url, Failure> {
    if url.scheme() == "https" { Ok(url) } else { Err(Failure::protocol("Autodiscover leads away from https")) }
}

fn believed(found: &str) -> Result<Url, Failure> {
    let url = parse_url(found.trim()).map_err(|why| Failure::protocol(format!("Autodiscover: {why}")))?;
    secure(&url)?;
    Ok(url)
}

#[derive(Debug, PartialEq, Eq)]
enum Pox {
    Ews(String),
    RedirectUrl(String),
    RedirectAddress(String),
    Error(String),
}

fn read_pox(page: &str) -> Result<Pox, String> {
    let mut reader = Reader::from_str(page);
    let (mut name, mut found) = (String::new(), Vec::<(String, String)>::new());
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                name = start.local_name().as_ref().to_owned();
                found.push((name.clone(), String::new()));
            }
            Event::Text(text) => {
                if let Some((_, value)) = found.last_mut().filter(|(last, _)| *last == name) {
                    value.push_str(&text.into_inner());
                }
            }
            Event::GeneralRef(reference) => {
                if let Some((_, value)) = found.last_mut().filter(|(last, _)| *last == name) {
                    value.push_str(if &*reference == "amp" { "&" } else { "" });
                }
            }
            Event::End(_) => name.clear(),
            Event::Eof => break,
            _ => {}
        }
    }
    let first = |wanted: &str| {
        let value = found.iter().find(|(name, value)| name == wanted && !value.trim().is_empty());
        value.map(|(_, value)| value.trim().to_owned())
    };
    first("EwsUrl")
        .map(Pox::Ews)
        .or_else(|| first("RedirectUrl").map(Pox::RedirectUrl))
        .or_else(|| first("RedirectAddr").map(Pox::RedirectAddress))
        .or_else(|| first("Message").map(Pox::Error))
        .ok_or_else(|| "the answer names no EWS".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_autodiscover_answers() {
        let page = |inner: &str| {
            format!(
                "<?xml version=\"1.0\"?><Autodiscover xmlns=\"urn:a\"><Response xmlns=\"urn:b\"><Account>{inner}\
                 </Account></Response></Autodiscover>"
            )
        };
        let protocol = "<Protocol><Type>EXCH</Type><EwsUrl>https://mail.corp.example/EWS/Exchange.asmx?a=1&amp;b=2\
                        </EwsUrl></Protocol>";
        let url = "https://mail.corp.example/EWS/Exchange.asmx?a=1&b=2";
        assert_eq!(read_pox(&page(protocol)), Ok(Pox::Ews(url.into())));
        let redirected = page("<Action>redirectAddr</Action><RedirectAddr>journal@other.example</RedirectAddr>");
        assert_eq!(read_pox(&redirected), Ok(Pox::RedirectAddress("journal@other.example".into())));
        let refused =
            page("<Error><ErrorCode>500</ErrorCode><Message>The email address can't be found.</Message></Error>");
        assert_eq!(read_pox(&refused), Ok(Pox::Error("The email address can't be found.".into())));
        assert!(read_pox("<html><body>hello</body></html>").is_err());
        assert!(believed("http://mail.corp.example/EWS/Exchange.asmx").is_err(), "only https is believed");
    }
}
