//! `gatepost demo`: the whole job, for real, on an embedded gateway with sample journal mail. Needs nothing
//! installed, talks to loopback only, and leaves an archive to look at.

use std::path::{Path, PathBuf};

use super::directory::Known;
use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global, Running};
use super::{once, people};
use crate::archive::Catalogue;
use crate::demo::samples;
use crate::demo::server::{Gateway, GatewayOptions};

pub fn demo(dir: Option<PathBuf>) -> Result<Exit, Failure> {
    let dir = match dir {
        Some(dir) => {
            let dir = wiring::absolute(&dir)?;
            std::fs::create_dir_all(&dir)?;
            dir
        }
        None => tempfile::Builder::new().prefix("gatepost-demo-").tempdir()?.keep(),
    };
    let runtime = wiring::runtime()?;
    let gateway = runtime.block_on(Gateway::start(GatewayOptions::default()))?;
    let samples = samples::samples();
    for sample in &samples {
        gateway.append("INBOX", sample.item.clone(), Some(sample.date));
    }
    let config = dir.join("gatepost.toml");
    std::fs::write(&config, configuration(gateway.port()))?;
    let password = GatewayOptions::default().password;
    crate::base::fsio::Fs::real().write_durably(&dir.join("password"), password.expose().as_bytes())?;

    output::line("gatepost demo: a gateway with sample journal mail was started on loopback.");
    output::line(&format!(
        "    imap 127.0.0.1:{}, {} items in INBOX: journal reports with Bcc, lists, on-behalf-of and forks,\n    \
         plain copies, attachments that recur, and one item that nobody can decode",
        gateway.port(),
        samples.len()
    ));
    output::line("");
    let global = Global { config: Some(config.clone()), ..Global::default() };
    let settings = wiring::settings(&global)?;
    let running = Running::start(&settings, false, "demo")?;
    let catalogue = Catalogue::of(&wiring::layout_of(&settings.archive))?;
    let known = Known::of(wiring::people(&settings, Some(&catalogue))?);
    let profile = settings.profiles.first().ok_or_else(|| Failure::usage("the demo's configuration has no profile"))?;
    output::line("$ gatepost once");
    let once::Cycled { report, exit, .. } =
        runtime.block_on(once::one(&running, profile, &known, &once::Manner::default()));
    once::print(&report);
    running.finish()?;
    let left = gateway.uids("INBOX").len() as u64;
    output::line(&format!(
        "    {} on the gateway: what is quarantined stays for 7 days (`gatepost quarantine list`)",
        output::plural(left, "item is left", "items are left")
    ));
    output::line("");
    output::line("$ gatepost people");
    people::people(&global, false)?;
    drop(catalogue);
    runtime.block_on(gateway.stop());
    next_steps(&dir, &config);
    match (exit, report.error) {
        // One item is undecodable on purpose.
        (Exit::Ok | Exit::Attention, None) => Ok(Exit::Ok),
        (_, Some(error)) => Err(Failure { exit, what: error.what, hint: error.hint, refused: false }),
        (exit, None) => Ok(exit),
    }
}

fn configuration(port: u16) -> String {
    format!(
        r#"# Written by `gatepost demo`. The gateway at this port ended with it; the archive stays readable.
[archive]
path = "archive"

[people]
internal_domains = ["corp.example"]
unknown_internal = "create"

[[profile]]
name = "journal"
delete = true

[profile.imap]
host = "127.0.0.1"
port = {port}
tls = "none"
username = "journal@corp.example"
password = {{ file = "password" }}
"#
    )
}

fn next_steps(dir: &Path, config: &Path) {
    let program = std::env::current_exe().map_or_else(|_| "gatepost".into(), |path| path.display().to_string());
    let base = format!("{program} --config {}", config.display());
    output::line("");
    output::line(&format!("The archive stands in {}. Look at it:", dir.join("archive").display()));
    for command in [
        "list --person anna@corp.example",
        "search invoice",
        "show 1 --envelope",
        "export exported --person anna@corp.example",
        "verify",
        "status",
    ] {
        output::line(&format!("    {base} {command}"));
    }
    output::line(&format!("    zstd -dc {}", dir.join("archive/packs/000001.pack.zst").display()));
}
