//! Who is in a group, groups within groups included.
//!
//! Walked from the group downwards, in one way for all directories: Active Directory's matching rule for nested
//! membership (1.2.840.113556.1.4.1941) exists nowhere else, and what does not know it answers with nobody instead of
//! an error. An account's primary group (`Domain Users`) is no attribute of the group anywhere and is not seen.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use ldap3::Scope;

use super::entry::{LOGIN, Object};
use super::{Directory, LdapError};
use crate::net::clean;

const FILTER: &str =
    "(|(objectClass=group)(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))";
/// Attributes that hold members' DNs.
const MEMBERS: [&str; 2] = ["member", "uniqueMember"];
/// Holds logins.
const MEMBER_LOGINS: &str = "memberUid";
const NAMES: [&str; 2] = ["cn", "sAMAccountName"];

/// For each person (by [`dn_key`]) those of the wanted groups that hold it, as they were wanted. A group that is not
/// there is an error: left out, it would include or exclude the wrong people.
pub(super) async fn memberships<'w>(
    directory: &mut Directory<'_>,
    contexts: &[String],
    wanted: &[&'w str],
    people: &[Object],
) -> Result<HashMap<String, BTreeSet<&'w str>>, LdapError> {
    let mut groups = Vec::new();
    for context in contexts {
        groups.extend(directory.search(context, Scope::Subtree, FILTER, &NAMES).await?);
    }
    let by_dn: HashMap<String, usize> = groups.iter().enumerate().map(|(at, group)| (dn_key(&group.dn), at)).collect();
    let persons: HashSet<String> = people.iter().map(|person| dn_key(&person.dn)).collect();
    let by_login: HashMap<String, String> = people
        .iter()
        .flat_map(|person| person.texts(LOGIN).map(|login| (login.to_lowercase(), dn_key(&person.dn))))
        .collect();
    let mut found: HashMap<String, BTreeSet<&'w str>> = HashMap::new();
    let mut members: HashMap<usize, Object> = HashMap::new();
    for &name in wanted {
        let mut open = vec![named(directory, &groups, &by_dn, name)?];
        // Groups may hold each other.
        let mut seen: HashSet<usize> = open.iter().copied().collect();
        while let Some(at) = open.pop() {
            let group = match members.entry(at) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(read(directory, &groups[at].dn).await?),
            };
            for dn in MEMBERS.iter().flat_map(|attribute| group.texts(attribute)) {
                let dn = dn_key(dn);
                match by_dn.get(&dn) {
                    Some(&nested) if seen.insert(nested) => open.push(nested),
                    Some(_) => {}
                    None if persons.contains(&dn) => {
                        found.entry(dn).or_default().insert(name);
                    }
                    // Somebody without mail, or one that the filter leaves out.
                    None => {}
                }
            }
            for login in group.texts(MEMBER_LOGINS) {
                if let Some(dn) = by_login.get(&login.to_lowercase()) {
                    found.entry(dn.clone()).or_default().insert(name);
                }
            }
        }
    }
    Ok(found)
}

/// The group that a DN or a name means.
fn named(
    directory: &Directory<'_>,
    groups: &[Object],
    by_dn: &HashMap<String, usize>,
    name: &str,
) -> Result<usize, LdapError> {
    if let Some(&at) = by_dn.get(&dn_key(name)) {
        return Ok(at);
    }
    let is_called = |group: &Object| {
        NAMES.iter().flat_map(|attribute| group.texts(attribute)).any(|own| own.to_lowercase() == name.to_lowercase())
    };
    let called: Vec<usize> = (0..groups.len()).filter(|&at| is_called(&groups[at])).collect();
    let source = directory.options.source();
    match called.as_slice() {
        [only] => Ok(*only),
        [] => Err(LdapError::new(
            format!("the directory {source} has no group {name:?}"),
            "check its spelling, and whether the login may see it; a DN names it without doubt",
        )),
        several => {
            let dns: Vec<String> = several.iter().map(|&at| clean(&groups[at].dn)).collect();
            let what = format!("the directory {source} has several groups {name:?}: {}", dns.join("; "));
            Err(LdapError::new(what, "name the one that is meant by its DN"))
        }
    }
}

async fn read(directory: &mut Directory<'_>, dn: &str) -> Result<Object, LdapError> {
    let attributes = [MEMBERS[0], MEMBERS[1], MEMBER_LOGINS];
    let mut found = directory.search(dn, Scope::Base, "(objectClass=*)", &attributes).await?;
    directory.complete(&mut found).await?;
    found.into_iter().next().ok_or_else(|| directory.strange(&format!("the group {}, but not its members", clean(dn))))
}

/// One form for the spellings of a DN that directories mix: case, and blanks around separators.
pub(super) fn dn_key(dn: &str) -> String {
    let mut key = String::with_capacity(dn.len());
    let (mut escaped, mut after_separator) = (false, false);
    for c in dn.trim().chars().flat_map(char::to_lowercase) {
        if c == ' ' && after_separator {
            continue;
        }
        after_separator = !escaped && matches!(c, ',' | '=' | '+');
        // A blank that is escaped belongs to the value.
        while after_separator && key.ends_with(' ') && !key.ends_with("\\ ") {
            key.pop();
        }
        key.push(c);
        escaped = c == '\\' && !escaped;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::dn_key;

    #[test]
    fn spellings_of_one_dn_are_one() {
        for text in ["CN=Anna Example, OU=People ,DC=corp", " cn = anna example,ou=people,dc=corp"] {
            assert_eq!(dn_key(text), "cn=anna example,ou=people,dc=corp");
        }
        assert_eq!(dn_key("CN=Example\\, Anna,DC=x"), "cn=example\\, anna,dc=x");
        assert_ne!(dn_key("cn=a\\,dc=x"), dn_key("cn=a,dc=x"));
    }
}
