//! What the schema of EWS says about the requests that gatepost makes: names with their namespaces, the order of
//! elements, attributes and the values that they can have. Strict: what is not written down here is refused.

use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const T: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const M: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";

#[derive(Debug, Default)]
pub struct Element {
    pub namespace: String,
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

pub fn parse(text: &str) -> Result<Element, String> {
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open = vec![Element::default()];
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(start) => {
                let ResolveResult::Bound(namespace) = namespace else {
                    return Err("an element of no namespace".into());
                };
                let namespace = namespace.as_ref().to_owned();
                let mut element =
                    Element { namespace, name: start.local_name().as_ref().to_owned(), ..Element::default() };
                for attribute in start.attributes() {
                    let attribute = attribute.map_err(|error| error.to_string())?;
                    let key = attribute.key.as_ref().to_owned();
                    if !key.starts_with("xmlns") {
                        let value = quick_xml::escape::unescape(&attribute.value).map_err(|error| error.to_string())?;
                        element.attributes.push((key, value.into_owned()));
                    }
                }
                open.push(element);
            }
            Event::End(_) => {
                let element = open.pop().unwrap();
                open.last_mut().unwrap().children.push(element);
            }
            Event::Text(text) => open.last_mut().unwrap().text.push_str(&text.into_inner()),
            Event::GeneralRef(reference) => {
                let text = format!("&{};", &*reference);
                let text = quick_xml::escape::unescape(&text).map_err(|error| error.to_string())?;
                open.last_mut().unwrap().text.push_str(&text);
            }
            Event::Eof => break,
            Event::Decl(_) => {}
            other => return Err(format!("{other:?}")),
        }
    }
    let mut root = open.pop().unwrap();
    if root.children.len() != 1 { Err("not one root".into()) } else { Ok(root.children.remove(0)) }
}

type Verdict = Result<(), String>;

