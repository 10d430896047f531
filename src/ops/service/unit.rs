//! The units of `packaging/systemd`: one text for the packages, for `gatepost service install`, and for the tests. Values
//! only; nothing here touches the host.

use crate::ops::exit::Failure;

const SINGLE: &str = include_str!("../../../packaging/systemd/gatepost.service");
const TEMPLATE: &str = include_str!("../../../packaging/systemd/gatepost@.service");
pub const SYSUSERS: &str = include_str!("../../../packaging/systemd/gatepost.sysusers");
pub const TMPFILES: &str = include_str!("../../../packaging/systemd/gatepost.tmpfiles");
/// What the packages put beside the place of the configuration.
pub const SAMPLE: &str = include_str!("../../../config/gatepost.toml");

/// Where the packages install the program.
const PACKAGED: &str = "/usr/bin/gatepost";

/// The service of the machine, or of one company among several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    instance: Option<String>,
}

impl Unit {
    pub fn of(instance: Option<&str>) -> Result<Unit, Failure> {
        let Some(name) = instance else { return Ok(Unit { instance: None }) };
        // Lower case, digits and hyphens: nothing that systemd would escape, and no name that /etc/gatepost or
        // /var/lib/gatepost hold already for the service without an instance.
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 32 || name.starts_with('-') || !name.chars().all(fits) {
            return Err(Failure::usage(format!("`{name}` cannot be the name of an instance"))
                .hint("lower-case letters, digits and hyphens, at most 32, for instance: --instance acme"));
        }
        if ["archive", "secrets", "packs", "spool", "torn", "decoding"].contains(&name) {
            return Err(Failure::usage(format!("an instance cannot be called `{name}`: a folder of gatepost is"))
                .hint("take the company's name, for instance: --instance acme"));
        }
        Ok(Unit { instance: Some(name.to_owned()) })
    }

    /// As systemctl takes it.
    pub fn name(&self) -> String {
        match &self.instance {
            None => "gatepost.service".to_owned(),
            Some(name) => format!("gatepost@{name}.service"),
        }
    }

    pub fn file(&self) -> &'static str {
        if self.instance.is_none() { "gatepost.service" } else { "gatepost@.service" }
    }

    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// `--instance NAME`, for hints.
    pub fn option(&self) -> String {
        self.instance.as_ref().map(|name| format!(" --instance {name}")).unwrap_or_default()
    }

    pub fn config_folder(&self) -> String {
        self.below("/etc/gatepost")
    }

    pub fn config(&self) -> String {
        format!("{}/gatepost.toml", self.config_folder())
    }

    pub fn state_folder(&self) -> String {
        self.below("/var/lib/gatepost")
    }

    fn below(&self, folder: &str) -> String {
        match &self.instance {
            None => folder.to_owned(),
            Some(name) => format!("{folder}/{name}"),
        }
    }

    /// The unit's text for the program at `executable`.
    pub fn text(&self, executable: &str) -> String {
        let text = if self.instance.is_none() { SINGLE } else { TEMPLATE };
        // systemd reads `%` and `\` in it, and splits at spaces; paths with those are refused before.
        text.replace(&format!("ExecStart={PACKAGED} "), &format!("ExecStart={executable} "))
    }
}

/// Of a unit's text (with its drop-ins behind it): what a process needs in order to be in the same place as the service, as
/// `Key=value`, in order; and the service's command line.
pub struct Sandbox {
    pub properties: Vec<String>,
    pub command: Vec<String>,
}

/// How the service is started, watched and ended is its own affair; and its folder in /run, which holds the control socket,
/// must not go away with another process.
const NOT_OURS: [&str; 19] = [
    "BusName",
    "Exec",
    "FileDescriptorStore",
    "FinalKillSignal",
    "GuessMainPID",
    "Kill",
    "NotifyAccess",
    "OOMPolicy",
    "PIDFile",
    "Reload",
    "RemainAfterExit",
    "RemoveIPC",
    "Restart",
    "RuntimeDirectory",
    "RuntimeMaxSec",
    "Standard",
    "Timeout",
    "Type",
    "Watchdog",
];
const NOT_OURS_EITHER: [&str; 4] = ["SendSIG", "Sockets", "SuccessExitStatus", "Syslog"];

