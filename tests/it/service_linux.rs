//! gatepost under systemd, as far as that can be seen without systemd running: the units as `systemd-analyze` judges
//! them, what the agent tells the service manager, `service install` below a folder that stands for `/`, and what is
//! shipped for Prometheus and Grafana. `tests/packages` installs the packages and boots a machine with them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use gatepost::demo::server::{Gateway, GatewayOptions};

use crate::support::agent::{Agent, Config, Said};
use crate::support::skip;

/// As `systemd-analyze security` counts; the default service of a distribution has more than 9.
const EXPOSURE_MAX: f64 = 2.0;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// A tool of the host, or `None` and a word about it.
fn tool(name: &str, package: &str) -> Option<Command> {
    let is_there = Command::new(name).arg("--version").output().is_ok();
    if !is_there {
        skip(&format!("{name} is missing (Debian: {package})"));
    }
    is_there.then(|| Command::new(name))
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_units_are_clean_and_exposed_little() {
    let folder = tempfile::tempdir().unwrap();
    for (name, instance) in [("gatepost.service", "gatepost.service"), ("gatepost@.service", "gatepost@acme.service")] {
        // The program is not installed where the tests run.
        let text = std::fs::read_to_string(packaging("systemd").join(name)).unwrap();
        let unit = folder.path().join(instance);
        std::fs::write(&unit, text.replace("/usr/bin/gatepost", env!("CARGO_BIN_EXE_gatepost"))).unwrap();

        let Some(mut analyze) = tool("systemd-analyze", "systemd") else { return };
        let output = analyze.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&unit).output().unwrap();
        assert!(output.status.success() && both(&output).trim().is_empty(), "{instance}: {}", both(&output));

        let Some(mut analyze) = tool("systemd-analyze", "systemd") else { return };
        let output = analyze.args(["security", "--offline=true", "--no-pager"]).arg(&unit).output().unwrap();
        let said = both(&output);
        let exposure = said
            .rsplit_once("Overall exposure level for ")
            .and_then(|(_, said)| said.split_once(": ")?.1.split_whitespace().next()?.parse::<f64>().ok());
        eprintln!("{instance}: exposure {exposure:?}");
        assert!(exposure.is_some_and(|exposure| exposure < EXPOSURE_MAX), "{said}");
    }
}

#[test]
fn systemd_hears_that_the_agent_is_ready_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut buffer = [0; 4096];
        let length = systemd.recv(&mut buffer).expect("the agent said nothing");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let until = |wanted: &str| while heard() != wanted {};

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gateway = runtime.block_on(Gateway::start(GatewayOptions::default())).unwrap();
    let config = Config { login: "username = \"journal@corp.example\"".into(), ..Config::at(gateway.port()) };
    let mut agent = Agent::new(&config);
    agent.password = GatewayOptions::default().password.expose().to_owned();
    agent.environment = vec![("NOTIFY_SOCKET".into(), path.to_str().unwrap().into())];
    let child = agent.start(&["run"]);
    until("READY=1");
    assert!(agent.archive().join("archive.json").exists(), "ready before the archive was open");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    until("STOPPING=1");
    Said::of(child.wait_with_output().unwrap()).is(0, &[]);

    // A start that fails is never ready.
    agent.configure_text("nonsense");
    systemd.set_nonblocking(true).unwrap();
    agent.run(&["run"]).is(1, &["gatepost.toml"]);
    assert!(systemd.recv(&mut [0; 64]).is_err(), "an agent without a configuration was ready");
}

/// A folder that stands for `/`, with the program in it.
struct Machine {
    root: tempfile::TempDir,
    program: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("usr/local/bin/gatepost");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        let built = env!("CARGO_BIN_EXE_gatepost");
        // A link is quick; not between file systems.
        std::fs::hard_link(built, &program).or_else(|_| std::fs::copy(built, &program).map(drop)).unwrap();
        Machine { root, program }
    }

    fn service(&self, arguments: &[&str]) -> Said {
        Said::of(
            Command::new(&self.program)
                .arg("service")
                .args(arguments)
                .env("GATEPOST_SERVICE_ROOT", self.root.path())
                .output()
                .unwrap(),
        )
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn mode(&self, path: &str) -> u32 {
        std::fs::metadata(self.at(path)).unwrap().permissions().mode() & 0o7777
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut folders = vec![self.at("etc"), self.at("var")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path);
                }
            }
        }
        files
    }
}

const UNIT: &str = "etc/systemd/system/gatepost.service";
const TEMPLATE: &str = "etc/systemd/system/gatepost@.service";