pub fn validate(root: &Element) -> Verdict {
    is(root, SOAP, "Envelope", &[], &["Header", "Body"])?;
    let (header, body) = (&root.children[0], &root.children[1]);
    is(header, SOAP, "Header", &[], &["RequestServerVersion", "ExchangeImpersonation?"])?;
    let version = &header.children[0];
    is(version, T, "RequestServerVersion", &["Version"], &[])?;
    let versions = [
        "Exchange2007_SP1",
        "Exchange2010",
        "Exchange2010_SP1",
        "Exchange2010_SP2",
        "Exchange2013",
        "Exchange2013_SP1",
    ];
    one_of(version.attribute("Version"), &versions)?;
    if let Some(as_whom) = header.child("ExchangeImpersonation") {
        is(as_whom, T, "ExchangeImpersonation", &[], &["ConnectingSID"])?;
        is(&as_whom.children[0], T, "ConnectingSID", &[], &["PrimarySmtpAddress"])?;
        text(&as_whom.children[0].children[0], T, "PrimarySmtpAddress")?;
    }
    is(body, SOAP, "Body", &[], &["*"])?;
    let [operation] = body.children.as_slice() else { return Err("not one operation".into()) };
    match operation.name.as_str() {
        "GetFolder" => {
            is(operation, M, "GetFolder", &[], &["FolderShape", "FolderIds"])?;
            folder_shape(&operation.children[0])?;
            folders(&operation.children[1], "FolderIds")
        }
        "FindFolder" => {
            is(
                operation,
                M,
                "FindFolder",
                &["Traversal"],
                &["FolderShape", "IndexedPageFolderView?", "ParentFolderIds"],
            )?;
            one_of(operation.attribute("Traversal"), &["Shallow", "Deep", "SoftDeleted"])?;
            folder_shape(&operation.children[0])?;
            let view = operation.child("IndexedPageFolderView").ok_or("no view")?;
            is(view, M, "IndexedPageFolderView", &["MaxEntriesReturned?", "Offset", "BasePoint"], &[])?;
            number(view.attribute("MaxEntriesReturned"), 1..=u32::MAX)?;
            number(view.attribute("Offset"), 0..=u32::MAX)?;
            one_of(view.attribute("BasePoint"), &["Beginning", "End"])?;
            folders(operation.children.last().unwrap(), "ParentFolderIds")
        }
        "SyncFolderItems" => {
            let children = ["ItemShape", "SyncFolderId", "SyncState?", "MaxChangesReturned", "SyncScope?"];
            is(operation, M, "SyncFolderItems", &[], &children)?;
            item_shape(&operation.children[0])?;
            folders(&operation.children[1], "SyncFolderId")?;
            if let Some(state) = operation.child("SyncState") {
                text(state, M, "SyncState")?;
            }
            let most = operation.child("MaxChangesReturned").unwrap();
            text(most, M, "MaxChangesReturned")?;
            number(&most.text, 1..=512)?;
            if let Some(scope) = operation.child("SyncScope") {
                text(scope, M, "SyncScope")?;
                one_of(&scope.text, &["NormalItems", "NormalAndAssociatedItems"])?;
            }
            Ok(())
        }
        "GetItem" => {
            is(operation, M, "GetItem", &[], &["ItemShape", "ItemIds"])?;
            item_shape(&operation.children[0])?;
            items(&operation.children[1])
        }
        "DeleteItem" => {
            let attributes =
                ["DeleteType", "SendMeetingCancellations?", "AffectedTaskOccurrences?", "SuppressReadReceipts?"];
            is(operation, M, "DeleteItem", &attributes, &["ItemIds"])?;
            one_of(operation.attribute("DeleteType"), &["HardDelete", "SoftDelete", "MoveToDeletedItems"])?;
            one_of(
                operation.attribute("SendMeetingCancellations"),
                &["SendToNone", "SendOnlyToAll", "SendToAllAndSaveCopy"],
            )?;
            one_of(operation.attribute("AffectedTaskOccurrences"), &["AllOccurrences", "SpecifiedOccurrenceOnly"])?;
            match version.attribute("Version") {
                "Exchange2013_SP1" => one_of(operation.attribute("SuppressReadReceipts"), &["true", "false"])?,
                _ => one_of(operation.attribute("SuppressReadReceipts"), &[""])?,
            }
            items(&operation.children[0])
        }
        other => Err(format!("unknown operation {other}")),
    }
}

fn item_shape(shape: &Element) -> Verdict {
    is(shape, M, "ItemShape", &[], &["BaseShape", "IncludeMimeContent?", "AdditionalProperties?"])?;
    base_shape(&shape.children[0])?;
    if let Some(mime) = shape.child("IncludeMimeContent") {
        text(mime, T, "IncludeMimeContent")?;
        one_of(&mime.text, &["true", "false"])?;
    }
    shape.child("AdditionalProperties").map_or(Ok(()), properties)
}

fn folder_shape(shape: &Element) -> Verdict {
    is(shape, M, "FolderShape", &[], &["BaseShape", "AdditionalProperties?"])?;
    base_shape(&shape.children[0])?;
    shape.child("AdditionalProperties").map_or(Ok(()), properties)
}

fn base_shape(shape: &Element) -> Verdict {
    text(shape, T, "BaseShape")?;
    one_of(&shape.text, &["IdOnly", "Default", "AllProperties"])
}

fn properties(properties: &Element) -> Verdict {
    is(properties, T, "AdditionalProperties", &[], &["*"])?;
    for property in &properties.children {
        match property.name.as_str() {
            "FieldURI" => {
                is(property, T, "FieldURI", &["FieldURI"], &[])?;
                let known = [
                    "item:Size",
                    "item:DateTimeReceived",
                    "folder:DisplayName",
                    "folder:FolderClass",
                    "folder:TotalCount",
                    "folder:EffectiveRights",
                ];
                one_of(property.attribute("FieldURI"), &known)?;
            }
            _ => {
                is(property, T, "ExtendedFieldURI", &["PropertyTag", "PropertyType"], &[])?;
                one_of(property.attribute("PropertyType"), &["String", "Binary", "Integer"])?;
                let tag = property.attribute("PropertyTag");
                let digits = tag.strip_prefix("0x").ok_or("a tag without 0x")?;
                if !(1..=4).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(format!("tag {tag}"));
                }
            }
        }
    }
    if properties.children.is_empty() { Err("no property".into()) } else { Ok(()) }
}

