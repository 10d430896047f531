//! What an address may stand for: the forms that mail systems wrap around an address, taken off again.
//!
//! Only a question of whom an address belongs to. The address in an envelope stays as the gateway wrote it, and an
//! exact match always comes first, so nothing is taken off that somebody owns. Pure text; no people in here.

use crate::base::address::Address;

/// Wrappings of wrappings; forwarders put SRS around SRS, and not more often than this.
const DEPTH_MAX: usize = 4;

/// The addresses that `address` may stand for, the address itself first, then each form with one more wrapping off:
/// sub-addressing, prvs and btv1 (bounce validation), SRS, encapsulated SMTP addresses. `domain` maps a domain to the
/// one that it is an alias of.
pub fn candidates(address: &Address, domain: impl Fn(&str) -> Option<String>) -> Vec<Address> {
    let mut found = Vec::new();
    let mut next = Some(address.clone());
    for _ in 0..DEPTH_MAX {
        let Some(current) = next else { break };
        let forms = [Some(current.clone()), without_sub_address(&current)];
        for form in forms.into_iter().flatten() {
            let alias = domain(form.domain()).and_then(|domain| joined(form.local(), &domain));
            for one in std::iter::once(form).chain(alias) {
                if !found.contains(&one) {
                    found.push(one);
                }
            }
        }
        next = unwrapped(&current);
    }
    found
}

/// The address of the *recipient* that mailing lists write into their bounce address (VERP):
/// `list-bounces+user=corp.example@lists.example`. Where the list's own part ends is not marked, so all ends are
/// given, the shortest user last. Says nothing about a sender: it is the recipient's address in the sender's.
pub fn verp(address: &Address) -> Vec<Address> {
    let Some((local, domain)) = address.local().rsplit_once('=') else { return Vec::new() };
    let marked = |(at, _): (usize, &str)| &local[at + 1..];
    let users = std::iter::once(local).chain(local.match_indices(['+', '-']).take(16).map(marked));
    users.filter_map(|user| joined(user, domain)).collect()
}

/// Directory names (`/o=Org/…`) that an address or an `EX:` form stands for, in the form of [`legacy_key`].
pub fn legacy(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    if let Some(at) = text.rfind('@')
        && starts_with(text, "imcea")
    {
        let (kind, encoded) = text[5..at].split_once('-')?;
        return match kind.to_ascii_lowercase().as_str() {
            "ex" | "x500" => Some(legacy_key(&decoded(encoded))),
            _ => None,
        };
    }
    let is_name = ["ex:", "x500:", "/o="].iter().any(|prefix| starts_with(text, prefix));
    is_name.then(|| legacy_key(text))
}

/// One form for all spellings of a directory name: without its prefix, in lower case, white space as one space.
pub fn legacy_key(text: &str) -> String {
    let text = text.trim();
    let bare =
        ["ex:", "x500:"].iter().find(|prefix| starts_with(text, prefix)).map_or(text, |prefix| &text[prefix.len()..]);
    bare.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// No address of a person, but one that a machine made for one mail: none of these may open an archive of its own.
pub fn is_made(address: &Address) -> bool {
    let local = address.local();
    local.starts_with("imcea") || local.contains('=')
}

/// The innermost form: whom an address is, when nobody owns any form of it.
pub fn base(address: &Address) -> Address {
    let mut current = address.clone();
    for _ in 0..DEPTH_MAX {
        match unwrapped(&current) {
            Some(inner) => current = inner,
            None => break,
        }
    }
    without_sub_address(&current).unwrap_or(current)
}

/// `user+tag@` → `user@`.
fn without_sub_address(address: &Address) -> Option<Address> {
    // Encapsulated addresses (IMCEAEX-_O=ORG_OU=FIRST+20GROUP…@) carry `+` as an escape, SRS may as a separator.
    if is_made(address) && (address.local().starts_with("imcea") || address.local().starts_with("srs")) {
        return None;
    }
    let (user, _tag) = address.local().split_once('+')?;
    joined(user, address.domain())
}

/// One wrapping less; `None` when there is none.
fn unwrapped(address: &Address) -> Option<Address> {
    let (local, domain) = (address.local(), address.domain());
    // BATV: prvs=TAG=user; Barracuda's: btv1==TAG==user. The user may have "=" of its own, the tag has none.
    if let Some(tagged) = local.strip_prefix("prvs=") {
        return joined(tagged.split_once('=')?.1, domain);
    }
    if let Some(tagged) = local.strip_prefix("btv1==") {
        return joined(tagged.split_once("==")?.1, domain);
    }
    // SRS0=HASH=TIME=domain=user, at the last forwarder's domain. The first separator may also be + or -.
    if let Some(rest) = after_srs(local, "srs0") {
        let mut fields = rest.splitn(4, '=').skip(2);
        let original = fields.next()?;
        return joined(fields.next()?, original);
    }
    // SRS1=HASH=first forwarder==HASH=TIME=domain=user: what the first forwarder made, at a later one.
    if let Some(rest) = after_srs(local, "srs1") {
        let (_, rest) = rest.split_once('=')?;
        let (forwarder, first) = rest.split_once('=')?;
        return joined(&format!("srs0{first}"), forwarder);
    }
    if let Some(encoded) = local.strip_prefix("imceasmtp-").or_else(|| local.strip_prefix("imceainvalid-")) {
        return Address::parse(&decoded(encoded));
    }
    None
}

fn after_srs<'a>(local: &'a str, scheme: &str) -> Option<&'a str> {
    local.strip_prefix(scheme)?.strip_prefix(['=', '+', '-'])
}

