//! The diverter alone: whatever the cuts between reads, the same responses and bodies come out.

use std::collections::VecDeque;

use tokio::io::AsyncReadExt as _;

use super::*;
use crate::base::bytes::{ByteSource as _, read_range};

/// A transport that gives its bytes in the pieces it is told.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn of(pieces: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> BoxTransport {
        Box::new(Pieces(pieces.into_iter().map(Into::into).filter(|piece: &Vec<u8>| !piece.is_empty()).collect()))
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let n = piece.len().min(out.remaining());
            out.put_slice(&piece[..n]);
            if n < piece.len() {
                self.0.push_front(piece.split_off(n));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const BODY: &[u8] = b"Subject: x\r\n\r\n* 2 FETCH (UID 9 BODY[] {3}\r\nabc)\r\nA1 OK done\r\n{7}\r\n";

fn stream() -> Vec<u8> {
    let mut all = b"* 5 EXISTS\r\n* XYZZY {4}\r\n\r\n\r\n\r\n".to_vec();
    for head in ["* 1 FETCH (UID 7 BODY[] ", "* 1 FETCH (BODY[] ~", "* 1 fetch (FLAGS () body[] "] {
        all.extend_from_slice(format!("{head}{{{}}}\r\n", BODY.len()).as_bytes());
        all.extend_from_slice(BODY);
        all.extend_from_slice(b" UID 7)\r\n");
    }
    all.extend_from_slice(b"* LIST () \"/\" {5}\r\nIN{3}\r\n* 1 FETCH (UID 8 BODY[] {0}\r\n)\r\nA1 OK see {9}\r\n");
    all
}

const EXPECTED: &str = "* 5 EXISTS\r\n\
    * 1 FETCH (UID 7 BODY[] <body> UID 7)\r\n\
    * 1 FETCH (BODY[] <body> UID 7)\r\n\
    * 1 fetch (FLAGS () body[] <body> UID 7)\r\n\
    * LIST () \"/\" {5}\r\nIN{3}\r\n\
    * 1 FETCH (UID 8 BODY[] <body>)\r\n\
    A1 OK see {9}\r\n";

/// Reads as async-imap does: whole responses, and their bodies before the next.
async fn divert(transport: BoxTransport, intake: Intake) -> io::Result<(String, Vec<Vec<u8>>)> {
    let mut diverter = Diverter::new(transport, Duration::from_secs(5));
    diverter.divert_to(Some(intake));
    let (mut text, mut bodies) = (String::new(), Vec::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = diverter.read(&mut buffer).await?;
        if n == 0 {
            return Ok((text, bodies));
        }
        let mut response = String::from_utf8(buffer[..n].to_vec()).unwrap();
        if let Some(at) = response.find("gatepost-") {
            let token: String = response[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            assert!(diverter.diverted.as_ref().is_some_and(|diverted| diverted.token == token), "{token}");
            let diverted = diverter.take_body(token.as_bytes()).unwrap();
            assert!(diverter.take_body(token.as_bytes()).is_none(), "a token is good for once");
            match diverted.content {
                Content::Bytes(bytes) => bodies.push(read_range(&bytes, 0..bytes.len())?),
                Content::TooLong { bytes } => bodies.push(format!("too long: {bytes}").into_bytes()),
            }
            response = response.replace(&format!("{{{}}}\r\n{token}", token.len()), "<body>");
        }
        text.push_str(&response);
    }
}

fn intake() -> (Intake, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Intake::new(1 << 20, dir.path().to_owned()), dir)
}

#[tokio::test]
async fn it_does_not_matter_where_the_reads_are_cut() {
    let stream = stream();
    let (intake, _dir) = intake();
    let mut cuts: Vec<Vec<Vec<u8>>> =
        (0..=stream.len()).map(|at| vec![stream[..at].to_vec(), stream[at..].to_vec()]).collect();
    cuts.push(stream.iter().map(|&byte| vec![byte]).collect());
    cuts.extend([2, 3, 7, 64].map(|n| stream.chunks(n).map(<[u8]>::to_vec).collect()));
    for pieces in cuts {
        let (text, bodies) = divert(Pieces::of(pieces), intake.clone()).await.unwrap();
        assert_eq!(text, EXPECTED);
        assert_eq!(bodies, [BODY, BODY, BODY, b""]);
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_gives_no_body() {
    let stream = stream();
    let (intake, _dir) = intake();
    let mut clean_ends = 0;
    for at in 0..stream.len() {
        match divert(Pieces::of([&stream[..at]]), intake.clone()).await {
            // Only between two responses is an end an end.
            Ok((text, _)) => {
                clean_ends += 1;
                assert!(text.is_empty() || text.ends_with("\r\n"));
            }
            Err(error) => {
                let fault = error.get_ref().unwrap().downcast_ref::<Fault>().unwrap();
                assert!(matches!(fault, Fault::CutOff), "{at}: {fault}");
            }
        }
    }
    assert_eq!(clean_ends, 8);
}

#[tokio::test]
async fn large_bodies_are_spooled_and_too_large_ones_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut intake = Intake::new(1 << 20, dir.path().to_owned());
    intake.item_bytes_max = 2_000_000;
    let body: Vec<u8> = (0..1_500_000u32).map(|n| (n % 251) as u8).collect();
    let mut stream = Vec::new();
    for n in [body.len(), 3_000_000] {
        stream.extend_from_slice(format!("* 1 FETCH (UID 1 BODY[] {{{n}}}\r\n").as_bytes());
        stream.extend_from_slice(&body.repeat(2)[..n]);
        stream.extend_from_slice(b")\r\n");
    }
    stream.extend_from_slice(b"A1 OK done\r\n");
    let pieces: Vec<Vec<u8>> = stream.chunks(10_007).map(<[u8]>::to_vec).collect();
    let (text, bodies) = divert(Pieces::of(pieces), intake.clone()).await.unwrap();
    assert!(text.ends_with("A1 OK done\r\n"));
    assert!(bodies[0] == body && bodies[1] == b"too long: 3000000");
    assert!(!intake.is_tight(), "the window is free again");

    // A spool folder that is not there is this machine's trouble.
    intake.spool_dir = dir.path().join("missing");
    let error = divert(Pieces::of([stream]), intake).await.unwrap_err();
    assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(Fault::Spool(_))), "{error}");
}

