//! A real Dovecot on loopback: its own ports, certificates and mail store, gone when dropped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gatepost::net::trust::Fingerprint;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

pub const PASSWORD: &str = "correct-horse";

/// Where it listens too.
pub const OTHER_ADDRESS: &str = "127.0.0.2";

/// How the server is set up; `Setup::default()` takes passwords with and without TLS.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// `ssl = required`: no login before TLS, except that Dovecot trusts a connection between one and the
    /// same address; so such a test connects to [`OTHER_ADDRESS`].
    pub tls_required: bool,
    /// `ssl = no`: neither STARTTLS nor an imaps port.
    pub without_tls: bool,
    pub expired_certificate: bool,
    /// Capabilities as the server should announce them, instead of what it can do.
    pub capabilities: Option<&'static str>,
    /// Takes XOAUTH2 and OAUTHBEARER, and asks there whether a token is good.
    pub introspection_port: Option<u16>,
    /// Takes EXTERNAL: a client certificate of its own authority, whose common name is the user.
    pub client_certificates: bool,
    /// Further lines of the server's configuration.
    pub further: &'static str,
}

pub struct Dovecot {
    child: Child,
    dir: tempfile::TempDir,
    /// Plain, and STARTTLS.
    pub imap_port: u16,
    /// TLS from the first byte. The certificate is for `localhost`.
    pub imaps_port: u16,
    /// Plain, and STLS.
    pub pop3_port: u16,
    pub pop3s_port: u16,
    pub ca_file: PathBuf,
    /// Whose the mails are, where the tests' user may give them away.
    owner: Option<u32>,
    delivered: std::sync::atomic::AtomicU64,
}

impl Dovecot {
    /// `None`: the server cannot be had here, and the test is skipped.
    pub fn start(setup: &Setup) -> Option<Dovecot> {
        // A free port may be taken by another test before the server binds it.
        let mut reason = String::new();
        for _ in 0..4 {
            match Dovecot::try_start(setup) {
                Ok(dovecot) => return Some(dovecot),
                Err(said) => reason = said,
            }
        }
        super::skip(&reason);
        None
    }