/// The text of an encapsulated address: `_` is `/`, `+XX` a byte.
fn decoded(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.filter(|_| byte == b'+').and_then(|two| u8::from_str_radix(two, 16).ok());
        match (byte, escaped) {
            (_, Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            (b'_', None) => bytes.push(b'/'),
            (byte, None) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn joined(local: &str, domain: &str) -> Option<Address> {
    if local.is_empty() { None } else { Address::parse(&format!("{local}@{domain}")) }
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let alias = |domain: &str| (domain == "old.example").then(|| "corp.example".to_owned());
        candidates(&Address::parse(text).unwrap(), alias).iter().map(Address::to_string).collect()
    }

    #[test]
    fn each_wrapping_comes_off_after_the_exact_address() {
        for text in [
            "anna+news@corp.example",
            "prvs=1234abcd=anna@corp.example",
            "btv1==012ab3==anna@corp.example",
            "SRS0=HHH=TT=corp.example=anna@forwarder.example",
            "SRS0+HHH=TT=corp.example=anna@forwarder.example",
            "SRS1=GGG=forwarder.example==HHH=TT=corp.example=anna@second.example",
            "prvs=1234abcd=anna+x@corp.example",
            "IMCEASMTP-anna+40corp+2Eexample@gw.example",
            "IMCEAINVALID-anna+40corp+2Eexample@gw.example",
            "anna@old.example",
            "anna+x@old.example",
        ] {
            let found = all(text);
            assert_eq!(found[0], Address::parse(text).unwrap().as_str(), "the address itself is first");
            assert!(found.contains(&"anna@corp.example".to_owned()), "{text}: {found:?}");
        }
        assert_eq!(all("anna@corp.example"), ["anna@corp.example"]);
        assert_eq!(all("+x@corp.example"), ["+x@corp.example"]);
    }

    #[test]
    fn bases_of_addresses_that_nobody_owns() {
        let base = |text: &str| base(&Address::parse(text).unwrap()).to_string();
        assert_eq!(base("prvs=1234abcd=new+x@corp.example"), "new@corp.example");
        assert_eq!(base("new@corp.example"), "new@corp.example");
        assert_eq!(base("srs0=nonsense@corp.example"), "srs0=nonsense@corp.example");
    }

    #[test]
    fn verp_names_the_recipient() {
        let found = verp(&Address::parse("list-bounces+no-reply=corp.example@lists.example").unwrap());
        let found: Vec<_> = found.iter().map(Address::as_str).collect();
        assert!(found.contains(&"no-reply@corp.example") && found.contains(&"reply@corp.example"), "{found:?}");
        assert!(verp(&Address::parse("anna@corp.example").unwrap()).is_empty());
    }

    #[test]
    fn directory_names_in_all_their_forms() {
        let key = "/o=org/ou=first group/cn=recipients/cn=anna";
        for text in [
            "/o=Org/ou=First Group/cn=Recipients/cn=Anna",
            "EX:/o=Org/ou=First  Group/cn=Recipients/cn=anna",
            "x500:/O=ORG/OU=FIRST GROUP/CN=RECIPIENTS/CN=ANNA",
            "IMCEAEX-_O=ORG_OU=First+20Group_cn=Recipients_cn=anna@corp.example",
            "<imceax500-_o=org_ou=first+20group_cn=recipients_cn=anna@corp.example>",
        ] {
            assert_eq!(legacy(text).as_deref(), Some(key), "{text}");
        }
        for text in ["anna@corp.example", "IMCEAINVALID-x@corp.example", "X400:c=DE;", "imcea@corp.example"] {
            assert_eq!(legacy(text), None, "{text}");
        }
    }
}
