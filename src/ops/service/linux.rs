//! gatepost as a service of systemd: the same unit as in the packages, installed by the program itself.
//!
//! What it must never do: overwrite a configuration, or take away a configuration, an archive or a secret. Everything may be
//! done twice.
//!
//! `GATEPOST_SERVICE_ROOT` names a folder that stands for `/` (for tests, and for images that are made elsewhere): files
//! are written below it, and what needs the running machine (users, owners, systemctl) is told and left out.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use super::unit::{SAMPLE, SYSUSERS, Sandbox, TMPFILES, Unit};
use super::{Args, Command};
use crate::base::fsio::Fs;
use crate::base::owner::User;
use crate::ops::exit::{Exit, Failure};
use crate::ops::output;
use crate::ops::wiring::Global;

const ROOT: &str = "GATEPOST_SERVICE_ROOT";
const USER: &str = "gatepost";
const UNITS: &str = "/etc/systemd/system";
/// Where packages put units; the second is the first on today's systems.
const PACKAGED_UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
const SYSUSERS_FILE: &str = "/etc/sysusers.d/gatepost.conf";
const TMPFILES_FILE: &str = "/etc/tmpfiles.d/gatepost.conf";

pub fn service(global: &Global, args: &Args) -> Result<Exit, Failure> {
    if global.config.is_some() || global.archive.is_some() || global.create_archive {
        return Err(Failure::usage("the service has its configuration and its archive in places of its own").hint(
            "leave --config, --archive and --create-archive out; another place belongs into a drop-in of the unit",
        ));
    }
    let host = Host { root: std::env::var_os(ROOT).map(PathBuf::from) };
    let unit = Unit::of(args.instance.as_deref())?;
    match &args.command {
        Command::Install => install(&host, &unit),
        Command::Uninstall => uninstall(&host, &unit),
        Command::Start => start(&host, &unit),
        Command::Stop => stop(&host, &unit),
        Command::Check { json } => check(&host, &unit, *json),
    }
}

fn install(host: &Host, unit: &Unit) -> Result<Exit, Failure> {
    host.needs_root("install", unit)?;
    let executable = host.executable()?;
    match host.packaged_unit(unit) {
        Some((file, text)) if text.contains(&format!("ExecStart={executable} ")) => {
            output::line(&format!("there by its package: {file}"));
        }
        Some((file, _)) => {
            return Err(Failure::usage(format!("a package has installed gatepost already: {file}")).hint(format!(
                "sudo /usr/bin/gatepost service install{}; or remove the package first (its configuration and archives \
                 stay)",
                unit.option()
            )));
        }
        None => {
            host.write(&format!("{UNITS}/{}", unit.file()), &unit.text(&executable))?;
            host.write(SYSUSERS_FILE, SYSUSERS)?;
            host.write(TMPFILES_FILE, TMPFILES)?;
        }
    }
    host.make_user()?;
    host.folder("/etc/gatepost", 0o750, Owner::RootAndService)?;
    host.folder("/var/lib/gatepost", 0o700, Owner::Service)?;
    host.folder(&unit.config_folder(), 0o750, Owner::RootAndService)?;
    host.folder(&unit.state_folder(), 0o700, Owner::Service)?;
    host.folder(&format!("{}/secrets", unit.config_folder()), 0o700, Owner::Service)?;
    host.sample(unit)?;
    host.let_it_read_the_configuration(unit)?;
    host.systemctl(&["daemon-reload"])?;
    host.systemctl(&["enable", &unit.name()])?;
    next(host, unit);
    Ok(Exit::Ok)
}

fn next(host: &Host, unit: &Unit) {
    let (config, option) = (unit.config(), unit.option());
    output::line("");
    output::line(&format!("{} starts with the machine. Next:", unit.name()));
    if !host.at(&config).exists() {
        output::line(&format!(
            "    gatepost --config {config} init       writes the configuration; or take {config}.example"
        ));
        let archive = format!("{}/archive", unit.state_folder());
        output::line(&format!(
            "    The archive belongs into {archive}; another place needs ReadWritePaths= (see the unit)."
        ));
    }
    output::line(&format!("    gatepost service check{option}      looks at everything as the service will see it"));
    output::line(&format!("    gatepost service start{option}"));
}

