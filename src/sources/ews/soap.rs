//! The requests, as the schema wants them: the order of elements matters to servers, and so do the namespaces.
//! Everything that comes from outside is escaped by the writer.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::options::{DeleteType, EwsOptions};

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";

/// The most that SyncFolderItems returns.
pub(super) const PAGE_MAX: u32 = 512;
const FOLDERS_PAGE: &str = "200";

/// What a server may understand, the newest first. Nothing newer than the first is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(usize);

impl Version {
    const NAMES: [&str; 6] = [
        "Exchange2013_SP1",
        "Exchange2013",
        "Exchange2010_SP2",
        "Exchange2010_SP1",
        "Exchange2010",
        "Exchange2007_SP1",
    ];
    pub const NEWEST: Version = Version(0);

    pub fn older(self) -> Option<Version> {
        (self.0 + 1 < Version::NAMES.len()).then_some(Version(self.0 + 1))
    }

    /// SuppressReadReceipts is refused by servers that do not know it.
    fn suppresses_receipts(self) -> bool {
        self.0 == 0
    }

    fn has_sync_scope(self) -> bool {
        self.0 <= 4
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Version::NAMES[self.0])
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FolderRef {
    /// A name of the schema's (`inbox`), in the login's own mailbox or in another's.
    Distinguished {
        name: String,
        mailbox: Option<String>,
    },
    Id(String),
}

#[derive(Clone, Debug)]
pub(super) enum Request<'a> {
    Folder(&'a FolderRef),
    /// How much a folder holds, and what the login may do there.
    Rights(&'a FolderRef),
    /// The folders right below one, from this place in their list on.
    Folders {
        below: &'a FolderRef,
        offset: u64,
    },
    Sync {
        folder: &'a FolderRef,
        state: Option<&'a str>,
    },
    /// Size and date, without the mail.
    Measure(&'a [&'a str]),
    Mime(&'a [&'a str]),
    Delete(&'a [&'a str]),
}

impl Request<'_> {
    /// What was tried, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Request::Folder(_) => "opening the folder (GetFolder)",
            Request::Rights(_) => "asking for the rights (GetFolder)",
            Request::Folders { .. } => "looking for the folder (FindFolder)",
            Request::Sync { .. } => "listing the folder (SyncFolderItems)",
            Request::Measure(_) => "asking for sizes and dates (GetItem)",
            Request::Mime(_) => "downloading (GetItem)",
            Request::Delete(_) => "deleting (DeleteItem)",
        }
    }

    /// Elements that an answer has for this request.
    pub fn answers(&self) -> usize {
        match self {
            Request::Folder(_) | Request::Rights(_) | Request::Folders { .. } | Request::Sync { .. } => 1,
            Request::Measure(ids) | Request::Mime(ids) | Request::Delete(ids) => ids.len(),
        }
    }

    pub fn xml(&self, version: Version, options: &EwsOptions) -> String {
        let mut xml = Xml(Writer::new(Vec::new()));
        xml.event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)));
        xml.open("soap:Envelope", &[("xmlns:soap", SOAP), ("xmlns:t", TYPES), ("xmlns:m", MESSAGES)]);
        xml.open("soap:Header", &[]);
        xml.leaf("t:RequestServerVersion", &[("Version", &version.to_string())]);
        if let Some(address) = &options.impersonate {
            xml.open("t:ExchangeImpersonation", &[]);
            xml.open("t:ConnectingSID", &[]);
            xml.text("t:PrimarySmtpAddress", address);
            xml.close("t:ConnectingSID");
            xml.close("t:ExchangeImpersonation");
        }
        xml.close("soap:Header");
        xml.open("soap:Body", &[]);
        self.body(&mut xml, version, options.delete_type);
        xml.close("soap:Body");
        xml.close("soap:Envelope");
        // reason: the writer puts together text only.
        String::from_utf8(xml.0.into_inner()).expect("what is written is text")
    }

    fn body(&self, xml: &mut Xml, version: Version, delete_type: DeleteType) {
        match self {
            Request::Folder(folder) => get_folder(xml, folder, FOLDER),
            Request::Rights(folder) => get_folder(xml, folder, RIGHTS),
            Request::Folders { below, offset } => {
                xml.open("m:FindFolder", &[("Traversal", "Shallow")]);
                folder_shape(xml, FOLDER);
                let offset = offset.to_string();
                let view = [("MaxEntriesReturned", FOLDERS_PAGE), ("Offset", &offset), ("BasePoint", "Beginning")];
                xml.leaf("m:IndexedPageFolderView", &view);
                xml.open("m:ParentFolderIds", &[]);
                xml.folder(below);
                xml.close("m:ParentFolderIds");
                xml.close("m:FindFolder");
            }
            Request::Sync { folder, state } => {
                xml.open("m:SyncFolderItems", &[]);
                xml.open("m:ItemShape", &[]);
                xml.text("t:BaseShape", "IdOnly");
                xml.close("m:ItemShape");
                xml.open("m:SyncFolderId", &[]);
                xml.folder(folder);
                xml.close("m:SyncFolderId");
                if let Some(state) = state {
                    xml.text("m:SyncState", state);
                }
                xml.text("m:MaxChangesReturned", &PAGE_MAX.to_string());
                if version.has_sync_scope() {
                    xml.text("m:SyncScope", "NormalItems");
                }
                xml.close("m:SyncFolderItems");
            }
            Request::Measure(ids) => get_item(xml, ids, false),
            Request::Mime(ids) => get_item(xml, ids, true),
            Request::Delete(ids) => {
                let kind = match delete_type {
                    DeleteType::Hard => "HardDelete",
                    DeleteType::Soft => "SoftDelete",
                    DeleteType::DeletedItems => "MoveToDeletedItems",
                };
                let mut attributes = vec![
                    ("DeleteType", kind),
                    ("SendMeetingCancellations", "SendToNone"),
                    ("AffectedTaskOccurrences", "AllOccurrences"),
                ];
                if version.suppresses_receipts() {
                    attributes.push(("SuppressReadReceipts", "true"));
                }
                xml.open("m:DeleteItem", &attributes);
                xml.items(ids);
                xml.close("m:DeleteItem");
            }
        }
    }
}