#[test]
fn the_service_is_installed_as_often_as_one_likes_and_taken_away() {
    let machine = Machine::new();
    let left_out = "left out, as systemd is not running here: systemctl ";
    machine.service(&["install"]).is(
        0,
        &[
            &format!("{left_out}daemon-reload"),
            &format!("{left_out}enable gatepost.service"),
            "left out, as this is not the running machine: making the user gatepost",
            "gatepost --config /etc/gatepost/gatepost.toml init",
        ],
    );
    let shipped = std::fs::read_to_string(packaging("systemd/gatepost.service")).unwrap();
    let expected = shipped.replace("/usr/bin/gatepost", "/usr/local/bin/gatepost");
    assert_eq!(machine.read(UNIT), expected);
    assert_eq!(machine.mode("etc/gatepost"), 0o750);
    assert_eq!(machine.mode("etc/gatepost/secrets"), 0o700);
    assert_eq!(machine.mode("var/lib/gatepost"), 0o700);
    assert_eq!((machine.mode(UNIT), machine.mode("etc/systemd")), (0o644, 0o755));
    assert!(machine.read("etc/sysusers.d/gatepost.conf").contains("u gatepost"));
    assert!(machine.read("etc/tmpfiles.d/gatepost.conf").contains("d /var/lib/gatepost 0700"));
    assert!(!machine.at("etc/gatepost/gatepost.toml").exists(), "a sample is no configuration");
    let sample = machine.read("etc/gatepost/gatepost.toml.example");
    assert!(sample.contains("path = \"/var/lib/gatepost/archive\""), "the sample's archive is not the service's");

    // What people made since then stays; what they changed in the unit is kept beside it.
    std::fs::write(machine.at("etc/gatepost/gatepost.toml"), "# mine").unwrap();
    std::fs::create_dir_all(machine.at("var/lib/gatepost/archive/packs")).unwrap();
    std::fs::write(machine.at("var/lib/gatepost/archive/packs/000001.pack.zst"), "mail").unwrap();
    std::fs::write(machine.at(UNIT), "changed").unwrap();
    std::fs::set_permissions(machine.at("etc/gatepost"), std::fs::Permissions::from_mode(0o777)).unwrap();
    machine.service(&["install"]).is(
        0,
        &[
            "kept as /etc/systemd/system/gatepost.service.before",
            "mended: /etc/gatepost (mode 750",
            "unchanged: /etc/sysusers.d",
        ],
    );
    assert_eq!(machine.read(UNIT), expected);
    assert_eq!(machine.read(&format!("{UNIT}.before")), "changed");
    let before = machine.files();
    machine.service(&["install"]).is(0, &["unchanged: /etc/systemd/system/gatepost.service"]);
    assert_eq!(machine.files(), before);

    machine
        .service(&["uninstall"])
        .is(0, &["kept: /etc/gatepost (configuration and secrets), /var/lib/gatepost (archive)"]);
    assert!(!machine.at(UNIT).exists() && !machine.at("etc/sysusers.d/gatepost.conf").exists());
    assert_eq!(machine.read("etc/gatepost/gatepost.toml"), "# mine");
    assert_eq!(machine.read("var/lib/gatepost/archive/packs/000001.pack.zst"), "mail");
    machine.service(&["uninstall"]).is(0, &["gatepost.service is not installed"]);
}

#[test]
fn each_company_has_a_service_of_its_own() {
    let machine = Machine::new();
    machine
        .service(&["install", "--instance", "acme"])
        .is(0, &["enable gatepost@acme.service", "start --instance acme"]);
    assert!(
        machine.read(TEMPLATE).contains("ExecStart=/usr/local/bin/gatepost --config /etc/gatepost/%i/gatepost.toml")
    );
    assert!(!machine.at(UNIT).exists());
    assert_eq!(machine.mode("etc/gatepost/acme/secrets"), 0o700);
    assert_eq!(machine.mode("var/lib/gatepost/acme"), 0o700);
    let sample = machine.read("etc/gatepost/acme/gatepost.toml.example");
    assert!(sample.contains("path = \"/var/lib/gatepost/acme/archive\""));
    // As `systemctl enable` leaves it: the template goes with the last company.
    let wants = machine.at("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    std::os::unix::fs::symlink("../gatepost@.service", wants.join("gatepost@other.service")).unwrap();
    machine.service(&["uninstall", "--instance", "acme"]).is(0, &["which runs gatepost@other.service"]);
    assert!(machine.at(TEMPLATE).exists());
    std::fs::remove_file(wants.join("gatepost@other.service")).unwrap();
    machine.service(&["uninstall", "--instance", "acme"]).is(0, &["removed: /etc/systemd/system/gatepost@.service"]);
    assert!(machine.at("etc/gatepost/acme/gatepost.toml.example").exists());
}

#[test]
fn what_cannot_be_is_refused_with_the_way_to_do_it() {
    let machine = Machine::new();
    machine.service(&["install", "--instance", "../x"]).is(1, &["cannot be the name of an instance", "hint:"]);
    machine.service(&["install", "--config", "/srv/x.toml"]).is(1, &["hint: leave --config"]);
    for command in ["start", "stop", "check"] {
        machine.service(&[command]).is(1, &["systemd is not running here", "sudo -u gatepost gatepost --config /etc"]);
    }
    // A program that is not on the machine's own disk, or that the unit's sandbox would hide.
    let elsewhere = machine.at("tmp/gatepost");
    std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    std::fs::rename(&machine.program, &elsewhere).unwrap();
    let hidden = Machine { program: elsewhere.clone(), root: machine.root };
    hidden.service(&["install"]).is(1, &["it does not see /tmp", "hint: sudo install -m 0755"]);
    // The package's unit is another program's.
    std::fs::rename(&elsewhere, hidden.at("usr/local/bin/gatepost")).unwrap();
    let packaged = Machine { program: hidden.at("usr/local/bin/gatepost"), root: hidden.root };
    std::fs::create_dir_all(packaged.at("usr/lib/systemd/system")).unwrap();
    std::fs::copy(packaging("systemd/gatepost.service"), packaged.at("usr/lib/systemd/system/gatepost.service"))
        .unwrap();
    packaged.service(&["install"]).is(1, &["a package has installed gatepost already", "hint: sudo /usr/bin/gatepost"]);
    // The package's own program uses its unit, and writes none beside it.
    std::fs::create_dir(packaged.at("usr/bin")).unwrap();
    std::fs::rename(&packaged.program, packaged.at("usr/bin/gatepost")).unwrap();
    let packaged = Machine { program: packaged.at("usr/bin/gatepost"), root: packaged.root };
    packaged.service(&["install"]).is(0, &["there by its package: /usr/lib/systemd/system/gatepost.service"]);
    assert!(!packaged.at(UNIT).exists());
    // Another user is told what to type.
    let said = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--clear-groups",
            env!("CARGO_BIN_EXE_gatepost"),
            "service",
            "install",
            "--instance",
            "a",
        ])
        .output()
        .map(Said::of);
    match said {
        Ok(said) if said.code == Some(1) && said.err.contains("hint:") => {
            said.is(1, &["is for root", "hint: sudo /", "gatepost service install --instance a"]);
        }
        // Without root nobody else can be played, or the build's folder is not readable for others.
        _ => eprintln!("not seen: another user"),
    }
}