fn uninstall(host: &Host, unit: &Unit) -> Result<Exit, Failure> {
    host.needs_root("uninstall", unit)?;
    let is_packaged = host.packaged_unit(unit).is_some();
    if host.at(&format!("{UNITS}/{}", unit.file())).exists() || is_packaged {
        host.systemctl(&["disable", "--now", &unit.name()])?;
    } else {
        output::line(&format!("{} is not installed", unit.name()));
    }
    let others = host.others(unit);
    if is_packaged {
        output::line("the unit and the program belong to a package: apt remove gatepost (or dnf) takes them away");
    } else {
        if unit.instance().is_some() && !others.is_empty() {
            output::line(&format!("kept: {UNITS}/{}, which runs {}", unit.file(), others.join(", ")));
        } else {
            host.remove(&format!("{UNITS}/{}", unit.file()))?;
        }
        if others.is_empty() {
            host.remove(SYSUSERS_FILE)?;
            host.remove(TMPFILES_FILE)?;
        }
    }
    host.systemctl(&["daemon-reload"])?;
    let (config, state) = (unit.config_folder(), unit.state_folder());
    output::line(&format!("kept: {config} (configuration and secrets), {state} (archive), the user {USER}"));
    Ok(Exit::Ok)
}

fn start(host: &Host, unit: &Unit) -> Result<Exit, Failure> {
    host.needs_root("start", unit)?;
    host.needs_systemd(unit, "run")?;
    host.needs_unit(unit)?;
    let config = unit.config();
    if !host.at(&config).exists() {
        return Err(Failure::usage(format!("there is no configuration: {config} is missing"))
            .hint(format!("sudo gatepost --config {config} init")));
    }
    host.let_it_read_the_configuration(unit)?;
    // Returns when the agent said that it is ready.
    host.systemctl(&["start", &unit.name()]).map_err(|failure| {
        let hint = format!("journalctl -u {} -n 20; gatepost service check{}", unit.name(), unit.option());
        Failure { hint: Some(hint), ..failure }
    })?;
    output::line(&format!("{} runs", unit.name()));
    Ok(Exit::Ok)
}

fn stop(host: &Host, unit: &Unit) -> Result<Exit, Failure> {
    host.needs_root("stop", unit)?;
    host.needs_systemd(unit, "run")?;
    host.systemctl(&["stop", &unit.name()])?;
    output::line(&format!("{} has stopped; what was in flight is on the gateway or in the archive", unit.name()));
    Ok(Exit::Ok)
}

/// Another short-lived unit with the settings of the installed one, drop-ins included, runs `gatepost check`: a password, a
/// certificate or a folder that the service would not reach is found before the service needs it.
fn check(host: &Host, unit: &Unit, json: bool) -> Result<Exit, Failure> {
    host.needs_root("check", unit)?;
    host.needs_systemd(unit, "check")?;
    host.needs_unit(unit)?;
    let shown = Process::new("systemctl").args(["cat", "--no-pager", &unit.name()]).output()?;
    let sandbox = Sandbox::of(&String::from_utf8_lossy(&shown.stdout), unit);
    let Some((_, command)) = sandbox.command.split_last().filter(|(last, rest)| *last == "run" && !rest.is_empty())
    else {
        return Err(Failure::usage(format!("the ExecStart= of {} does not end with `run`", unit.name()))
            .hint(by_hand(unit, "check")));
    };
    let mut run = Process::new("systemd-run");
    run.args(["--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"]);
    run.args(sandbox.properties.iter().flat_map(|property| ["-p", property]));
    run.arg("--").args(command).arg("check");
    if json {
        run.arg("--json");
    }
    let status = run.status().map_err(|error| no_program("systemd-run", &error))?;
    let known = [Exit::Ok, Exit::Usage, Exit::Attention, Exit::Gateway, Exit::Damaged, Exit::Locked, Exit::NoSpace];
    let came_to = |code: i32| known.into_iter().find(|exit| i32::from(exit.code()) == code);
    status.code().and_then(came_to).ok_or_else(|| {
        let said = status.code().map_or_else(|| "was ended".to_owned(), |code| format!("ended with {code}"));
        Failure::usage(format!("the service's sandbox could not be made: systemd-run {said}"))
            .hint("systemd.exec(5), \"Process Exit Codes\", tells which part: 203 program, 217 user, 226 name space, 243 credentials")
    })
}