    fn try_start(setup: &Setup) -> Result<Dovecot, String> {
        let program = ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot", "/usr/bin/dovecot"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .ok_or("Dovecot is not installed (Debian: apt-get install dovecot-imapd dovecot-pop3d)")?;
        let dir = tempfile::Builder::new().prefix("gp-dovecot-").tempdir().map_err(|error| error.to_string())?;
        let is_root = output("id", &["-u"])? == "0";
        let (user, group) = match is_root {
            true => ("nobody".to_owned(), output("id", &["-gn", "nobody"])?),
            false => (output("id", &["-un"])?, output("id", &["-gn"])?),
        };
        let owner = if is_root { output("id", &["-u", "nobody"])?.parse().ok() } else { None };
        open_to_all(dir.path());
        for name in ["mail", "run", "state"] {
            fs::create_dir(dir.path().join(name)).map_err(|error| error.to_string())?;
            open_to_all(&dir.path().join(name));
        }
        let ca_file = write_certificates(dir.path(), setup.expired_certificate);
        let (imap_port, imaps_port) = (free_port(), free_port());
        let (pop3_port, pop3s_port) = (free_port(), free_port());
        let config = dir.path().join("dovecot.conf");
        let at = dir.path().display();
        let greeting = format!("Dovecot at {at}");
        let ssl = match setup {
            Setup { without_tls: true, .. } => "no",
            Setup { tls_required: true, .. } => "required",
            _ => "yes",
        };
        let (mut mechanisms, mut passdbs) = (String::new(), String::new());
        if let Some(port) = setup.introspection_port {
            let oauth2 = format!(
                "introspection_url = http://127.0.0.1:{port}/introspect\nintrospection_mode = post\n\
                 force_introspection = yes\nusername_attribute = username\nactive_attribute = active\n\
                 active_value = true\nscope = imap\n"
            );
            fs::write(dir.path().join("oauth2.conf"), oauth2).map_err(|error| error.to_string())?;
            mechanisms += " xoauth2 oauthbearer";
            passdbs += &format!(
                "passdb {{\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n args = {at}/oauth2.conf\n}}\n"
            );
        }
        if setup.client_certificates {
            mechanisms += " external";
            passdbs += &format!(
                "ssl_ca = <{at}/ca.pem\nssl_verify_client_cert = yes\nssl_require_crl = no\n\
                 auth_ssl_username_from_cert = yes\nssl_cert_username_field = commonName\n\
                 passdb {{\n driver = static\n mechanisms = external\n args = nopassword=y\n}}\n"
            );
        }
        let mut text = format!(
            "base_dir = {at}/run\nstate_dir = {at}/state\nlog_path = {at}/log\ninstance_name = gp{imap_port}\n\
             login_greeting = {greeting}\nprotocols = imap pop3\nlisten = 127.0.0.1, 127.0.0.2\nmail_location = maildir:{at}/mail/%n\nmail_fsync = never\n\
             ssl = {ssl}\nssl_cert = <{at}/server.pem\nssl_key = <{at}/server.key\n\
             disable_plaintext_auth = {}\nauth_mechanisms = plain login{mechanisms}\nmail_max_userip_connections = 100\n\
             auth_failure_delay = 0\nservice anvil {{\n unix_listener anvil-auth-penalty {{\n  mode = 0\n }}\n}}\n\
             first_valid_uid = 1\nlast_valid_uid = 0\nfirst_valid_gid = 0\n\
             {passdbs}passdb {{\n driver = static\n args = password={PASSWORD}\n}}\n\
             userdb {{\n driver = static\n args = uid={user} gid={group} home={at}/mail/%n\n}}\n\
             service imap-login {{\n inet_listener imap {{\n  port = {imap_port}\n }}\n \
             inet_listener imaps {{\n  port = {}\n  ssl = yes\n }}\n}}\n\
             service pop3-login {{\n inet_listener pop3 {{\n  port = {pop3_port}\n }}\n \
             inet_listener pop3s {{\n  port = {}\n  ssl = yes\n }}\n}}\n{}",
            if setup.tls_required { "yes" } else { "no" },
            if setup.without_tls { 0 } else { imaps_port },
            if setup.without_tls { 0 } else { pop3s_port },
            setup.further,
        );
        if !is_root {
            text += &format!(
                "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n\
                 service imap-login {{\n chroot =\n}}\nservice pop3-login {{\n chroot =\n}}\nservice anvil {{\n chroot =\n}}\n"
            );
        }
        if let Some(capabilities) = setup.capabilities {
            text += &format!("protocol imap {{\n imap_capability = {capabilities}\n}}\n");
        }
        fs::write(&config, text).map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .args(["-F", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program} does not start: {error}"))?;
        let mut dovecot = Dovecot {
            child,
            dir,
            imap_port,
            imaps_port,
            pop3_port,
            pop3s_port,
            ca_file,
            owner,
            delivered: Default::default(),
        };
        dovecot.wait_until_up(&greeting)?;
        Ok(dovecot)
    }

    fn wait_until_up(&mut self, greeting: &str) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.imap_port)) {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut line = String::new();
                if BufReader::new(stream).read_line(&mut line).is_ok() && line.contains(greeting) {
                    return Ok(());
                }
            }
            if self.child.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() > deadline {
                let mut said = String::new();
                let _ = self.child.kill();
                if let Some(mut stderr) = self.child.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                return Err(format!("Dovecot does not come up: {said}{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Of the certificate that it shows.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&fs::read(self.dir.path().join("server.der")).unwrap())
    }

    /// Where its certificates lie: `client.pem` (for `journal`), `middle.pem`, each with its key.
    pub fn certificates(&self) -> &Path {
        self.dir.path()
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A user's Maildir; every login name has one.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.dir.path().join("mail").join(user)
    }

    /// Takes a Maildir as the whole mail of a user.
    pub fn adopt(&self, user: &str, maildir: &Path) {
        fn copy(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
                let to = to.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    copy(&entry.path(), &to);
                    continue;
                }
                fs::copy(entry.path(), &to).unwrap();
                let modified = entry.metadata().unwrap().modified().unwrap();
                fs::File::options().write(true).open(&to).unwrap().set_modified(modified).unwrap();
            }
        }
        copy(maildir, &self.maildir(user));
        if let Some(owner) = self.owner {
            give_away(&self.maildir(user), owner);
        }
    }

    /// Puts mails straight into a folder (`INBOX`, `Junk`); they get their UIDs in this order.
    pub fn deliver(&self, user: &str, folder: &str, mails: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let mut at = self.maildir(user);
        if folder != "INBOX" {
            at.push(format!(".{folder}"));
        }
        for name in ["new", "cur", "tmp"] {
            fs::create_dir_all(at.join(name)).unwrap();
        }
        for mail in mails {
            let n = self.delivered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            fs::write(at.join("new").join(format!("1700000000.M{n:09}.test")), mail).unwrap();
        }
        if let Some(owner) = self.owner {
            give_away(&self.maildir(user), owner);
        }
    }

    /// Another client of the same mailbox.
    pub fn client(&self, user: &str) -> Client {
        Client::log_in(self.imap_port, user)
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // A TERM, so that the master takes its children along; a KILL would leave them.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tiny IMAP client for what other clients do.
pub struct Client {
    stream: BufReader<TcpStream>,
    tag: u32,
}

impl Client {
    pub(super) fn log_in(port: u16, user: &str) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Client { stream: BufReader::new(stream), tag: 0 };
        client.line();
        client.run(&format!("LOGIN {user} \"{PASSWORD}\""));
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the server closed the connection");
        line
    }

    fn answers(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if let Some(status) = line.strip_prefix(tag) {
                assert!(status.starts_with(" OK"), "{line}");
                return lines;
            }
            lines.push(line.trim_end().to_owned());
        }
    }

    /// Runs a command that must succeed; its untagged lines.
    pub fn run(&mut self, command: &str) -> Vec<String> {
        self.tag += 1;
        let tag = format!("c{}", self.tag);
        self.stream.get_mut().write_all(format!("{tag} {command}\r\n").as_bytes()).unwrap();
        self.answers(&tag)
    }

    /// Has the server send a whole folder over this connection, and throws it away; says how many bytes came.
    pub fn drain(&mut self, folder: &str) -> u64 {
        self.run(&format!("EXAMINE {folder}"));
        self.tag += 1;
        let end = format!("\r\nc{} OK", self.tag);
        let command = format!("c{} UID FETCH 1:* (BODY.PEEK[])\r\n", self.tag);
        self.stream.get_mut().write_all(command.as_bytes()).unwrap();
        let mut buffer = vec![0; 256 * 1024];
        let mut tail: Vec<u8> = Vec::new();
        let mut bytes = 0;
        // The answer to the command is the last line; it may come in two pieces.
        while !(tail.ends_with(b"\r\n") && tail.windows(end.len()).any(|window| window == end.as_bytes())) {
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the server closed the connection");
            bytes += read as u64;
            tail.extend_from_slice(&buffer[read.saturating_sub(200)..read]);
            tail.drain(..tail.len().saturating_sub(200));
        }
        bytes
    }

    pub fn append(&mut self, folder: &str, mail: &[u8]) {
        self.tag += 1;
        let tag = format!("c{}", self.tag);
        let command = format!("{tag} APPEND {folder} {{{}}}\r\n", mail.len());
        self.stream.get_mut().write_all(command.as_bytes()).unwrap();
        assert!(self.line().starts_with('+'));
        self.stream.get_mut().write_all(mail).unwrap();
        self.stream.get_mut().write_all(b"\r\n").unwrap();
        self.answers(&tag);
    }

    /// Every message of a folder as the server sends it, with its INTERNALDATE.
    pub fn messages(&mut self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let uids = self.uids(folder);
        let message = |uid: u32| {
            self.tag += 1;
            let tag = format!("c{}", self.tag);
            let command = format!("{tag} UID FETCH {uid} (INTERNALDATE BODY.PEEK[])\r\n");
            self.stream.get_mut().write_all(command.as_bytes()).unwrap();
            let line = self.line();
            let (_, rest) = line.split_once("INTERNALDATE \"").unwrap_or_else(|| panic!("{line}"));
            let (date, _) = rest.split_once('"').unwrap();
            let (_, length) = line.trim_end().trim_end_matches('}').rsplit_once('{').unwrap();
            let mut bytes = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut bytes).unwrap();
            let date = date.trim().to_owned();
            self.answers(&tag);
            (date, bytes)
        };
        uids.into_iter().map(message).collect()
    }

    /// The UIDs that a folder holds.
    pub fn uids(&mut self, folder: &str) -> Vec<u32> {
        self.run(&format!("SELECT {folder}"));
        let lines = self.run("UID SEARCH ALL");
        let found = lines.iter().find_map(|line| line.strip_prefix("* SEARCH")).unwrap_or_default();
        found.split_whitespace().map(|uid| uid.parse().unwrap()).collect()
    }
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Without another program: one that is just being started holds the locks of this one.
#[cfg(unix)]
fn give_away(path: &Path, owner: u32) {
    // What the server moves meanwhile is its own already.
    let _ = std::os::unix::fs::chown(path, Some(owner), None);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give_away(&entry.path(), owner);
    }
}