const FOLDER: &[&str] = &["folder:DisplayName", "folder:FolderClass"];
const RIGHTS: &[&str] = &["folder:DisplayName", "folder:TotalCount", "folder:EffectiveRights"];

fn get_folder(xml: &mut Xml, folder: &FolderRef, properties: &[&str]) {
    xml.open("m:GetFolder", &[]);
    folder_shape(xml, properties);
    xml.open("m:FolderIds", &[]);
    xml.folder(folder);
    xml.close("m:FolderIds");
    xml.close("m:GetFolder");
}

fn folder_shape(xml: &mut Xml, properties: &[&str]) {
    xml.open("m:FolderShape", &[]);
    xml.text("t:BaseShape", "IdOnly");
    xml.open("t:AdditionalProperties", &[]);
    for property in properties {
        xml.leaf("t:FieldURI", &[("FieldURI", property)]);
    }
    xml.close("t:AdditionalProperties");
    xml.close("m:FolderShape");
}

/// Size and date are asked for by name in both shapes: by itself a server may give another date in one shape than in
/// the other.
fn get_item(xml: &mut Xml, ids: &[&str], mime: bool) {
    xml.open("m:GetItem", &[]);
    xml.open("m:ItemShape", &[]);
    xml.text("t:BaseShape", "IdOnly");
    if mime {
        xml.text("t:IncludeMimeContent", "true");
    }
    xml.open("t:AdditionalProperties", &[]);
    xml.leaf("t:FieldURI", &[("FieldURI", "item:Size")]);
    xml.leaf("t:FieldURI", &[("FieldURI", "item:DateTimeReceived")]);
    if mime {
        // PidTagTransportMessageHeaders
        xml.leaf("t:ExtendedFieldURI", &[("PropertyTag", "0x007D"), ("PropertyType", "String")]);
    }
    xml.close("t:AdditionalProperties");
    xml.close("m:ItemShape");
    xml.items(ids);
    xml.close("m:GetItem");
}

struct Xml(Writer<Vec<u8>>);

impl Xml {
    fn event(&mut self, event: Event<'_>) {
        // reason: a vector takes whatever is written.
        self.0.write_event(event).expect("writing to memory");
    }

    fn start<'a>(name: &'a str, attributes: &[(&'a str, &'a str)]) -> BytesStart<'a> {
        let mut start = BytesStart::new(name);
        for attribute in attributes {
            start.push_attribute(*attribute);
        }
        start
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.event(Event::Start(Xml::start(name, attributes)));
    }

    fn close(&mut self, name: &str) {
        self.event(Event::End(BytesEnd::new(name)));
    }

    fn leaf(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.event(Event::Empty(Xml::start(name, attributes)));
    }

    fn text(&mut self, name: &str, text: &str) {
        self.open(name, &[]);
        self.event(Event::Text(BytesText::new(text)));
        self.close(name);
    }

    fn items(&mut self, ids: &[&str]) {
        self.open("m:ItemIds", &[]);
        for id in ids {
            self.leaf("t:ItemId", &[("Id", id)]);
        }
        self.close("m:ItemIds");
    }

    fn folder(&mut self, folder: &FolderRef) {
        match folder {
            FolderRef::Distinguished { name, mailbox: None } => self.leaf("t:DistinguishedFolderId", &[("Id", name)]),
            FolderRef::Distinguished { name, mailbox: Some(mailbox) } => {
                self.open("t:DistinguishedFolderId", &[("Id", name)]);
                self.open("t:Mailbox", &[]);
                self.text("t:EmailAddress", mailbox);
                self.close("t:Mailbox");
                self.close("t:DistinguishedFolderId");
            }
            FolderRef::Id(id) => self.leaf("t:FolderId", &[("Id", id)]),
        }
    }
}
