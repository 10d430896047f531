//! An EWS server on loopback: it refuses what the schema refuses, and does what servers are known to do.

mod schema;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost::net::trust::Fingerprint;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sspi::{
    AuthIdentity, BufferType, CredentialUse, DataRepresentation, Ntlm, SecurityBuffer, ServerRequestFlags, Sspi as _,
    SspiImpl as _, Username,
};

use super::dovecot::PASSWORD;
use schema::Element;

pub const USER: &str = "journal@corp.example";
const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub operation: String,
    pub ids: Vec<String>,
    /// How often this operation was called before.
    pub before: usize,
    pub version: String,
    pub body: String,
    pub impersonated: Option<String>,
    pub anchor: Option<String>,
    pub state: Option<String>,
}

/// What a test makes of a call, in place of the answer.
pub enum Reply {
    /// Status, further header lines, body.
    Http(u16, String, String),
    Fault {
        status: u16,
        code: String,
        text: String,
        back_off_ms: Option<u64>,
    },
    /// The answer, with these codes in the place of some items.
    Codes(HashMap<String, String>),
    /// The answer, changed.
    Changed(Box<dyn Fn(String) -> String + Send>),
    /// No more than so many bytes of the answer; then the connection ends.
    Cut(usize),
}

type Hook = Box<dyn FnMut(&Call, &mut Store) -> Option<Reply> + Send>;

#[derive(Clone, Debug)]
pub struct Stored {
    pub id: String,
    pub mime: Vec<u8>,
    pub size: u64,
    pub date: String,
    /// The folder that it lies in.
    pub folder: String,
    pub transport_headers: Option<String>,
}

#[derive(Default)]
pub struct Store {
    pub items: Vec<Stored>,
    /// Id, name, id of the folder above, class.
    pub folders: Vec<(String, String, String, String)>,
    pub deleted: Vec<(String, String)>,
    /// The id of the folder that is known as `inbox`.
    inbox: String,
    next: u64,
    calls: HashMap<String, usize>,
    pub log: Vec<Call>,
    hook: Option<Hook>,
    pub page_max: usize,
    /// More items in one GetItem are "busy".
    pub get_max: usize,
    /// Says that every page is the last.
    pub says_last: bool,
    /// A mail that was deleted softly is not listed, and yet given by its id.
    pub gives_deleted: bool,
    hidden: Vec<Stored>,
    /// Puts each mail together with another boundary each time, as it is its own (marked by this text in it).
    pub varies: Option<&'static str>,
    given: u64,
    pub refused_requests: Vec<String>,
    pub logins: u64,
    /// EffectiveRights of every folder.
    pub may_not_delete: bool,
    /// Taken where the server wants bearer tokens.
    pub tokens: HashSet<String>,
    /// All that were shown.
    pub shown_tokens: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    pub tls: bool,
    pub ntlm: bool,
    pub bearer: bool,
    /// Knows another certificate than it shows, as a machine in the middle would.
    pub wrong_binding: bool,
    pub closes: Closes,
    /// Says "100 Continue" before each answer, which nobody asked for.
    pub continues: bool,
}

/// What a server does to a connection after an answer (after a challenge of NTLM it stays).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closes {
    #[default]
    Never,
    /// With `Connection: close`.
    Announced,
    /// Without a word, when the next request is on its way.
    Silently,
}

pub struct Ews {
    pub port: u16,
    pub url: String,
    pub ca_file: Option<PathBuf>,
    certificate: Vec<u8>,
    store: Arc<Mutex<Store>>,
    dir: tempfile::TempDir,
}

struct Server {
    store: Arc<Mutex<Store>>,
    acceptor: Option<native_tls::TlsAcceptor>,
    setup: Setup,
    certificate: Vec<u8>,
}

