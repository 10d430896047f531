//! Where the server is, when the configuration does not say: Autodiscover, as JSON (v2), which needs no login, then as
//! XML (POX), which does.
//!
//! Must: only https is asked and only https is believed; the certificate is verified before credentials go out. They go
//! to the mailbox's own domain and to Microsoft's, and there only to who asks for a login: wherever else a web server
//! of the domain leads to, the administrator must say so with `url`.

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
/// Where Exchange Online sends those who ask elsewhere.
const MICROSOFT: &[&str] =
    &["outlook.com", "office365.com", "office.com", "onmicrosoft.com", "office365.us", "outlook.cn"];
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
        match json(base, address, options).await.and_then(|url| trusted(url, address)) {
            Ok(url) => return Ok(url),
            Err(failure) => said.push(format!("{}: {failure}", base.host_str().unwrap_or_default())),
        }
    }
    for base in bases {
        match pox(base, address, options).await.and_then(|url| trusted(url, address)) {
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
    let (asked, mut address) = (address, address.to_owned());
    let mut url = base.join("autodiscover/autodiscover.xml").map_err(|error| wrong(&error.to_string()))?;
    for _ in 0..REDIRECTS_MAX {
        url = trusted(url, asked)?;
        let mut http = Http::connect(secure(&url)?, options).await?;
        // The domain's web server may be anybody's, and knows nothing of mail: it is told no password unasked.
        let response = http.get().await?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.header(LOCATION);
            url = to.and_then(|to| url.join(to).ok()).ok_or_else(|| wrong("a redirection to nowhere"))?;
            continue;
        }
        if status != StatusCode::UNAUTHORIZED {
            let text = "it asks for no login".to_owned();
            return Err(Failure::Http { status: status.as_u16(), text, wait: None });
        }
        response.settle().await?;
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

/// A URL that may be told the login of `address`.
fn trusted(url: Url, address: &str) -> Result<Url, Failure> {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
    let within = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !domain.is_empty() && (within(&domain) || MICROSOFT.iter().any(|domain| within(domain))) {
        return Ok(url);
    }
    let text = format!(
        "Autodiscover leads out of {} to {}, which was not told the password",
        clean(&domain),
        clean(url.as_str())
    );
    Err(Failure::Connect { text, hint: None, is_passing: false })
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

    #[test]
    fn the_login_stays_within_the_domain() {
        let trusts = |url: &str| trusted(Url::parse(url).unwrap(), "journal@Corp.example").is_ok();
        for url in
            ["https://corp.example/x", "https://Mail.corp.example/x", "https://outlook.office365.com/EWS/Exchange.asmx"]
        {
            assert!(trusts(url), "{url}");
        }
        for url in
            ["https://evilcorp.example/x", "https://corp.example.evil.test/x", "https://[::1]/", "https://example/"]
        {
            assert!(!trusts(url), "{url}");
        }
        assert!(trusted(Url::parse("https://corp.example/").unwrap(), "journal").is_err());
    }

    /// A web server on loopback, of which `answer` makes the answer to each request; the requests.
    async fn web(
        answer: impl Fn(&str) -> String + Send + 'static,
    ) -> (u16, std::path::PathBuf, tempfile::TempDir, Heard) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, certificate.pem()).unwrap();
        let identity =
            native_tls::Identity::from_pkcs8(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let acceptor = tokio_native_tls::TlsAcceptor::from(native_tls::TlsAcceptor::new(identity).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Heard::default();
        let all = heard.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // The probe of a connection ends here.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut bytes).await {
                        Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
                        _ => break,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                if request.is_empty() {
                    continue;
                }
                let answer = format!("HTTP/1.1 {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", answer(&request));
                all.lock().unwrap().push(request);
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        (port, ca, folder, heard)
    }

    type Heard = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

    fn options(ca: std::path::PathBuf) -> EwsOptions {
        EwsOptions {
            url: None,
            auth: super::super::options::EwsAuth::Basic,
            username: "journal@localhost".into(),
            login: crate::net::login::Login::Password(crate::base::secret::Secret::new("hunter2".into())),
            folder: "inbox".into(),
            delete_type: Default::default(),
            trust: crate::net::trust::Trust { ca_file: Some(ca), ..Default::default() },
            proxy: None,
            timeout: std::time::Duration::from_secs(30),
            allow_plaintext: false,
            impersonate: None,
            mailbox: None,
        }
    }

    async fn discovered(port: u16, ca: std::path::PathBuf) -> String {
        let base = Url::parse(&format!("https://localhost:{port}/")).unwrap();
        discover(&[base], "journal@localhost", &options(ca)).await.unwrap_err().to_string()
    }

    fn told_the_login(heard: &Heard) -> bool {
        heard.lock().unwrap().iter().any(|request| request.to_ascii_lowercase().contains("authorization:"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_web_server_that_asks_for_no_login_is_told_none() {
        let (port, ca, _folder, heard) = web(|_| "404 Not Found".into()).await;
        let said = discovered(port, ca).await;
        assert!(said.contains("it asks for no login"), "{said}");
        assert!(!told_the_login(&heard));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redirection_out_of_the_domain_is_told_no_login() {
        let (port, ca, _folder, heard) = web(|request| match request.starts_with("POST") {
            true => "302 Found\r\nLocation: https://127.0.0.1:1/autodiscover.xml".into(),
            false => "401 Unauthorized\r\nWWW-Authenticate: Basic".into(),
        })
        .await;
        let said = discovered(port, ca).await;
        assert!(said.contains("leads out of localhost to https://127.0.0.1:1/"), "{said}");
        assert!(said.contains("was not told the password"), "{said}");
        // The domain's own server asked for it.
        assert!(told_the_login(&heard));
    }
}
