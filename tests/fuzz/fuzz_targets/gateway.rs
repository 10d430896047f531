//! Any bytes in the place of what a gateway says, over a real connection: IMAP, POP3 or EWS by the first byte. A session of
//! login, listing, fetching and deleting ends with an error or with items, never with a panic, and what is given as fetched
//! was listed.
#![no_main]

use std::sync::OnceLock;

use gatepost::sources::{AnySource, Intake, Source as _, SourceOptions};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

struct World {
    runtime: tokio::runtime::Runtime,
    listener: TcpListener,
    options: [SourceOptions; 3],
    spool: tempfile::TempDir,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        // The parser of IMAP panics on some answers, which gatepost catches and takes for a broken connection; every other
        // panic is a finding.
        let finding = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|at| at.file().contains("imap-proto")) {
                finding(panic);
            }
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let spool = tempfile::tempdir().unwrap();
        let options = ["imap", "pop3", "ews"].map(|kind| {
            let place = match kind {
                "ews" => format!("url = \"http://localhost:{port}/EWS/Exchange.asmx\"\nauth = \"basic\""),
                _ => format!("host = \"127.0.0.1\"\nport = {port}\ntls = \"none\""),
            };
            let file = spool.path().join(format!("{kind}.toml"));
            let text = format!(
                "[archive]\npath = \"archive\"\n[[profile]]\nname = \"journal\"\ndelete = true\n\
                 [profile.{kind}]\n{place}\nusername = \"journal\"\npassword = \"x\"\ntimeout = \"1s\"\n"
            );
            std::fs::write(&file, text).unwrap();
            let settings = gatepost::config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
            settings.profiles[0].source_options().unwrap()
        });
        World { runtime, listener, options, spool }
    })
}

/// Says everything at once and then only listens, as long as the other side talks.
async fn serve(listener: &TcpListener, said: &[u8]) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        // The other side may have hung up.
        let _ = stream.write_all(said).await;
        let _ = stream.shutdown().await;
        let mut heard = [0; 4096];
        while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
    }
}

async fn session(options: &SourceOptions, intake: &Intake) -> Option<()> {
    let mut source = AnySource::connect(options).await.ok()?;
    source.open("INBOX").await.ok()?;
    let (listed, _) = source.list(0).await.ok()?;
    let (out, mut fetched) = tokio::sync::mpsc::channel(10_000);
    let taken = source.fetch(&listed, intake, &out).await;
    drop(out);
    while let Some(one) = fetched.recv().await {
        assert!(listed.iter().any(|listed| listed.native_id == one.listed.native_id), "fetched and never listed");
    }
    taken.ok()?;
    let _ = source.list_only(&listed).await;
    let _ = source.delete(&listed).await;
    source.close().await;
    Some(())
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, said)) = input.split_first() else { return };
    let world = world();
    let options = &world.options[usize::from(choice % 3)];
    let intake = Intake::new(1 << 20, world.spool.path().to_owned());
    world.runtime.block_on(async {
        tokio::select! {
            () = serve(&world.listener, said) => {}
            _ = session(options, &intake) => {}
        }
    });
});