impl Ews {
    pub fn start(setup: Setup) -> Ews {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut acceptor, mut certificate, mut ca_file) = (None, Vec::new(), None);
        if setup.tls {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
            let ca = params.self_signed(&key).unwrap();
            let issuer = Issuer::new(params, key);
            let leaf_key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
            let path = dir.path().join("ca.pem");
            std::fs::write(&path, ca.pem()).unwrap();
            ca_file = Some(path);
            certificate = leaf.der().to_vec();
            let middle_key = KeyPair::generate().unwrap();
            let middle = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let middle = middle.signed_by(&middle_key, &issuer).unwrap();
            std::fs::write(dir.path().join("middle.pem"), middle.pem()).unwrap();
            std::fs::write(dir.path().join("middle.key"), middle_key.serialize_pem()).unwrap();
            let identity =
                native_tls::Identity::from_pkcs8(leaf.pem().as_bytes(), leaf_key.serialize_pem().as_bytes()).unwrap();
            acceptor = Some(native_tls::TlsAcceptor::new(identity).unwrap());
        }
        let folders = [
            ("root", "Top of Information Store", "", ""),
            ("inbox-1", "Inbox", "root", "IPF.Note"),
            ("reports-1", "Reports", "inbox-1", "IPF.Note"),
            ("journal-1", "Journal", "root", "IPF.Journal"),
            ("deleted-1", "Deleted Items", "root", "IPF.Note"),
            ("junk-1", "Junk Email", "root", "IPF.Note"),
        ];
        let folders = folders.map(|(id, name, above, class)| (id.into(), name.into(), above.into(), class.into()));
        let store = Store {
            folders: folders.to_vec(),
            inbox: "inbox-1".into(),
            page_max: 512,
            get_max: usize::MAX,
            ..Store::default()
        };
        let store = Arc::new(Mutex::new(store));
        let server = Server { store: store.clone(), acceptor, setup, certificate: certificate.clone() };
        let server = Arc::new(server);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(client));
            }
        });
        let scheme = if setup.tls { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{port}/EWS/Exchange.asmx");
        Ews { port, url, ca_file, certificate, store, dir }
    }

    pub fn plain() -> Ews {
        Ews::start(Setup::default())
    }

    /// Of the certificate that it shows.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Where `middle.pem` and its key lie.
    pub fn certificates(&self) -> &Path {
        self.dir.path()
    }

    pub fn deliver(&self, mails: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        self.with(|store| {
            let inbox = store.inbox.clone();
            mails.into_iter().for_each(|mail| store.deliver(&inbox, mail.as_ref().to_vec()));
        });
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        act(&mut self.store.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub fn hook(&self, hook: impl FnMut(&Call, &mut Store) -> Option<Reply> + Send + 'static) {
        self.with(|store| store.hook = Some(Box::new(hook)));
    }

    pub fn left(&self) -> usize {
        self.with(|store| store.items.iter().filter(|item| item.folder != "deleted-1").count())
    }

    pub fn calls(&self, operation: &str) -> usize {
        self.with(|store| store.calls.get(operation).copied().unwrap_or(0))
    }

    /// Every request that came was one that the schema allows.
    pub fn assert_strict(&self) {
        self.with(|store| assert!(store.refused_requests.is_empty(), "{:#?}", store.refused_requests));
    }
}

impl Store {
    pub fn deliver(&mut self, folder: &str, mime: Vec<u8>) {
        self.next += 1;
        // Ids differ in case only, now and then.
        let mark = if self.next.is_multiple_of(2) { "aa" } else { "aA" };
        let id = format!("{}{:08x}+/{mark}=", "AAMkAGQ5", self.next / 2);
        let date = format!("2026-03-{:02}T10:00:{:02}Z", self.next % 28 + 1, self.next % 60);
        let size = mime.len() as u64 + 300;
        self.items.push(Stored { id, mime, size, date, folder: folder.into(), transport_headers: None });
    }

    /// The inbox goes, and comes again with the same mails: all ids are other ones.
    pub fn make_inbox_anew(&mut self) {
        let (old, new) = (self.inbox.clone(), format!("{}+", self.inbox));
        let folder = self.folders.iter_mut().find(|folder| folder.0 == old).unwrap();
        folder.0 = new.clone();
        self.inbox = new.clone();
        let (mails, others) = std::mem::take(&mut self.items).into_iter().partition(|item| item.folder == old);
        self.items = others;
        let mails: Vec<Stored> = mails;
        for mail in mails {
            self.deliver(&new, mail.mime);
        }
    }

    pub fn back_up(&self) -> (Vec<Stored>, u64) {
        (self.items.clone(), self.next)
    }

    /// Ids that were given since then are given again.
    pub fn restore(&mut self, (items, next): (Vec<Stored>, u64)) {
        (self.items, self.next) = (items, next);
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.items.iter().position(|item| item.id == id && item.folder != "deleted-1")
    }
}

impl Server {
    fn serve(&self, client: TcpStream) {
        match &self.acceptor {
            Some(acceptor) => {
                if let Ok(stream) = acceptor.accept(client) {
                    self.talk(stream);
                }
            }
            None => self.talk(client),
        }
    }

    fn talk(&self, stream: impl Talk) {
        let mut stream = BufReader::new(stream);
        let mut login = Login::default();
        let mut answered = 0;
        while let Some(request) = read_request(&mut stream) {
            let is_done = !self.setup.ntlm || login.is_done;
            if self.setup.closes == Closes::Silently && answered > 0 && is_done {
                break;
            }
            let mut reply = self.answer(&request, &mut login);
            answered += u32::from(!self.setup.ntlm || login.is_done);
            if self.setup.closes == Closes::Announced && (!self.setup.ntlm || login.is_done) {
                reply.close();
            }
            let out = stream.get_mut();
            if self.setup.continues && out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
                break;
            }
            if out.write_all(&reply.bytes).is_err() || out.flush().is_err() || reply.is_end {
                break;
            }
        }
        stream.get_mut().end();
    }

    fn answer(&self, request: &HttpRequest, login: &mut Login) -> Sent {
        if !request.is_bounded {
            return Sent::http(411, "", "a request without Content-Length");
        }
        if let Some(refusal) = self.log_in(request, login) {
            return refusal;
        }
        let mut store = self.store.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let root = match schema::parse(&request.body).and_then(|root| schema::validate(&root).map(|()| root)) {
            Ok(root) => root,
            Err(why) => {
                store.refused_requests.push(format!("{why}: {}", request.body));
                return Sent::fault(500, "ErrorSchemaValidation", &why, None);
            }
        };
        let mut call = call(&root, request);
        call.before = *store.calls.entry(call.operation.clone()).and_modify(|count| *count += 1).or_insert(1) - 1;
        store.log.push(call.clone());
        let mut hook = store.hook.take();
        let reply = hook.as_mut().and_then(|hook| hook(&call, &mut store));
        store.hook = store.hook.take().or(hook);
        let mut codes = HashMap::new();
        let mut change: Box<dyn Fn(String) -> String + Send> = Box::new(|text| text);
        let mut cut = None;
        match reply {
            Some(Reply::Http(status, headers, body)) => return Sent::http(status, &headers, &body),
            Some(Reply::Fault { status, code, text, back_off_ms }) => {
                return Sent::fault(status, &code, &text, back_off_ms);
            }
            Some(Reply::Codes(given)) => codes = given,
            Some(Reply::Changed(by)) => change = by,
            Some(Reply::Cut(bytes)) => cut = Some(bytes),
            None => {}
        }
        let body = change(operate(&mut store, &root, &call, &codes));
        drop(store);
        let mut sent = Sent::xml(200, &body, call.before % 2 == 1);
        if let Some(bytes) = cut {
            sent.bytes.truncate(bytes);
            sent.is_end = true;
        }
        sent
    }

    fn log_in(&self, request: &HttpRequest, login: &mut Login) -> Option<Sent> {
        let given = request.header("authorization");
        if self.setup.bearer {
            let mut store = self.store.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let token = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
            store.shown_tokens.push(token.clone());
            let line = "WWW-Authenticate: Bearer client_id=\"x\", error=\"invalid_token\"\r\n";
            return (!store.tokens.contains(&token)).then(|| Sent::http(401, line, ""));
        }
        if !self.setup.ntlm {
            let wanted = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
            return match given {
                Some(given) if given == wanted => None,
                _ => Some(Sent::http(401, "WWW-Authenticate: Basic realm=\"mail\"\r\n", "")),
            };
        }
        let Some(given) = given else {
            return if login.is_done { None } else { Some(Sent::http(401, "WWW-Authenticate: NTLM\r\n", "")) };
        };
        let token = given.strip_prefix("NTLM ").and_then(|token| STANDARD.decode(token).ok()).unwrap_or_default();
        match login.step(token, self) {
            Some(Ok(challenge)) => {
                let line = format!("WWW-Authenticate: NTLM {}\r\n", STANDARD.encode(challenge));
                // A page that must be read before the connection is used again.
                Some(Sent::http(401, &line, "<html><title>Unauthorized</title></html>"))
            }
            Some(Err(())) => Some(Sent::http(401, "WWW-Authenticate: NTLM\r\n", "")),
            None => {
                self.store.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).logins += 1;
                None
            }
        }
    }
}