fn items(ids: &Element) -> Verdict {
    is(ids, M, "ItemIds", &[], &["*"])?;
    for id in &ids.children {
        is(id, T, "ItemId", &["Id", "ChangeKey?"], &[])?;
        if id.attribute("Id").is_empty() {
            return Err("an empty id".into());
        }
    }
    if ids.children.is_empty() { Err("no id".into()) } else { Ok(()) }
}

fn folders(ids: &Element, name: &str) -> Verdict {
    is(ids, M, name, &[], &["*"])?;
    let [one] = ids.children.as_slice() else { return Err("not one folder".into()) };
    folder(one)
}

fn folder(id: &Element) -> Verdict {
    if id.name == "FolderId" {
        return is(id, T, "FolderId", &["Id", "ChangeKey?"], &[]);
    }
    is(id, T, "DistinguishedFolderId", &["Id", "ChangeKey?"], &["Mailbox?"])?;
    one_of(id.attribute("Id"), &["inbox", "msgfolderroot", "deleteditems", "root", "junkemail"])?;
    if let Some(mailbox) = id.child("Mailbox") {
        is(mailbox, T, "Mailbox", &[], &["EmailAddress"])?;
        text(&mailbox.children[0], T, "EmailAddress")?;
    }
    Ok(())
}

/// An element with exactly these attributes and children, in this order; `?`: it may be missing; `*`: any children;
/// `#`: text.
fn is(element: &Element, namespace: &str, name: &str, attributes: &[&str], children: &[&str]) -> Verdict {
    if element.name != name || element.namespace != namespace {
        return Err(format!("{{{}}}{} in place of {name}", element.namespace, element.name));
    }
    for (key, _) in &element.attributes {
        if !attributes.iter().any(|known| known.trim_end_matches('?') == key) {
            return Err(format!("{name} has no attribute {key}"));
        }
    }
    for known in attributes.iter().filter(|known| !known.ends_with('?')) {
        if !element.attributes.iter().any(|(key, _)| key == known) {
            return Err(format!("{name} lacks {known}"));
        }
    }
    // What holds others, or nothing but attributes, holds no text.
    if !(children == ["#"] || element.text.trim().is_empty()) {
        return Err(format!("{name} has text in it"));
    }
    if children == ["*"] {
        return if element.children.is_empty() { Err(format!("{name} is empty")) } else { Ok(()) };
    }
    let children = if children == ["#"] { &[] } else { children };
    let mut found = element.children.iter().map(|child| child.name.as_str()).peekable();
    for known in children {
        let is_there = found.next_if_eq(&known.trim_end_matches('?')).is_some();
        if !is_there && !known.ends_with('?') {
            return Err(format!("{name}: {known} is not in its place"));
        }
    }
    found.next().map_or(Ok(()), |more| Err(format!("{name}: {more} is out of place")))
}

fn text(element: &Element, namespace: &str, name: &str) -> Verdict {
    is(element, namespace, name, &[], &["#"])?;
    if element.text.is_empty() { Err(format!("{name} is empty")) } else { Ok(()) }
}

fn one_of(value: &str, known: &[&str]) -> Verdict {
    if known.contains(&value) { Ok(()) } else { Err(format!("{value:?} is none of {known:?}")) }
}

fn number(value: &str, range: std::ops::RangeInclusive<u32>) -> Verdict {
    let number: u32 = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    if range.contains(&number) { Ok(()) } else { Err(format!("{number} is out of {range:?}")) }
}