#[cfg(not(unix))]
fn give_away(_: &Path, _: u32) {}

#[cfg(unix)]
fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[cfg(not(unix))]
fn open_to_all(_: &Path) {}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A private authority (`ca.pem`, behind an unrelated one) and a certificate for `localhost`.
pub(super) fn write_certificates(dir: &Path, expired: bool) -> PathBuf {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::default()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params, KeyPair::generate().unwrap())
    };
    let (other, other_key) = authority("another authority");
    let (params, key) = authority("gatepost test authority");
    let pem = format!("{}\n{}", other.self_signed(&other_key).unwrap().pem(), params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let mut server = CertificateParams::new(vec!["localhost".into()]).unwrap();
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.use_authority_key_identifier_extension = true;
    if expired {
        server.not_before = date_time_ymd(2001, 1, 1);
        server.not_after = date_time_ymd(2002, 1, 1);
    }
    let server = server.signed_by(&server_key, &issuer).unwrap();
    fs::write(dir.join("server.pem"), server.pem()).unwrap();
    fs::write(dir.join("server.der"), server.der()).unwrap();
    fs::write(dir.join("server.key"), server_key.serialize_pem()).unwrap();
    for (file, name) in [("middle", "localhost"), ("client", "journal")] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        fs::write(dir.join(format!("{file}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
    let ca_file = dir.join("ca.pem");
    fs::write(&ca_file, pem).unwrap();
    ca_file
}