/// Of a connection, as NTLM has it.
#[derive(Default)]
struct Login {
    context: Option<Ntlm>,
    is_done: bool,
}

impl Login {
    /// A challenge, a refusal, or that the login is accepted.
    fn step(&mut self, token: Vec<u8>, server: &Server) -> Option<Result<Vec<u8>, ()>> {
        let at: Vec<u8> = "journal@".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let name = if memchr::memmem::find(&token, &at).is_some() { USER } else { "CORP\\journal" };
        let identity = AuthIdentity { username: Username::parse(name).unwrap(), password: PASSWORD.to_owned().into() };
        let is_first = token.get(8) == Some(&1);
        if is_first || self.context.is_none() {
            let mut ntlm = Ntlm::new();
            let mut certificate = server.certificate.clone();
            if server.setup.wrong_binding {
                certificate.push(0);
            }
            if server.setup.tls {
                use sha2::Digest as _;
                let mut binding = b"tls-server-end-point:".to_vec();
                binding.extend_from_slice(&sha2::Sha256::digest(&certificate));
                ntlm.set_channel_bindings(&binding);
            }
            self.context = Some(ntlm);
            self.is_done = false;
        }
        let ntlm = self.context.as_mut().unwrap();
        let mut credentials = ntlm
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Inbound)
            .with_auth_data(&identity)
            .execute(ntlm)
            .unwrap()
            .credentials_handle;
        let mut input = vec![SecurityBuffer::new(token, BufferType::Token)];
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let builder = ntlm
            .accept_security_context()
            .with_credentials_handle(&mut credentials)
            .with_context_requirements(ServerRequestFlags::ALLOCATE_MEMORY)
            .with_target_data_representation(DataRepresentation::Native)
            .with_input(&mut input)
            .with_output(&mut output);
        let result = match ntlm.accept_security_context_impl(builder) {
            Ok(mut generator) => generator.resolve_to_result(),
            Err(error) => Err(error),
        };
        let done =
            result.and_then(|_| if is_first { Ok(()) } else { ntlm.complete_auth_token(&mut output).map(|_| ()) });
        match done {
            Ok(()) if is_first => Some(Ok(output.remove(0).buffer)),
            Ok(()) => {
                self.is_done = true;
                None
            }
            Err(_) => {
                self.context = None;
                Some(Err(()))
            }
        }
    }
}

