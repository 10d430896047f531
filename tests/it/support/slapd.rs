//! A real OpenLDAP server on loopback, with the attributes of Active Directory: its own ports, certificates and
//! database, gone when dropped.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gatepost::net::trust::Fingerprint;

use super::dovecot::{free_port, write_certificates};

pub const SUFFIX: &str = "dc=corp,dc=example";
/// May read everything but passwords, and 500 entries at a time without pages.
pub const READER: &str = "cn=reader,dc=corp,dc=example";
pub const PASSWORD: &str = "battery-staple";

const ADMIN: &str = "cn=admin,dc=corp,dc=example";
const ADMIN_PASSWORD: &str = "write-all";

#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// No certificate: StartTLS is not offered.
    pub without_tls: bool,
}

pub struct Slapd {
    child: Option<Child>,
    dir: tempfile::TempDir,
    /// Plain, and StartTLS.
    pub ldap_port: u16,
    /// TLS from the first byte. The certificate is for `localhost`.
    pub ldaps_port: u16,
    pub ca_file: PathBuf,
}

impl Slapd {
    /// With these entries below [`SUFFIX`]. `None`: the server cannot be had here, and the test is skipped.
    pub fn start(ldif: &str) -> Option<Slapd> {
        Slapd::with(Setup::default(), ldif)
    }

    pub fn with(setup: Setup, ldif: &str) -> Option<Slapd> {
        // A free port may be taken by another test before the server binds it.
        let mut reason = String::new();
        for _ in 0..4 {
            match Slapd::try_start(setup, ldif) {
                Ok(slapd) => return Some(slapd),
                Err(said) => reason = said,
            }
        }
        super::skip(&reason);
        None
    }

    fn try_start(setup: Setup, ldif: &str) -> Result<Slapd, String> {
        let program = program("slapd").ok_or("slapd is not installed (Debian: apt-get install slapd ldap-utils)")?;
        let schema = ["/etc/ldap/schema", "/etc/openldap/schema"]
            .into_iter()
            .find(|path| Path::new(path).join("msuser.schema").exists())
            .ok_or("slapd has no msuser.schema (OpenLDAP 2.5 brings it)")?;
        if program_in_path("ldapmodify").is_none() {
            return Err("ldapmodify is not installed (Debian: apt-get install ldap-utils)".into());
        }
        let dir = tempfile::Builder::new().prefix("gp-slapd-").tempdir().map_err(|error| error.to_string())?;
        fs::create_dir(dir.path().join("db")).map_err(|error| error.to_string())?;
        let ca_file = write_certificates(dir.path(), false);
        let at = dir.path().display();
        let mut config = String::new();
        for name in ["core", "cosine", "inetorgperson", "nis", "msuser"] {
            config += &format!("include {schema}/{name}.schema\n");
        }
        // What Exchange adds to Active Directory's classes.
        config += "objectclass ( 1.3.6.1.4.1.4203.666.11.99.1 NAME 'gpRecipient' SUP top AUXILIARY\n \
                   MAY ( legacyExchangeDN $ proxyAddresses $ userAccountControl $ objectGUID ) )\n";
        if let Some(modules) = ["/usr/lib/ldap", "/usr/lib64/openldap", "/usr/libexec/openldap"]
            .into_iter()
            .find(|path| Path::new(path).join("back_mdb.la").exists())
        {
            config += &format!("modulepath {modules}\nmoduleload back_mdb\n");
        }
        if !setup.without_tls {
            config += &format!("TLSCertificateFile {at}/server.pem\nTLSCertificateKeyFile {at}/server.key\n");
        }
        config += &format!(
            "pidfile {at}/pid\nargsfile {at}/args\nsizelimit size.soft=500 size.hard=500 size.prtotal=unlimited\n\
             database mdb\nsuffix {SUFFIX:?}\nrootdn {ADMIN:?}\nrootpw {ADMIN_PASSWORD}\ndirectory {at}/db\n\
             maxsize 1073741824\ndbnosync\nindex objectClass eq\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by users read by * none\n"
        );
        fs::write(dir.path().join("slapd.conf"), config).map_err(|error| error.to_string())?;
        let base = format!(
            "dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: corp\ndc: corp\n\n\
             dn: {READER}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: reader\n\
             userPassword: {PASSWORD}\n\n"
        );
        let mut slapd = Slapd { child: None, dir, ldap_port: free_port(), ldaps_port: free_port(), ca_file };
        let slapadd = program_in_path("slapadd").ok_or("slapadd is not installed")?;
        let config = slapd.dir.path().join("slapd.conf");
        fed(Command::new(slapadd).args(["-q", "-f"]).arg(config), &format!("{base}{ldif}"))?;
        slapd.run(&program, setup)?;
        Ok(slapd)
    }

