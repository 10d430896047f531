//! Calls: a request and its answers, made again while the server is busy or when the connection ended, in an older
//! version where it knows no other.

use super::answer::{Answer, Message};
use super::connection::Stretch;
use super::failure::{Failure, Kind, Patience};
use super::http::Http;
use super::options::EwsOptions;
use super::soap::{Request, Version};

pub(super) struct Client {
    http: Http,
    options: EwsOptions,
    version: Version,
    /// What the server says it is.
    pub server: Option<String>,
}

impl Client {
    pub fn new(http: Http, options: &EwsOptions) -> Client {
        Client { http, options: options.clone(), version: Version::NEWEST, server: None }
    }

    pub fn peer(&self) -> std::net::SocketAddr {
        self.http.peer
    }

    /// Makes a call once; its answers are read from what is returned.
    pub async fn begin(&mut self, request: &Request<'_>) -> Result<Answer<Stretch>, Failure> {
        let xml = request.xml(self.version, &self.options);
        Ok(Answer::new(self.http.post(&xml).await?))
    }

    /// Whether the failure passes when the call is made again: an older version, or later. Waits as long as it takes.
    pub async fn recover(&mut self, failure: &Failure, patience: &mut Patience, what: &str) -> bool {
        if failure.kind() == Kind::Version {
            let Some(older) = self.version.older() else { return false };
            tracing::info!(older = %older, "the server does not know the version of EWS that was asked for");
            self.version = older;
            return true;
        }
        let Some(wait) = patience.wait(failure, uuid::Uuid::new_v4().as_bytes()[0]) else { return false };
        tracing::info!(what, wait_ms = wait.as_millis() as u64, failure = %failure, "the call is made again after a while");
        tokio::time::sleep(wait).await;
        true
    }

    /// The answers to a call, one for each thing that was asked for.
    pub async fn call(&mut self, request: &Request<'_>) -> Result<Vec<Message>, Failure> {
        let mut patience = Patience::default();
        loop {
            let failure = match self.call_once(request).await {
                Ok(messages) => return Ok(messages),
                Err(failure) => failure,
            };
            if !self.recover(&failure, &mut patience, request.what()).await {
                return Err(failure);
            }
        }
    }

    async fn call_once(&mut self, request: &Request<'_>) -> Result<Vec<Message>, Failure> {
        let mut answer = self.begin(request).await?;
        let mut messages = Vec::with_capacity(request.answers());
        while let Some(message) = answer.message(None).await? {
            messages.push(message);
            if messages.len() > request.answers() {
                break;
            }
        }
        if messages.len() != request.answers() {
            let text = format!("{} answers to {} questions", messages.len(), request.answers());
            return Err(Failure::Protocol(text));
        }
        self.server = answer.server.take().or(self.server.take());
        // What is not about one thing of many is about the call.
        if let [message] = messages.as_slice()
            && matches!(
                request,
                Request::Folder(_) | Request::Rights(_) | Request::Folders { .. } | Request::Sync { .. }
            )
            && !message.is_success()
        {
            return Err(message.failure());
        }
        Ok(messages)
    }
}