fn call(root: &Element, request: &HttpRequest) -> Call {
    let operation = &root.child("Body").unwrap().children[0];
    let ids =
        operation.child("ItemIds").map(|ids| ids.children.iter().map(|id| id.attribute("Id").to_owned()).collect());
    let header = root.child("Header").unwrap();
    let impersonated = header.child("ExchangeImpersonation");
    Call {
        operation: operation.name.clone(),
        ids: ids.unwrap_or_default(),
        before: 0,
        version: header.child("RequestServerVersion").unwrap().attribute("Version").to_owned(),
        body: request.body.clone(),
        impersonated: impersonated.map(|as_whom| as_whom.children[0].children[0].text.clone()),
        anchor: request.header("x-anchormailbox").map(str::to_owned),
        state: operation.child("SyncState").map(|state| state.text.clone()),
    }
}

/// The folder that a reference leads to.
fn folder_of(store: &Store, reference: &Element) -> Option<String> {
    let id = reference.attribute("Id");
    match reference.name.as_str() {
        "FolderId" => store.folders.iter().any(|folder| folder.0 == id).then(|| id.to_owned()),
        _ => match id {
            "inbox" => Some(store.inbox.clone()),
            "msgfolderroot" => Some("root".into()),
            "junkemail" => Some("junk-1".into()),
            "deleteditems" => Some("deleted-1".into()),
            _ => None,
        },
    }
}