    fn run(&mut self, program: &Path, setup: Setup) -> Result<(), String> {
        let mut urls = format!("ldap://127.0.0.1:{}/", self.ldap_port);
        if !setup.without_tls {
            urls += &format!(" ldaps://127.0.0.1:{}/", self.ldaps_port);
        }
        let mut child = Command::new(program)
            // A level, even none, keeps it in the foreground.
            .args(["-d", "0", "-h", &urls, "-f"])
            .arg(self.dir.path().join("slapd.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", program.display()))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.ldap_port)).is_err() {
            if child.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() > deadline {
                let mut said = String::new();
                let _ = child.kill();
                if let Some(mut stderr) = child.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                return Err(format!("slapd does not come up: {said}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
        Ok(())
    }

    /// The server goes down; its data stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Comes up again after [`Slapd::stop`], on the same ports.
    pub fn start_again(&mut self) {
        let program = program("slapd").unwrap();
        self.run(&program, Setup::default()).unwrap();
    }

    /// Of the certificate that it shows.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&fs::read(self.dir.path().join("server.der")).unwrap())
    }

    /// Where its certificates lie: `middle.pem` and its key among them.
    pub fn certificates(&self) -> &Path {
        self.dir.path()
    }

    /// Changes entries: LDIF with `changetype:` lines.
    pub fn modify(&self, ldif: &str) {
        let url = format!("ldap://127.0.0.1:{}", self.ldap_port);
        let mut command = Command::new(program_in_path("ldapmodify").unwrap());
        fed(command.args(["-x", "-H", &url, "-D", ADMIN, "-w", ADMIN_PASSWORD]), ldif).unwrap();
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Between client and server: passes on so many bytes of what the server says, then is gone.
pub struct Cutter {
    pub port: u16,
    bytes: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Cutter {
    pub fn before(server: u16) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (bytes, passed) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        let (limit, count) = (bytes.clone(), passed.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut from, mut to) = (server, client);
                let (limit, count) = (limit.clone(), count.clone());
                std::thread::spawn(move || {
                    let mut left = limit.load(Relaxed);
                    let mut buffer = [0; 4096];
                    while left > 0 {
                        let Ok(read @ 1..) = from.read(&mut buffer) else { break };
                        let pass = left.min(read as u64);
                        if to.write_all(&buffer[..pass as usize]).is_err() {
                            break;
                        }
                        left -= pass;
                        count.fetch_add(pass, Relaxed);
                    }
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                });
            }
        });
        Cutter { port, bytes, passed }
    }

    /// Of each connection that begins now.
    pub fn cut_after(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// Bytes that the server has said so far.
    pub fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }
}

/// A person as Active Directory has one. `lines` are further attributes.
pub fn user(name: &str, guid: &str, lines: &[&str]) -> String {
    let bytes = uuid_bytes(guid);
    let guid = base64(&bytes);
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!(
        "dn: cn={name},{SUFFIX}\nobjectClass: user\nobjectClass: gpRecipient\ncn: {name}\nsn: {name}\n\
         instanceType: 4\nnTSecurityDescriptor: x\nobjectCategory: cn=person,{SUFFIX}\nobjectGUID:: {guid}\n{lines}\n"
    )
}

/// A person as OpenLDAP has one; the server gives it an entryUUID.
pub fn account(uid: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("dn: uid={uid},{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n{lines}\n")
}

pub fn group(name: &str, members: &[&str]) -> String {
    let members: String = members.iter().map(|member| format!("member: cn={member},{SUFFIX}\n")).collect();
    format!("dn: cn={name},{SUFFIX}\nobjectClass: groupOfNames\ncn: {name}\n{members}\n")
}

/// The bytes of a GUID as Windows stores it.
fn uuid_bytes(text: &str) -> [u8; 16] {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(byte)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn fed(command: &mut Command, input: &str) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => written.map_err(|error| error.to_string()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn program(name: &str) -> Option<PathBuf> {
    program_in_path(name).or_else(|| {
        let libexec = Path::new("/usr/libexec").join(name);
        libexec.exists().then_some(libexec)
    })
}

fn program_in_path(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}
