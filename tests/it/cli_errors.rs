//! Bad input to the program: each mistake gets its exit code and an error that says what failed and
//! what to do (`hint:`), and nothing is made or lost by it. No server is needed here.

use std::path::PathBuf;

use assert_cmd::Command;

const PASSWORD: &str = "correct horse battery staple";

/// A configuration in a folder of its own; the archive that it names does not exist yet.
struct Bench {
    folder: tempfile::TempDir,
}

/// What the program said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

const GOOD: &str = r#"
[archive]
path = "archive"

[people]
internal_domains = ["corp.example"]

[[profile]]
name = "journal"
every = "300s"
delete = true

[profile.imap]
host = "gateway.invalid"
port = 993
tls = "implicit"
username = "journal@corp.example"
password = { env = "GATEPOST_TEST_PASSWORD" }
folders = ["INBOX"]
timeout = "20s"
"#;

impl Bench {
    fn new(config: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gatepost.toml"), config).unwrap();
        Bench { folder }
    }

    /// The good configuration with one text changed.
    fn with(from: &str, to: &str) -> Bench {
        assert!(GOOD.contains(from), "{from:?} is not in the good configuration");
        Bench::new(&GOOD.replacen(from, to, 1))
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn run(&self, arguments: &[&str]) -> Said {
        run(Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .arg("--config")
            .arg(self.folder.path().join("gatepost.toml"))
            .args(arguments)
            .env("GATEPOST_TEST_PASSWORD", PASSWORD))
    }

    /// Runs `once` on a mistaken configuration.
    fn refused(&self, said: &[&str]) {
        let answer = self.run(&["once"]);
        answer.is(1, said);
        assert!(!self.archive().exists(), "an archive was made from a mistaken configuration");
    }
}

fn run(command: &mut Command) -> Said {
    let output = command.timeout(std::time::Duration::from_secs(120)).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    /// The exit code, each of `words` on stderr, a hint, and nothing that must not be there.
    fn is(&self, code: i32, words: &[&str]) {
        let Said { out, err, .. } = self;
        assert_eq!(self.code, Some(code), "exit code\nstdout: {out}\nstderr: {err}");
        for word in words.iter().chain(&["hint:"]) {
            assert!(err.contains(word), "{word:?} is missing\nstderr: {err}");
        }
        assert!(!err.contains("panicked"), "{err}");
        assert!(!err.contains(PASSWORD) && !out.contains(PASSWORD), "the password was shown\n{out}\n{err}");
    }
}

// --- usage ----------------------------------------------------------------------------------------

#[test]
fn wrong_usage_is_code_1() {
    // clap's own code is 2, which means "new items need attention" here.
    for arguments in [&["onec"][..], &["once", "--no-such-option"], &["explain"], &[]] {
        let answer = run(Command::new(env!("CARGO_BIN_EXE_gatepost")).args(arguments));
        assert_eq!(answer.code, Some(1), "{arguments:?}: {}", answer.err);
        assert!(!answer.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    for arguments in [["--help"], ["--version"]] {
        let answer = run(Command::new(env!("CARGO_BIN_EXE_gatepost")).args(arguments));
        assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(answer.out.contains("gatepost"), "{}", answer.out);
    }
}

#[test]
fn an_unknown_profile_is_named_with_the_known_ones() {
    let bench = Bench::new(GOOD);
    bench.run(&["once", "--profile", "jurnal"]).is(1, &["jurnal", "journal"]);
}

#[test]
fn a_mail_file_that_is_not_there_is_named() {
    Bench::new(GOOD).run(&["explain", "no-such.eml"]).is(1, &["no-such.eml"]);
}

// --- configuration --------------------------------------------------------------------------------

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let bench = Bench::new(GOOD);
    std::fs::remove_file(bench.folder.path().join("gatepost.toml")).unwrap();
    bench.refused(&["gatepost.toml"]);
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    Bench::with("port = 993", "port = = 993").refused(&["gatepost.toml:15"]);
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    Bench::with("internal_domains", "internal_domain").refused(&["internal_domain", "internal_domains"]);
    Bench::with("username", "usrname").refused(&["usrname", "username", "gatepost.toml:17"]);
    Bench::with("every =", "evry =").refused(&["evry", "every"]);
    Bench::with("[archive]", "[archiv]").refused(&["archiv", "archive"]);
}

#[test]
fn two_sources_in_one_profile_are_refused() {
    let pop3 = "\n[profile.pop3]\nhost = \"gateway.invalid\"\nusername = \"j\"\n";
    Bench::new(&format!("{GOOD}{pop3}")).refused(&["journal", "imap", "pop3"]);
}

#[test]
fn a_profile_without_source_is_refused() {
    let config = GOOD.split("[profile.imap]").next().unwrap();
    Bench::new(config).refused(&["journal", "source"]);
}

#[test]
fn delete_has_no_default() {
    Bench::with("delete = true\n", "").refused(&["journal", "delete"]);
}

#[test]
fn durations_carry_units() {
    Bench::with("\"300s\"", "300").refused(&["every", "300s"]);
}

#[test]
fn a_password_variable_that_is_not_set_is_named() {
    Bench::with("GATEPOST_TEST_PASSWORD", "GATEPOST_TEST_UNSET").refused(&["GATEPOST_TEST_UNSET"]);
}

#[test]
fn plaintext_off_loopback_is_refused() {
    Bench::with("\"implicit\"", "\"none\"").refused(&["allow_plaintext"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let config = GOOD.replace("delete = true\n", "").replace("every", "evry");
    Bench::new(&config).refused(&["delete", "evry"]);
}

// --- archive --------------------------------------------------------------------------------------

#[test]
fn an_existing_empty_folder_is_refused_without_create_archive() {
    let bench = Bench::new(GOOD);
    std::fs::create_dir(bench.archive()).unwrap();
    bench.run(&["once"]).is(1, &["archive", "--create-archive"]);
    assert_eq!(std::fs::read_dir(bench.archive()).unwrap().count(), 0, "something was written into it");

    // Told so, it goes on, as far as the gateway.
    bench.run(&["once", "--create-archive"]).is(3, &["gateway.invalid"]);
}

#[test]
fn an_archive_path_that_cannot_be_a_folder_is_refused() {
    let bench = Bench::new(GOOD);
    std::fs::write(bench.archive(), "not an archive").unwrap();
    bench.run(&["once"]).is(1, &["archive"]);
    assert_eq!(std::fs::read_to_string(bench.archive()).unwrap(), "not an archive");

    let below = Bench::with("path = \"archive\"", "path = \"gatepost.toml/archive\"");
    below.run(&["once"]).is(1, &["gatepost.toml"]);
}

#[test]
fn a_folder_with_foreign_files_is_left_alone() {
    let bench = Bench::new(GOOD);
    std::fs::create_dir(bench.archive()).unwrap();
    std::fs::write(bench.archive().join("holiday.jpg"), "x").unwrap();
    let answer = bench.run(&["once"]);
    answer.is(1, &["archive"]);
    assert_eq!(std::fs::read_dir(bench.archive()).unwrap().count(), 1, "something was written beside it");
}

#[test]
fn reading_never_makes_an_archive() {
    let bench = Bench::new(GOOD);
    for arguments in [&["list", "--json"][..], &["verify"], &["head"], &["rebuild"]] {
        let answer = bench.run(arguments);
        assert_eq!(answer.code, Some(1), "{arguments:?}: {}", answer.err);
        assert!(!answer.err.is_empty(), "{arguments:?}");
        assert!(!bench.archive().exists(), "{arguments:?} made an archive");
    }
}

// --- gateway --------------------------------------------------------------------------------------

#[test]
fn a_host_that_is_not_found_is_code_3() {
    let bench = Bench::new(GOOD);
    for arguments in [&["once"][..], &["once", "--dry-run"]] {
        bench.run(arguments).is(3, &["journal", "gateway.invalid", "nothing was deleted"]);
    }
}

#[test]
fn a_gateway_that_refuses_the_connection_is_code_3() {
    // Bound and let go: nothing listens there now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = GOOD.replace("gateway.invalid", "127.0.0.1").replace("993", &port.to_string());
    Bench::new(&config).run(&["once"]).is(3, &["journal", &format!("127.0.0.1:{port}"), "nothing was deleted"]);
}

#[test]
fn a_gateway_that_says_nothing_is_code_3() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let config = GOOD.replace("gateway.invalid", "127.0.0.1").replace("993", &port).replace("\"20s\"", "\"1s\"");
    Bench::new(&config).run(&["once"]).is(3, &["journal", "nothing was deleted"]);
}

#[test]
fn the_report_of_a_failed_run_is_still_json() {
    let answer = Bench::new(GOOD).run(&["once", "--json"]);
    assert_eq!(answer.code, Some(3), "{}", answer.err);
    let report: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    let profile = &report["profiles"][0];
    assert_eq!(profile["name"], "journal");
    for count in ["listed", "archived", "pending", "failed", "deleted"] {
        assert_eq!(profile[count], 0, "{count}: {report}");
    }
}