#[tokio::test]
async fn answers_without_end_are_refused() {
    let (mut intake, _dir) = intake();
    intake.item_bytes_max = 1000;
    for stream in [
        format!("* OK {}", "x".repeat(RESPONSE_BYTES_MAX)),
        format!("* LIST () \"/\" {{{}}}\r\n", 2 * RESPONSE_BYTES_MAX),
        "* LIST () \"/\" {9999999999999999999}\r\n".to_owned(),
        "* 1 FETCH (UID 1 BODY[] {9999999999999}\r\n".to_owned(),
        "* 1 FETCH (UID 1 BODY[] {1}\r\nx BODY[] {1}\r\ny)\r\n".to_owned(),
    ] {
        let error = divert(Pieces::of([stream.as_str()]), intake.clone()).await.unwrap_err();
        let fault = error.get_ref().unwrap().downcast_ref::<Fault>();
        assert!(matches!(fault, Some(Fault::Protocol(_))), "{}: {error}", &stream[..40]);
    }
}

#[tokio::test]
async fn outside_a_fetch_nothing_is_diverted() {
    let mut diverter =
        Diverter::new(Pieces::of(["* 1 FETCH (UID 1 BODY[] ~{3}\r\nabc)\r\n* BYE\r\n"]), Duration::from_secs(5));
    let mut buffer = [0; 100];
    let n = diverter.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..n], b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n");
    assert!(diverter.has_more(), "the BYE is not handed on with it");
}

#[tokio::test]
async fn waiting_for_room_is_not_the_servers_silence() {
    let (client, mut server) = tokio::io::duplex(1 << 16);
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(4096, dir.path().to_owned());
    let held = intake.room(4096).await;
    let mut diverter = Diverter::new(Box::new(client), Duration::from_millis(50));
    diverter.divert_to(Some(intake));
    tokio::io::AsyncWriteExt::write_all(&mut server, b"* 1 FETCH (UID 1 BODY[] {2000}\r\n").await.unwrap();
    let mut buffer = [0; 4096];
    let waited = tokio::time::timeout(Duration::from_millis(300), diverter.read(&mut buffer)).await;
    assert!(waited.is_err(), "it still waits for room");
    drop(held);
    let error = diverter.read(&mut buffer).await.unwrap_err();
    assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(Fault::Silent(_))), "{error}");
}