fn operate(store: &mut Store, root: &Element, call: &Call, codes: &HashMap<String, String>) -> String {
    let operation = &root.child("Body").unwrap().children[0];
    let name = &operation.name;
    let mut messages = String::new();
    let mut message = |code: &str, inner: &str| {
        let class = match code {
            "NoError" => "Success",
            "ErrorBatchProcessingStopped" => "Warning",
            _ => "Error",
        };
        let text =
            if code == "NoError" { String::new() } else { "<m:MessageText>It was refused.</m:MessageText>".into() };
        write!(
            messages,
            "<m:{name}ResponseMessage ResponseClass=\"{class}\">{text}<m:ResponseCode>{code}</m:ResponseCode>{inner}\
             </m:{name}ResponseMessage>"
        )
        .unwrap();
    };
    match name.as_str() {
        "GetFolder" => match folder_of(store, &operation.child("FolderIds").unwrap().children[0]) {
            Some(id) => {
                let asked = call.body.contains("folder:EffectiveRights");
                let counted = if asked { counted_xml(store, &id) } else { String::new() };
                let folder = folder_xml(store, &id).replace("</t:Folder>", &format!("{counted}</t:Folder>"));
                message("NoError", &format!("<m:Folders>{folder}</m:Folders>"));
            }
            None => message("ErrorFolderNotFound", "<m:Folders/>"),
        },
        "FindFolder" => {
            let parent = folder_of(store, &operation.child("ParentFolderIds").unwrap().children[0]);
            let view = operation.child("IndexedPageFolderView").unwrap();
            let offset: usize = view.attribute("Offset").parse().unwrap();
            let below: Vec<String> = store
                .folders
                .iter()
                .filter(|folder| Some(&folder.2) == parent.as_ref())
                .map(|folder| folder.0.clone())
                .collect();
            // One folder a page.
            let page: String = below.iter().skip(offset).take(1).map(|id| folder_xml(store, id)).collect();
            let next = offset + 1;
            message(
                "NoError",
                &format!(
                    "<m:RootFolder IndexedPagingOffset=\"{next}\" IncludesLastItemInRange=\"{}\" TotalItemsInView=\"{}\">\
                     <t:Folders>{page}</t:Folders></m:RootFolder>",
                    next >= below.len(),
                    below.len()
                ),
            );
        }
        "SyncFolderItems" => {
            let folder = folder_of(store, &operation.child("SyncFolderId").unwrap().children[0]);
            let after: u64 =
                call.state.as_deref().map_or(0, |state| state.trim_start_matches("STATE").parse().unwrap());
            let asked: usize = operation.child("MaxChangesReturned").unwrap().text.parse().unwrap();
            let number = |item: &Stored| {
                let low = if item.id.contains("aA") { 1 } else { 0 };
                u64::from_str_radix(&item.id[8..16], 16).unwrap() * 2 + low
            };
            // Id numbers begin at 1, and the odd one of a pair is the lower.
            let mut there: Vec<(u64, &Stored)> = store
                .items
                .iter()
                .filter(|item| Some(&item.folder) == folder.as_ref())
                .map(|item| (number(item), item))
                .collect();
            there.sort_by_key(|(number, _)| *number);
            let page: Vec<_> =
                there.iter().filter(|(number, _)| *number > after).take(asked.min(store.page_max)).collect();
            let state = page.last().map_or(after, |(number, _)| *number);
            let last = there.last().is_none_or(|(number, _)| *number <= state) || store.says_last;
            let mut changes = String::new();
            for (at, (_, item)) in page.iter().enumerate() {
                let kind = ["Message", "MeetingRequest", "Item", "CalendarItem"][at % 4];
                let change = if at % 5 == 4 { "Update" } else { "Create" };
                write!(
                    changes,
                    "<t:{change}><t:{kind}><t:ItemId Id=\"{}\" ChangeKey=\"CQAAABYA\"/><t:DateTimeReceived>2001-01-01T00:00:00Z\
                     </t:DateTimeReceived></t:{kind}></t:{change}>",
                    item.id
                )
                .unwrap();
            }
            match folder {
                Some(_) => message(
                    "NoError",
                    &format!(
                        "<m:SyncState>STATE{state}</m:SyncState><m:IncludesLastItemInRange>{last}\
                         </m:IncludesLastItemInRange><m:Changes>{changes}</m:Changes>"
                    ),
                ),
                None => message("ErrorFolderNotFound", "<m:Changes/>"),
            }
        }
        "GetItem" => {
            let shape = operation.child("ItemShape").unwrap();
            let with_mime = shape.child("IncludeMimeContent").is_some_and(|with| with.text == "true");
            for (at, id) in call.ids.iter().enumerate() {
                let hidden = store.hidden.iter().find(|item| item.id == *id && store.gives_deleted);
                let item = store.position(id).map(|at| &store.items[at]).or(hidden);
                match (codes.get(id), item) {
                    (Some(code), _) => message(code, "<m:Items/>"),
                    (None, None) => message("ErrorItemNotFound", "<m:Items/>"),
                    (None, Some(_)) if with_mime && at >= store.get_max => message("ErrorServerBusy", "<m:Items/>"),
                    (None, Some(item)) => message(
                        "NoError",
                        &format!(
                            "<m:Items>{}</m:Items>",
                            item_xml(item, with_mime, store.varies, store.given + at as u64)
                        ),
                    ),
                }
            }
            store.given += call.ids.len() as u64;
        }
        "DeleteItem" => {
            for id in &call.ids {
                match (codes.get(id), store.position(id)) {
                    (Some(code), _) => message(code, ""),
                    (None, None) => message("ErrorItemNotFound", ""),
                    (None, Some(at)) => {
                        let how = operation.attribute("DeleteType").to_owned();
                        store.deleted.push((id.clone(), how.clone()));
                        match how.as_str() {
                            "MoveToDeletedItems" => {
                                let mut item = store.items.remove(at);
                                item.folder = "deleted-1".into();
                                store.items.push(item);
                            }
                            "SoftDelete" => {
                                let item = store.items.remove(at);
                                store.hidden.push(item);
                            }
                            _ => _ = store.items.remove(at),
                        }
                        message("NoError", "");
                    }
                }
            }
        }
        other => unreachable!("{other} passed the schema"),
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <s:Header><h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"2\" MajorBuildNumber=\"1544\" \
         MinorBuildNumber=\"9\" xmlns:h=\"{TYPES}\"/></s:Header><s:Body><m:{name}Response xmlns:m=\"{MESSAGES}\" \
         xmlns:t=\"{TYPES}\"><m:ResponseMessages>{messages}</m:ResponseMessages></m:{name}Response></s:Body></s:Envelope>"
    )
}

