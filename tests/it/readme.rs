//! The README is true: its configuration is one, and the commands it names are there.

use std::path::Path;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_first_configuration_is_complete_in_five_lines() {
    let readme = readme();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (toml, _) = rest.split_once("```").unwrap();
    assert_eq!(toml.lines().count(), 5);
    let settings = gatepost::config::parse(Path::new("/etc/gatepost/gatepost.toml"), toml).unwrap();
    assert_eq!(settings.profiles.len(), 1);
    assert!(!settings.profiles[0].delete);
    assert_eq!(settings.people.internal_domains, ["corp.example"]);
}

#[test]
fn every_command_is_in_the_table() {
    let help = assert_cmd::Command::new(env!("CARGO_BIN_EXE_gatepost")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let readme = readme();
    for line in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        assert!(name == "help" || readme.contains(&format!("`{name}")), "the README does not name `{name}`");
    }
}