/// What `/metrics` serves; rules and dashboard may speak of nothing else.
const METRICS: [&str; 28] = [
    "gatepost_alarm_active",
    "gatepost_alarms_active",
    "gatepost_archive_damaged",
    "gatepost_archive_free_bytes",
    "gatepost_archive_head_sequence",
    "gatepost_archive_items",
    "gatepost_archive_last_commit_timestamp_seconds",
    "gatepost_archive_raw_bytes",
    "gatepost_archive_reserve_bytes",
    "gatepost_archive_stored_bytes",
    "gatepost_build_info",
    "gatepost_cycle_seconds_total",
    "gatepost_cycles_total",
    "gatepost_deleted_items_total",
    "gatepost_downloaded_bytes_total",
    "gatepost_items_total",
    "gatepost_profile_backlog_items",
    "gatepost_profile_consecutive_failures",
    "gatepost_profile_last_item_timestamp_seconds",
    "gatepost_profile_last_run_timestamp_seconds",
    "gatepost_profile_last_success_timestamp_seconds",
    "gatepost_profile_next_run_timestamp_seconds",
    "gatepost_profile_oldest_item_age_seconds",
    "gatepost_profile_quarantined_items",
    "gatepost_profile_running",
    "gatepost_profile_state",
    "gatepost_ready",
    "gatepost_start_time_seconds",
];

fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("gatepost_")).map(str::to_owned).collect()
}

#[test]
fn prometheus_takes_the_rules_and_they_alarm_when_they_should() {
    let rules = std::fs::read_to_string(packaging("prometheus/gatepost.rules.yml")).unwrap();
    for metric in metrics_in(&rules) {
        assert!(METRICS.contains(&metric.as_str()), "the rules ask for {metric}, which nobody serves");
    }
    for arguments in [["check", "rules", "gatepost.rules.yml"], ["test", "rules", "gatepost.test.yml"]] {
        let Some(mut promtool) = tool("promtool", "prometheus") else { return };
        let output = promtool.args(arguments).current_dir(packaging("prometheus")).output().unwrap();
        assert!(output.status.success() && both(&output).contains("SUCCESS"), "{}", both(&output));
    }
}

#[test]
fn grafana_gets_a_dashboard_whose_queries_are_ones() {
    let text = std::fs::read_to_string(packaging("grafana/gatepost.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (shown, known) = (metrics_in(&text), METRICS.map(str::to_owned));
    assert!(shown.iter().all(|metric| known.contains(metric)), "{shown:?}");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    let expressions: Vec<String> = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m"))
        .collect();
    assert!(expressions.len() > 20);
    // Recording rules are the form in which promtool looks at expressions.
    let rules: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(n, expression)| serde_json::json!({ "record": format!("dashboard:query:{n}"), "expr": expression }))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yml");
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(&file, groups.to_string()).unwrap();
    let Some(mut promtool) = tool("promtool", "prometheus") else { return };
    let output = promtool.args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
}