fn folder_xml(store: &Store, id: &str) -> String {
    let folder = store.folders.iter().find(|folder| folder.0 == id).unwrap();
    let class =
        if folder.3.is_empty() { String::new() } else { format!("<t:FolderClass>{}</t:FolderClass>", folder.3) };
    format!(
        "<t:Folder><t:FolderId Id=\"{}\" ChangeKey=\"AQAAAA==\"/>{class}<t:DisplayName>{}</t:DisplayName></t:Folder>",
        folder.0, folder.1
    )
}

/// In the order of the schema's FolderType.
fn counted_xml(store: &Store, id: &str) -> String {
    let items = store.items.iter().filter(|item| item.folder == id).count();
    let rights = ["CreateAssociated", "CreateContents", "CreateHierarchy", "Delete", "Modify", "Read"].map(|right| {
        let may = right != "Delete" || !store.may_not_delete;
        format!("<t:{right}>{may}</t:{right}>")
    });
    format!("<t:TotalCount>{items}</t:TotalCount><t:EffectiveRights>{}</t:EffectiveRights>", rights.concat())
}

fn item_xml(item: &Stored, with_mime: bool, varies: Option<&str>, given: u64) -> String {
    let mut mail = item.mime.clone();
    if let Some(mark) = varies {
        mail = String::from_utf8(mail).unwrap().replace(mark, &format!("{mark}_{given:04}")).into_bytes();
    }
    let mime = if with_mime {
        format!("<t:MimeContent CharacterSet=\"UTF-8\">{}</t:MimeContent>", STANDARD.encode(mail))
    } else {
        String::new()
    };
    let headers = match &item.transport_headers {
        Some(headers) if with_mime => format!(
            "<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag=\"0x7d\" PropertyType=\"String\"/><t:Value>{}\
             </t:Value></t:ExtendedProperty>",
            quick_xml::escape::escape(headers)
        ),
        _ => String::new(),
    };
    // Some items were never received.
    let date = match item.date.as_str() {
        "" => String::new(),
        date => format!("<t:DateTimeReceived>{date}</t:DateTimeReceived>"),
    };
    format!(
        "<t:Message>{mime}<t:ItemId Id=\"{}\" ChangeKey=\"CQAAABYA\"/>{date}<t:Size>{}</t:Size>{headers}</t:Message>",
        item.id, item.size
    )
}

