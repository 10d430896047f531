//! What a directory says of one person, in the words of either product, as one [`Entry`].

use std::collections::BTreeSet;

use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};

use super::LdapOptions;
use crate::base::address::Address;
use crate::net::clean;
use crate::people::directory::Entry;

/// The keys that a directory gives, the surest first: Active Directory, RFC 4530, 389 Directory Server.
pub(super) const KEYS: [&str; 3] = ["objectGUID", "entryUUID", "nsUniqueId"];
/// Whether an account is disabled: Active Directory, 389 Directory Server, OpenLDAP's password policy.
pub(super) const DISABLED: [&str; 3] = ["userAccountControl", "nsAccountLock", "pwdAccountLockedTime"];
pub(super) const LEGACY: &str = "legacyExchangeDN";
/// What a `posixGroup` calls its members by.
pub(super) const LOGIN: &str = "uid";
pub(super) const NAMES: [&str; 2] = ["displayName", "cn"];

/// Of userAccountControl (ADS_UF_ACCOUNTDISABLE).
const ACCOUNT_DISABLED: i64 = 2;

/// An object of the directory: its name and the attributes that were asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    pub dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Object {
    /// `None`: not of the form, which [`super::wire`] has ruled out. Not by `SearchEntry::construct`, which panics on
    /// a DN that is not UTF-8 and takes a GUID that happens to be UTF-8 for text.
    pub fn new(entry: ResultEntry) -> Option<Object> {
        let mut parts = constructed(entry.0)?.into_iter();
        let dn = String::from_utf8(primitive(parts.next()?)?).ok()?;
        let mut attributes = Vec::new();
        for attribute in constructed(parts.next()?)? {
            let mut parts = constructed(attribute)?.into_iter();
            let name = String::from_utf8(primitive(parts.next()?)?).ok()?;
            let values = constructed(parts.next()?)?.into_iter().map(primitive).collect::<Option<_>>()?;
            attributes.push((name, values));
        }
        Some(Object { dn, attributes })
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = self.attributes.iter().filter(move |(own, _)| base_name(own).eq_ignore_ascii_case(name));
        named.flat_map(|(_, values)| values.iter().map(Vec::as_slice))
    }

    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Attributes of which the server gave a part only (Active Directory: `member;range=0-1499`), and the number of
    /// the next value.
    pub fn unfinished(&self) -> Vec<(String, u64)> {
        self.attributes.iter().filter_map(|(name, _)| next_of_range(name)).collect()
    }

    /// Adds the values of `part`, the next ones of this object.
    pub fn extend(&mut self, part: Object) {
        for (name, values) in part.attributes {
            // The part before is finished by this one: its values stay, its range does not.
            for (own, _) in &mut self.attributes {
                if next_of_range(own).is_some() && base_name(own).eq_ignore_ascii_case(base_name(&name)) {
                    *own = base_name(own).to_owned();
                }
            }
            self.attributes.push((name, values));
        }
    }
}

fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

fn primitive(tag: StructureTag) -> Option<Vec<u8>> {
    match tag.payload {
        PL::P(bytes) => Some(bytes),
        PL::C(_) => None,
    }
}

/// Without options: `mail;lang-de` → `mail`.
fn base_name(name: &str) -> &str {
    name.split(';').next().unwrap_or(name)
}

/// `member;range=0-1499` → `member`, 1500; `None` of the last part (`range=1500-*`) and without a range.
fn next_of_range(name: &str) -> Option<(String, u64)> {
    let option = name.split(';').skip(1).find_map(|option| {
        option.get(..6).filter(|prefix| prefix.eq_ignore_ascii_case("range=")).map(|_| &option[6..])
    })?;
    let last: u64 = option.split_once('-')?.1.parse().ok()?;
    Some((base_name(name).to_owned(), last.checked_add(1)?))
}

/// `Err`: the person has no key, so that no archive could be theirs for good.
pub(super) fn entry(object: &Object, options: &LdapOptions, groups: Vec<String>) -> Result<Entry, String> {
    let key = key(object)?;
    let mut addresses = BTreeSet::new();
    let mut legacy: Vec<String> = Vec::new();
    let (mut primary, mut first) = (None, None);
    for attribute in &options.mail_attributes {
        for value in object.texts(attribute) {
            match Value::of(value) {
                Value::Address { address, is_primary } => {
                    if is_primary {
                        primary.get_or_insert(address.clone());
                    }
                    first.get_or_insert(address.clone());
                    addresses.insert(address);
                }
                Value::Legacy(name) => legacy.push(name),
                Value::Other => {}
            }
        }
    }
    legacy.extend(object.texts(LEGACY).map(clean));
    legacy.retain(|name| !name.is_empty());
    legacy.dedup();
    let name = options.name_attribute.iter().map(String::as_str).chain(NAMES);
    let name = name.flat_map(|attribute| object.texts(attribute)).map(clean).find(|name| !name.is_empty());
    let disabled = is_disabled(object);
    Ok(Entry { key, name, main: primary.or(first), addresses, legacy, groups, disabled })
}

enum Value {
    Address { address: Address, is_primary: bool },
    Legacy(String),
    Other,
}

impl Value {
    /// proxyAddresses carry their kind before a colon, the primary one of a kind in capitals; `mail` carries none.
    fn of(text: &str) -> Value {
        let text = text.trim();
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) if !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
                (kind, rest)
            }
            _ => ("", text),
        };
        match kind.to_ascii_lowercase().as_str() {
            "" | "smtp" => match Address::parse(rest) {
                Some(address) => Value::Address { address, is_primary: kind == "SMTP" },
                None => Value::Other,
            },
            "x500" | "ex" => Value::Legacy(clean(rest)),
            // sip:, eum:, x400: and what else there is: no way that a mail takes.
            _ => Value::Other,
        }
    }
}