impl Sandbox {
    pub fn of(text: &str, unit: &Unit) -> Sandbox {
        let mut sandbox = Sandbox { properties: Vec::new(), command: Vec::new() };
        let mut in_service = false;
        for line in logical_lines(text) {
            if line.starts_with('[') {
                in_service = line == "[Service]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| in_service) else { continue };
            let (key, value) = (key.trim(), expanded(value.trim(), unit));
            if key == "ExecStart" {
                // An empty one takes back what came before it, as everywhere in units.
                sandbox.command = value.split_whitespace().map(str::to_owned).collect();
            }
            if !NOT_OURS.iter().chain(&NOT_OURS_EITHER).any(|other| key.starts_with(other)) {
                sandbox.properties.push(format!("{key}={value}"));
            }
        }
        sandbox
    }
}

/// Without comments, and with lines that a backslash continues as one.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        goes_on = more;
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The specifiers that make sense in these settings; systemd-run takes values as they are.
fn expanded(value: &str, unit: &Unit) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('i' | 'I') => out.push_str(unit.instance().unwrap_or_default()),
            Some('n') => out.push_str(&unit.name()),
            Some('p') => out.push_str("gatepost"),
            Some('S') => out.push_str("/var/lib"),
            Some('C') => out.push_str("/var/cache"),
            Some('L') => out.push_str("/var/log"),
            Some('E') => out.push_str("/etc"),
            Some('t') => out.push_str("/run"),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> Unit {
        Unit::of(Some("acme")).unwrap()
    }

    #[test]
    fn an_instance_has_a_name_that_every_place_can_bear() {
        assert_eq!(acme().name(), "gatepost@acme.service");
        assert_eq!(acme().config(), "/etc/gatepost/acme/gatepost.toml");
        assert_eq!(Unit::of(None).unwrap().config(), "/etc/gatepost/gatepost.toml");
        for name in ["", "-a", "a b", "a/b", "..", "ä", "A", "secrets", "archive", &"x".repeat(33)] {
            assert!(Unit::of(Some(name)).is_err(), "{name}");
        }
    }

    /// All settings of the template are those of the unit; only the places differ.
    #[test]
    fn the_template_is_the_unit_with_an_instance() {
        let places = |text: &str| -> Vec<String> {
            let lines = logical_lines(text);
            let same = |line: &String| line.replace("/%i", "").replace("-%i", "").replace(", for %i", "");
            lines.iter().map(same).collect()
        };
        assert_eq!(places(TEMPLATE), places(SINGLE));
        assert_eq!(TEMPLATE.matches("%i").count(), 8, "a place that all instances would share");
    }

    #[test]
    fn an_installed_unit_names_the_program_that_installed_it() {
        for unit in [Unit::of(None).unwrap(), acme()] {
            let text = unit.text("/usr/local/bin/gatepost");
            assert_eq!(text.matches("/usr/local/bin/gatepost").count(), 1);
            assert!(!text.contains("/usr/bin/gatepost"));
            assert_eq!(unit.text(PACKAGED).matches("ExecStart=/usr/bin/gatepost --config ").count(), 1);
        }
    }

    #[test]
    fn a_check_gets_the_sandbox_and_leaves_the_service_alone() {
        let drop_in = "# /etc/systemd/system/x.conf\n[Service]\nLoadCredential=journal:/etc/%p/%i.password\n\
                       ReadWritePaths=/srv/a \\\n  /srv/b\nEnvironment=\"A=100%%\"\n[Unit]\nRequiresMountsFor=/srv\n";
        let sandbox = Sandbox::of(&format!("{TEMPLATE}\n{drop_in}"), &acme());
        let has = |property: &str| sandbox.properties.iter().any(|found| found == property);
        for property in [
            "User=gatepost",
            "ProtectSystem=strict",
            "StateDirectory=gatepost/acme",
            "CapabilityBoundingSet=",
            "SystemCallFilter=@system-service",
            "LoadCredential=journal:/etc/gatepost/acme.password",
            "ReadWritePaths=/srv/a  /srv/b",
            "Environment=\"A=100%\"",
        ] {
            assert!(has(property), "{property} is not in {:#?}", sandbox.properties);
        }
        for key in ["Type", "Exec", "Restart", "RuntimeDirectory", "Watchdog", "Timeout", "Requires", "StartLimit"] {
            assert!(!sandbox.properties.iter().any(|found| found.starts_with(key)), "{:#?}", sandbox.properties);
        }
        let command = ["/usr/bin/gatepost", "--config", "/etc/gatepost/acme/gatepost.toml", "run"];
        assert_eq!(sandbox.command, command);
    }
}