struct Sent {
    bytes: Vec<u8>,
    is_end: bool,
}

impl Sent {
    fn close(&mut self) {
        let at = memchr::memmem::find(&self.bytes, b"\r\n").unwrap() + 2;
        self.bytes.splice(at..at, *b"Connection: close\r\n");
        self.is_end = true;
    }

    fn http(status: u16, headers: &str, body: &str) -> Sent {
        let text = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: text/html\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Sent { bytes: text.into_bytes(), is_end: false }
    }

    fn xml(status: u16, body: &str, is_chunked: bool) -> Sent {
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: text/xml; charset=utf-8\r\nSet-Cookie: exchangecookie=1; path=/\r\n"
        );
        let mut bytes = head.into_bytes();
        if is_chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.as_bytes().chunks(7000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
        Sent { bytes, is_end: false }
    }

    fn fault(status: u16, code: &str, text: &str, back_off_ms: Option<u64>) -> Sent {
        let wait = back_off_ms.map_or(String::new(), |wait| {
            format!("<t:MessageXml xmlns:t=\"{TYPES}\"><t:Value Name=\"BackOffMilliseconds\">{wait}</t:Value></t:MessageXml>")
        });
        let body = format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault><faultcode \
             xmlns:a=\"{TYPES}\">a:{code}</faultcode><faultstring xml:lang=\"en-US\">{text}</faultstring><detail>\
             <e:Message xmlns:e=\"urn:e\">{text}</e:Message>{wait}</detail></s:Fault></s:Body></s:Envelope>"
        );
        Sent::xml(status, &body, false)
    }
}

struct HttpRequest {
    headers: Vec<(String, String)>,
    body: String,
    is_bounded: bool,
}

impl HttpRequest {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn read_request(stream: &mut impl std::io::BufRead) -> Option<HttpRequest> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = HttpRequest { headers, body: String::new(), is_bounded: false };
    if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).unwrap();
        request.is_bounded = request.header("transfer-encoding").is_none() && request.header("expect").is_none();
    }
    Some(request)
}

trait Talk: Read + Write {
    fn end(&mut self);
}

impl Talk for TcpStream {
    fn end(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Talk for native_tls::TlsStream<TcpStream> {
    fn end(&mut self) {
        let _ = self.get_ref().shutdown(Shutdown::Both);
    }
}

/// Ids that were asked for in one kind of call.
pub fn asked(store: &Store, operation: &str) -> HashSet<String> {
    store.log.iter().filter(|call| call.operation == operation).flat_map(|call| call.ids.clone()).collect()
}
