//! What the shell, the manual and the terminal get.

use assert_cmd::Command;

fn gatepost(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_for_every_shell_know_the_commands() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef gatepost"),
        ("fish", "complete -c gatepost"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let script = gatepost(&["completions", shell]);
        assert!(script.contains(word), "{shell}: {script}");
        for name in ["import", "quarantine", "people-from-folders", "completions"] {
            assert!(script.contains(name), "{shell} does not know {name}");
        }
    }
}

#[test]
fn bash_reads_its_completions() {
    let Ok(bash) = which("bash") else { return super::support::skip("bash") };
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("gatepost.bash");
    std::fs::write(&script, gatepost(&["completions", "bash"])).unwrap();
    let ask = "source \"$1\"; COMP_WORDS=(gatepost im); COMP_CWORD=1; _gatepost gatepost im gatepost; echo \"${COMPREPLY[@]}\"";
    let output = std::process::Command::new(bash).args(["-c", ask, "-"]).arg(&script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "import", "{output:?}");
}

fn which(name: &str) -> Result<std::path::PathBuf, ()> {
    let path = std::env::var_os("PATH").ok_or(())?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()).ok_or(())
}

#[test]
fn a_page_of_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages");
    let said = gatepost(&["man", "--dir", pages.to_str().unwrap()]);
    assert!(said.contains("the pages are in"), "{said}");
    let names: Vec<String> =
        std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["gatepost.1", "gatepost-import.1", "gatepost-quarantine-list.1", "gatepost-secret-set.1"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(names.len() > 25, "{names:?}");
    let page = std::fs::read_to_string(pages.join("gatepost-import.1")).unwrap();
    for words in [".TH gatepost-import 1", "Maildir", "\\-\\-people\\-from\\-folders", ".SH OPTIONS"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let first = gatepost(&["man"]);
    assert!(first.contains(".TH gatepost 1") && first.contains("Exit codes"), "{first}");
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost")).args(["man", "--dir", "/dev/null/x"]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && err.contains("hint: name a folder"), "{err}");
}

/// Nothing that is hidden in the help shows up elsewhere.
#[test]
fn the_help_and_the_pages_name_the_same_commands() {
    let help = gatepost(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let shown = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let mut shown: Vec<&str> = shown.filter_map(|line| line.split_whitespace().next()).collect();
    shown.retain(|name| *name != "help");
    shown.sort_unstable();
    let folder = tempfile::tempdir().unwrap();
    gatepost(&["man", "--dir", folder.path().to_str().unwrap()]);
    let mut pages: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_prefix("gatepost-")?.strip_suffix(".1")?.to_owned();
            // The others are pages of subcommands.
            (shown.contains(&name.as_str()) || !name.contains('-')).then_some(name)
        })
        .collect();
    pages.sort();
    assert_eq!(pages, shown);
}

#[cfg(unix)]
mod on_a_terminal {
    use rexpect::session::{PtySession, spawn_command};

    use crate::support::bench::{Bench, Setup};

    fn said(bench: &Bench, arguments: &[&str], columns: u16, variables: &[(&str, &str)]) -> String {
        let mut command = std::process::Command::new("sh");
        let config = bench.folder().join("gatepost.toml");
        let script = format!("stty rows 24 cols {columns}; exec \"$0\" --config \"{}\" \"$@\"", config.display());
        command.args(["-c", &script, env!("CARGO_BIN_EXE_gatepost")]).args(arguments);
        command.env("GATEPOST_TEST_PASSWORD", "journal").env("TZ", "Europe/Berlin");
        command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
        for (name, value) in variables {
            command.env(name, value);
        }
        let mut session: PtySession = spawn_command(command, Some(60_000)).unwrap();
        // It takes each byte for a character.
        let bytes = session.exp_eof().unwrap().chars().map(|c| c as u8).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn colours_and_widths_are_the_terminals() {
        let bench = Bench::new(Setup::default());
        let mail = "From: x@partner.example\nTo: anna@corp.example\nSubject: 日本語の件名がとても長いときはどうなるのか\n\
                    Message-ID: <wide@partner.example>\nDate: Tue, 3 Mar 2026 09:15:00 +0000\n\nx\n";
        let path = bench.folder().join("1.eml");
        std::fs::write(&path, mail).unwrap();
        bench.json(&["import", path.to_str().unwrap(), "--person", "anna@corp.example", "--json"], 0);

        let colours = said(&bench, &["check"], 100, &[]);
        assert!(colours.contains("\x1b[32mok     \x1b[0m"), "{colours:?}");
        for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
            let plain = said(&bench, &["check"], 100, &variables);
            assert!(plain.contains("ok     ") && !plain.contains("\x1b["), "{variables:?}: {plain:?}");
        }
        let piped = bench.run(&["check"], None);
        assert!(!piped.out.contains('\x1b') && !piped.err.contains('\x1b'), "{piped}");

        let list = said(&bench, &["list"], 120, &[]);
        let line = list.lines().find(|line| line.contains("日本")).unwrap_or_else(|| panic!("{list:?}"));
        let columns: usize = line.trim_end().chars().map(|c| if c >= '\u{2e80}' { 2 } else { 1 }).sum();
        assert!(columns <= 120 && line.contains('…'), "{columns}: {line}");
        assert!(line.contains("2026-03-03 10:15 +01:00"), "local time with its offset: {line}");
        let people = said(&bench, &["people"], 60, &[]);
        assert!(people.lines().all(|line| line.trim_end().chars().count() <= 60), "{people}");
    }
}