fn key(object: &Object) -> Result<String, String> {
    if let Some(guid) = object.values(KEYS[0]).next() {
        let bytes: [u8; 16] =
            guid.try_into().map_err(|_| format!("has an objectGUID of {} bytes, not 16", guid.len()))?;
        // Windows writes the first three fields little-endian (MS-DTYP §2.3.4).
        return Ok(uuid::Uuid::from_bytes_le(bytes).to_string());
    }
    let text = KEYS[1..].iter().flat_map(|name| object.texts(name)).map(|text| clean(text).to_lowercase());
    text.into_iter().find(|text| !text.is_empty()).ok_or_else(|| "has neither objectGUID nor entryUUID".to_owned())
}

fn is_disabled(object: &Object) -> bool {
    let control = object.texts(DISABLED[0]).next().and_then(|text| text.trim().parse::<i64>().ok());
    control.is_some_and(|flags| flags & ACCOUNT_DISABLED != 0)
        || object.texts(DISABLED[1]).any(|text| text.eq_ignore_ascii_case("true"))
        // Locked for good by an administrator; other times pass by themselves (draft-behera-ldap-password-policy).
        || object.texts(DISABLED[2]).any(|text| text == "000001010000Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(attributes: &[(&str, &[&str])]) -> Object {
        let values = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let attributes = attributes.iter().map(|(name, texts)| ((*name).to_owned(), values(texts))).collect();
        Object { dn: "cn=anna,dc=corp,dc=example".into(), attributes }
    }

    fn read(attributes: &[(&str, &[&str])]) -> Entry {
        let mut object = object(attributes);
        object.attributes.push(("entryUUID".into(), vec![b"0A-1".to_vec()]));
        entry(&object, &LdapOptions::default(), Vec::new()).unwrap()
    }

    #[test]
    fn kinds_of_addresses_are_told_apart() {
        let anna = read(&[
            ("userPrincipalName", &["anna@corp.local"]),
            ("mail", &["Anna.Mail@corp.example"]),
            (
                "proxyAddresses",
                &[
                    "smtp:a.example@corp.example",
                    "SMTP:Anna@corp.example",
                    "x500:/o=Org/cn=Anna",
                    "sip:anna@voice.example",
                    "X400:C=DE;A= ;P=Org;S=Anna;",
                    "smtp:no address",
                ],
            ),
            ("legacyExchangeDN", &["/o=Org/ou=First/cn=Recipients/cn=anna"]),
            ("displayName", &["Anna\r\nExample"]),
        ]);
        let addresses: Vec<_> = anna.addresses.iter().map(Address::as_str).collect();
        let all = ["a.example@corp.example", "anna.mail@corp.example", "anna@corp.example", "anna@corp.local"];
        assert_eq!(addresses, all);
        assert_eq!(anna.main.unwrap().as_str(), "anna@corp.example");
        assert_eq!(anna.legacy, ["/o=Org/cn=Anna", "/o=Org/ou=First/cn=Recipients/cn=anna"]);
        assert_eq!(anna.name.as_deref(), Some("Anna  Example"));
        assert_eq!(anna.key, "0a-1");
    }

    #[test]
    fn a_guid_has_its_text_form_whatever_its_bytes_are() {
        let mut anna = object(&[("mail", &["anna@corp.example"])]);
        let bytes = [0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        anna.attributes.push(("objectGUID".into(), vec![bytes.to_vec()]));
        let key = |object: &Object| entry(object, &LdapOptions::default(), Vec::new()).map(|entry| entry.key);
        assert_eq!(key(&anna).unwrap(), "00112233-4455-6677-8899-aabbccddeeff");
        anna.attributes.last_mut().unwrap().1[0] = b"0123456789abcdef".to_vec();
        assert_eq!(key(&anna).unwrap(), "33323130-3534-3736-3839-616263646566");
        anna.attributes.last_mut().unwrap().1[0].pop();
        assert_eq!(key(&anna).unwrap_err(), "has an objectGUID of 15 bytes, not 16");
    }

    #[test]
    fn disabled_accounts_of_each_product() {
        for (attribute, value, disabled) in [
            ("userAccountControl", "514", true),
            ("userAccountControl", "66050", true),
            ("userAccountControl", "512", false),
            ("nsAccountLock", "TRUE", true),
            ("pwdAccountLockedTime", "000001010000Z", true),
            ("pwdAccountLockedTime", "20240101120000Z", false),
        ] {
            assert_eq!(read(&[(attribute, &[value])]).disabled, disabled, "{attribute} {value}");
        }
    }

    #[test]
    fn a_long_attribute_is_put_together_from_its_parts() {
        let mut group = object(&[("member", &[]), ("member;range=0-1", &["cn=a", "cn=b"])]);
        assert_eq!(group.unfinished(), [("member".to_owned(), 2)]);
        let mut part = object(&[("member;range=2-3", &["cn=c", "cn=d"])]);
        assert_eq!(part.unfinished(), [("member".to_owned(), 4)]);
        part.dn.clear();
        let last = object(&[("member;range=4-*", &["cn=e"])]);
        assert!(last.unfinished().is_empty());
        group = merged(group, part);
        assert_eq!(group.unfinished(), [("member".to_owned(), 4)]);
        group = merged(group, last);
        assert!(group.unfinished().is_empty());
        assert_eq!(group.texts("member").collect::<Vec<_>>(), ["cn=a", "cn=b", "cn=c", "cn=d", "cn=e"]);
    }

    fn merged(mut object: Object, part: Object) -> Object {
        object.extend(part);
        object
    }
}
