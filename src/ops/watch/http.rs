//! What the agent tells over HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! For this host, or a proxy on it: there is no login. A caller gets what a snapshot says and cannot make the agent do
//! anything; only so many are served at a time, each for so long, and none of them holds up the agent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::metrics;
use super::snapshot::Snapshot;

/// Served at a time; the others wait in the system's queue.
const CONNECTIONS_MAX: usize = 8;
/// For a request's header, and for the whole connection: one request each.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);
const TIME_MAX: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// A snapshot that is older was left by an agent whose loop stands still.
const ALIVE_MAX: SignedDuration = SignedDuration::from_mins(5);
/// After an error of `accept`, which is usually a want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Asked at each request; must be quick, and must not wait for the agent.
pub type Snapshots = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// Takes the port. A port that is taken is a warning and no end.
pub async fn listen(address: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            let hint = "another program listens there, perhaps another gatepost: set [metrics] listen, or \"off\"";
            tracing::warn!(%address, %error, hint, "metrics cannot be served");
            None
        }
    }
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, snapshot: Snapshots) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            // It is never closed.
            std::future::pending::<()>().await;
            continue;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics was lost");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let snapshot = snapshot.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(request.method(), request.uri().path(), &snapshot);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX).keep_alive(false);
            let connection = builder.max_buf_size(HEADER_BYTES_MAX).serve_connection(TokioIo::new(stream), service);
            // What goes wrong with a caller is the caller's business.
            let _ = tokio::time::timeout(TIME_MAX, connection).await;
            drop(place);
        });
    }
}

fn answer(method: &Method, path: &str, snapshot: &Snapshots) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const JSON: &str = "application/json";
    let is_known = matches!(path, "/metrics" | "/healthz" | "/readyz");
    if !is_known {
        return response(StatusCode::NOT_FOUND, TEXT, "there is /metrics, /healthz and /readyz\n".into());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n".into());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let snapshot = snapshot();
    let status = |is_good: bool| if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let version = env!("CARGO_PKG_VERSION");
    // A body after HEAD is left out by the server itself, which still tells its length.
    match path {
        "/healthz" => {
            let is_alive = Timestamp::now().duration_since(snapshot.at) <= ALIVE_MAX;
            let body = json!({ "alive": is_alive, "at": snapshot.at, "started": snapshot.started, "version": version });
            response(status(is_alive), JSON, format!("{body}\n"))
        }
        "/readyz" => {
            let (is_ready, is_damaged) = (snapshot.is_ready, snapshot.is_damaged);
            let body = json!({ "ready": is_ready && !is_damaged, "damaged": is_damaged, "version": version });
            response(status(is_ready && !is_damaged), JSON, format!("{body}\n"))
        }
        _ => response(StatusCode::OK, metrics::CONTENT_TYPE, metrics::text(&snapshot)),
    }
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::super::metrics::tests::snapshot;
    use super::*;

    async fn served(state: Arc<Mutex<Snapshot>>) -> SocketAddr {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(move || state.lock().unwrap().clone())));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A server that hangs up on a bad request may do so before all of it was sent.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    #[tokio::test]
    async fn health_and_readiness_follow_the_snapshot() {
        let state = Arc::new(Mutex::new(Snapshot { at: Timestamp::now(), ..snapshot() }));
        let address = served(state.clone()).await;
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
        state.lock().unwrap().is_damaged = true;
        let damaged = get(address, "/readyz").await;
        assert!(damaged.starts_with("HTTP/1.1 503 ") && damaged.contains("\"damaged\":true"), "{damaged}");
        state.lock().unwrap().at = Timestamp::now() - SignedDuration::from_hours(1);
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 503 "));
    }

    #[tokio::test]
    async fn metrics_have_their_type_and_nothing_else_is_there() {
        let address = served(Arc::new(Mutex::new(snapshot()))).await;
        let metrics = get(address, "/metrics?x=1").await;
        let (head, body) = metrics.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert_eq!(body, metrics::text(&snapshot()));
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let posted = ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("allow: GET, HEAD"), "{posted}");
        assert!(get(address, "/etc/passwd").await.starts_with("HTTP/1.1 404 "));
        let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(64 * 1024));
        let long = ask(address, &long).await;
        assert!(!long.starts_with("HTTP/1.1 200"), "{long}");
    }

    #[tokio::test]
    async fn idle_callers_do_not_keep_others_out_for_long() {
        let address = served(Arc::new(Mutex::new(snapshot()))).await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = tokio::time::timeout(Duration::from_secs(30), get(address, "/metrics")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "));
        // A port that is taken is none.
        assert!(listen(address).await.is_none());
    }
}
