//! How an archive of very many small items behaves: what comes in, what it takes, and how long people wait.
//!
//! Journal reports are imported from mbox files of the same number of mails each, so that the rate of each can be compared
//! with the first. The rate is that of the whole `gatepost import`, its start and end included.

use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::time::{Duration, Instant};

use gatepost::demo::corpus::Corpus;
use serde_json::{Value, json};

use super::tools::{Series, cost, set, write_json};
use crate::support::agent::{Agent, Config};

/// Mails of one import.
const STEP: usize = 10_000;
/// How often each question is asked.
const ASKED: usize = 15;
const PERSON: &str = "user03@corp.example";

#[test]
#[ignore = "a measurement"]
fn an_archive_grows() {
    let most = set("GATEPOST_BENCH_GROWTH", 1_000_000);
    let stops: Vec<usize> = [10_000, 100_000, 1_000_000].into_iter().filter(|stop| *stop <= most).collect();
    let corpus = Corpus::small(71, most);
    // Nobody answers there, which is what a start has to cope with.
    let mut agent = Agent::new(&Config::at(9));
    let mbox = agent.path("mails.mbox");
    let mut first = None;
    let mut numbers = Vec::new();
    let mut rates = Series::default();
    for from in (0..most).step_by(STEP) {
        let mut file = std::io::BufWriter::new(std::fs::File::create(&mbox).unwrap());
        let mut bytes = 0;
        for n in from..from + STEP {
            let item = corpus.get(n).item;
            bytes += item.len();
            write_mbox(&mut file, &item);
        }
        file.into_inner().unwrap();
        let took = cost(|| agent.start(&["import", "--json", mbox.to_str().unwrap()]));
        took.said.is(0, &[]);
        let rate = STEP as f64 / took.seconds;
        rates.push(rate);
        let at = from + STEP;
        let first = *first.get_or_insert(rate);
        eprintln!(
            "{at:9} items: {rate:6.0} mails/s ({:.2} of the first), {:.1} MB/s, {:.2} CPU s, peak {:.1} MiB",
            rate / first,
            bytes as f64 / took.seconds / 1e6,
            took.cpu_seconds,
            took.peak_mib
        );
        if stops.contains(&at) {
            let mut number = at_rest(&mut agent, at);
            number["import_mails_per_s"] = json!(rate);
            number["import_peak_mib"] = json!(took.peak_mib);
            numbers.push(number);
        }
    }
    write_json(&json!({ "step": STEP, "mails_per_s": rates.json(), "stops": numbers }));
}

/// What people wait for in an archive of so many items.
fn at_rest(agent: &mut Agent, items: usize) -> Value {
    let catalogue: u64 = ["catalogue.sqlite3", "catalogue.sqlite3-wal"]
        .iter()
        .filter_map(|name| std::fs::metadata(agent.archive().join(name)).ok())
        .map(|file| file.len())
        .sum();
    let ready = ready_after_a_kill(agent, items as u64);
    let agent = &*agent;
    let asked = |arguments: &[&str]| {
        let mut series = Series::default();
        for _ in 0..ASKED {
            let took = cost(|| agent.start(arguments));
            took.said.is(0, &[]);
            series.push(took.seconds * 1000.0);
        }
        series.median()
    };
    let status = asked(&["status"]);
    let newest = asked(&["list", "--person", PERSON, "--limit", "50"]);
    let index = cost(|| agent.start(&["index"]));
    index.said.is(0, &[]);
    let search = asked(&["search", "invoice", "--limit", "50"]);
    let verify = cost(|| agent.start(&["verify"]));
    verify.said.is(0, &[]);
    let packs = agent.pack_bytes();
    eprintln!(
        "{items:9} items: catalogue {:.0} B/item, packs {:.0} B/item; ready {:.0} ms after kill -9; status {status:.0} ms, newest \
         50 of a person {newest:.0} ms, search {search:.0} ms; index {:.1} s ({:.0} MiB), verify {:.1} s ({:.0} MiB)",
        catalogue as f64 / items as f64,
        packs as f64 / items as f64,
        ready * 1000.0,
        index.seconds,
        index.peak_mib,
        verify.seconds,
        verify.peak_mib,
    );
    json!({
        "items": items,
        "catalogue_bytes_per_item": catalogue as f64 / items as f64,
        "pack_bytes_per_item": packs as f64 / items as f64,
        "ready_ms": ready * 1000.0,
        "status_ms": status,
        "list_ms": newest,
        "search_ms": search,
        "index_s": index.seconds,
        "index_peak_mib": index.peak_mib,
        "verify_s": verify.seconds,
        "verify_peak_mib": verify.peak_mib,
    })
}

/// Seconds from the start of the agent until it tells that it is ready, after one that was killed while it wrote.
fn ready_after_a_kill(agent: &mut Agent, seed: u64) -> f64 {
    // Something to be in the middle of: mails that nobody has seen, from a corpus of their own.
    let mbox = agent.path("more.mbox");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&mbox).unwrap());
    Corpus::small(seed, STEP).iter().for_each(|generated| write_mbox(&mut file, &generated.item));
    file.into_inner().unwrap();
    let packs = agent.pack_bytes();
    let mut import = agent.start(&["import", mbox.to_str().unwrap()]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while agent.pack_bytes() <= packs + 1024 * 1024 {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::sleep(Duration::from_millis(5));
    }
    import.kill().unwrap();
    import.wait().unwrap();

    let socket = agent.path("notify");
    let _ = std::fs::remove_file(&socket);
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    agent.environment.push(("NOTIFY_SOCKET".into(), socket.to_str().unwrap().into()));
    let began = Instant::now();
    let running = agent.start(&["run"]);
    let mut text = [0; 4096];
    let ready = loop {
        let read = heard.recv(&mut text).expect("the agent says when it is ready");
        if String::from_utf8_lossy(&text[..read]).contains("READY=1") {
            break began.elapsed().as_secs_f64();
        }
    };
    stop(running);
    agent.environment.pop();
    ready
}

fn stop(mut running: Child) {
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let _ = running.stdout.take();
    let _ = running.stderr.take();
    running.wait().unwrap();
}

fn write_mbox(file: &mut impl std::io::Write, item: &[u8]) {
    writeln!(file, "From bench@corp.example Thu Jan  1 00:00:00 2026").unwrap();
    for line in item.split_inclusive(|byte| *byte == b'\n') {
        let quotes = line.iter().take_while(|byte| **byte == b'>').count();
        if line[quotes..].starts_with(b"From ") {
            file.write_all(b">").unwrap();
        }
        file.write_all(line).unwrap();
    }
    file.write_all(b"\n").unwrap();
}