fn by_hand(unit: &Unit, command: &str) -> String {
    format!("sudo -u {USER} gatepost --config {} {command}", unit.config())
}

fn no_program(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("{name} cannot be run: {error}")).hint("it is part of systemd")
}

#[derive(Clone, Copy)]
enum Owner {
    /// root's, and readable for the service.
    RootAndService,
    Service,
}

struct Host {
    /// What stands for `/`, where that is not the machine itself.
    root: Option<PathBuf>,
}

impl Host {
    fn at(&self, path: &str) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.trim_start_matches('/')),
            None => PathBuf::from(path),
        }
    }

    fn needs_root(&self, command: &str, unit: &Unit) -> Result<(), Failure> {
        if self.root.is_some() || User::current() == Some(User::ROOT) {
            return Ok(());
        }
        // The shell's PATH is not sudo's.
        let program = std::env::current_exe()?;
        Err(Failure::usage(format!("`gatepost service {command}` is for root")).hint(format!(
            "sudo {} service {command}{}",
            program.display(),
            unit.option()
        )))
    }

    fn systemd_runs(&self) -> bool {
        self.at("/run/systemd/system").is_dir()
    }

    fn needs_systemd(&self, unit: &Unit, instead: &str) -> Result<(), Failure> {
        if self.systemd_runs() {
            return Ok(());
        }
        Err(Failure::usage("systemd is not running here (there is no /run/systemd/system)")
            .hint(format!("by hand, without the unit's sandbox and credentials: {}", by_hand(unit, instead))))
    }

    fn needs_unit(&self, unit: &Unit) -> Result<(), Failure> {
        let own = self.at(&format!("{UNITS}/{}", unit.file()));
        if own.exists() || self.packaged_unit(unit).is_some() {
            return Ok(());
        }
        Err(Failure::usage(format!("{} is not installed", unit.name()))
            .hint(format!("sudo gatepost service install{}", unit.option())))
    }

    /// The program, as the machine will see it, and where the service can reach it.
    fn executable(&self) -> Result<String, Failure> {
        let mut path = std::env::current_exe()?;
        if let Some(root) = &self.root
            && let Ok(below) = path.strip_prefix(root.canonicalize()?)
        {
            path = Path::new("/").join(below);
        }
        let Some(text) = path.to_str().filter(|text| !text.contains(['%', '\\', '"', '\'', '$', ' ', ';'])) else {
            return Err(Failure::usage(format!("a unit cannot name {}", path.display())).hint(MOVE));
        };
        // ProtectHome= and PrivateTmp= hide these, and whoever owns them could put another program there.
        if let Some(place) = ["/home", "/root", "/run", "/tmp", "/var/tmp"].iter().find(|place| path.starts_with(place))
        {
            return Err(Failure::usage(format!("the service cannot run {text}: it does not see {place}")).hint(MOVE));
        }
        let metadata = std::fs::metadata(self.at(text))?;
        if self.root.is_none() && (metadata.uid() != 0 || metadata.mode() & 0o022 != 0) {
            return Err(Failure::usage(format!("{text} can be changed by others than root")).hint(MOVE));
        }
        Ok(text.to_owned())
    }

    fn packaged_unit(&self, unit: &Unit) -> Option<(String, String)> {
        PACKAGED_UNITS.iter().find_map(|folder| {
            let file = format!("{folder}/{}", unit.file());
            std::fs::read_to_string(self.at(&file)).ok().map(|text| (file, text))
        })
    }

    /// Other services of gatepost that start with the machine.
    fn others(&self, unit: &Unit) -> Vec<String> {
        let wanted = self.at(&format!("{UNITS}/multi-user.target.wants"));
        let names = std::fs::read_dir(wanted).into_iter().flatten().flatten();
        let mut names: Vec<String> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name == "gatepost.service" || name.starts_with("gatepost@"))
            .filter(|name| *name != unit.name())
            .collect();
        names.sort();
        names
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        let place = self.at(path);
        let former = std::fs::read(&place).ok();
        if former.as_deref() == Some(text.as_bytes()) {
            output::line(&format!("unchanged: {path}"));
            return Ok(());
        }
        let fs = Fs::real();
        let folder = place.parent().unwrap_or(Path::new("/"));
        make_folders(folder).map_err(|error| cannot(path, &error))?;
        let mut said = format!("written: {path}");
        if let Some(former) = former {
            // Somebody may have changed it, although drop-ins are there for that.
            let kept = format!("{path}.before");
            fs.write_durably(&self.at(&kept), &former).map_err(|error| cannot(&kept, &error))?;
            said = format!("{said} (the former one is kept as {kept})");
        }
        fs.write_durably(&place, text.as_bytes()).map_err(|error| cannot(path, &error))?;
        set_mode(&place, 0o644).map_err(|error| cannot(path, &error))?;
        output::line(&said);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        match std::fs::remove_file(self.at(path)) {
            Ok(()) => output::line(&format!("removed: {path}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(path, &error)),
        }
        Ok(())
    }

    fn make_user(&self) -> Result<(), Failure> {
        if self.root.is_some() {
            output::line(&format!("left out, as this is not the running machine: making the user {USER}"));
            return Ok(());
        }
        if ids().is_some() {
            output::line(&format!("unchanged: the user {USER}"));
            return Ok(());
        }
        let sysusers =
            ["/usr/bin/systemd-sysusers", "/bin/systemd-sysusers"].iter().find(|path| Path::new(path).exists());
        let mut process = match sysusers {
            Some(program) => {
                let mut process = Process::new(program);
                // Of the package where there is one.
                process.arg(if Path::new(SYSUSERS_FILE).exists() { SYSUSERS_FILE } else { "gatepost.conf" });
                process
            }
            None => {
                let mut process = Process::new("useradd");
                let home = ["--home-dir", "/var/lib/gatepost", "--no-create-home"];
                process.args(["--system", "--user-group", "--shell", "/usr/sbin/nologin"]).args(home).arg(USER);
                process
            }
        };
        run(&mut process)?;
        if ids().is_none() {
            return Err(Failure::usage(format!("the user {USER} was not made"))
                .hint(format!("useradd --system --user-group --home-dir /var/lib/gatepost {USER}")));
        }
        output::line(&format!("made: the user {USER}"));
        Ok(())
    }

    /// Makes a folder, or mends its mode and owner; what is in it is left as it is.
    fn folder(&self, path: &str, mode: u32, owner: Owner) -> Result<(), Failure> {
        let place = self.at(path);
        let is_new = !place.exists();
        make_folders(&place).map_err(|error| cannot(path, &error))?;
        let mut changed = is_new;
        if std::fs::metadata(&place)?.mode() & 0o7777 != mode {
            set_mode(&place, mode).map_err(|error| cannot(path, &error))?;
            changed = true;
        }
        changed |= self.own(path, owner)?;
        let shown = match owner {
            Owner::RootAndService => format!("root:{USER}"),
            Owner::Service => format!("{USER}:{USER}"),
        };
        let did = if is_new {
            "made"
        } else if changed {
            "mended"
        } else {
            "unchanged"
        };
        output::line(&format!("{did}: {path} (mode {mode:o}, {shown})"));
        Ok(())
    }

    /// Whether the owner had to be changed.
    fn own(&self, path: &str, owner: Owner) -> Result<bool, Failure> {
        // The users of an image are not those of this machine.
        if self.root.is_some() {
            return Ok(false);
        }
        let Some((uid, gid)) = ids() else { return Ok(false) };
        let uid = match owner {
            Owner::RootAndService => 0,
            Owner::Service => uid,
        };
        let place = self.at(path);
        let metadata = std::fs::metadata(&place)?;
        if (metadata.uid(), metadata.gid()) == (uid, gid) {
            return Ok(false);
        }
        std::os::unix::fs::chown(&place, Some(uid), Some(gid)).map_err(|error| cannot(path, &error))?;
        Ok(true)
    }

    fn sample(&self, unit: &Unit) -> Result<(), Failure> {
        let path = format!("{}.example", unit.config());
        let place = self.at(&path);
        if place.exists() {
            output::line(&format!("unchanged: {path}"));
            return Ok(());
        }
        let text = SAMPLE.replace("\"/var/lib/gatepost/archive\"", &format!("\"{}/archive\"", unit.state_folder()));
        Fs::real().write_durably(&place, text.as_bytes()).map_err(|error| cannot(&path, &error))?;
        set_mode(&place, 0o644).map_err(|error| cannot(&path, &error))?;
        output::line(&format!("written: {path}"));
        Ok(())
    }

    /// `gatepost init` leaves it to its owner alone. Other files (passwords that systemd hands over as credentials) stay
    /// root's.
    fn let_it_read_the_configuration(&self, unit: &Unit) -> Result<(), Failure> {
        let path = unit.config();
        let place = self.at(&path);
        let (Ok(metadata), Some((uid, gid)), None) = (std::fs::metadata(&place), ids(), &self.root) else {
            return Ok(());
        };
        let mode = metadata.mode() & 0o7777;
        let reads = (metadata.uid() == uid && mode & 0o400 != 0)
            || (metadata.gid() == gid && mode & 0o040 != 0)
            || mode & 0o004 != 0;
        if reads {
            return Ok(());
        }
        std::os::unix::fs::chown(&place, None, Some(gid)).map_err(|error| cannot(&path, &error))?;
        set_mode(&place, mode | 0o040).map_err(|error| cannot(&path, &error))?;
        output::line(&format!("mended: {path} (readable for the group {USER})"));
        Ok(())
    }

    fn systemctl(&self, args: &[&str]) -> Result<(), Failure> {
        let shown = format!("systemctl {}", args.join(" "));
        if !self.systemd_runs() {
            output::line(&format!("left out, as systemd is not running here: {shown}"));
            return Ok(());
        }
        run(Process::new("systemctl").args(args))?;
        output::line(&format!("done: {shown}"));
        Ok(())
    }
}

const MOVE: &str =
    "sudo install -m 0755 gatepost /usr/local/bin/gatepost && sudo /usr/local/bin/gatepost service install";

fn cannot(path: &str, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::StorageFull { Exit::NoSpace } else { Exit::Usage };
    Failure { exit, ..Failure::usage(format!("{path} cannot be written: {error}")) }
}

/// Folders of the system, whatever the umask of whoever calls: others read what is in them.
fn make_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    std::fs::create_dir(path)?;
    set_mode(path, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// User and group of the service, as this machine numbers them.
fn ids() -> Option<(u32, u32)> {
    let User(uid) = User::named(USER)?;
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let gid = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(USER)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })?;
    Some((uid, gid))
}

fn run(process: &mut Process) -> Result<(), Failure> {
    let name = process.get_program().to_string_lossy().into_owned();
    // A group of its own, so that Ctrl-C does not leave half of it.
    let output = process.stdin(Stdio::null()).process_group(0).output().map_err(|error| no_program(&name, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::usage(format!("{name} failed: {}", said.trim())))
}
