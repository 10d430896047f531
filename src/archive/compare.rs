//! Comparing two catalogues of one archive, row by row in step, so that neither is held.

use std::cmp::Ordering;

use rusqlite::types::Value;

use super::catalogue::Catalogue;
use super::error::Result;

/// Table, columns (the key first), length of the key. What is not derived from records is left out.
const TABLES: [(&str, &str, usize); 13] = [
    ("packs", "no, bytes, sealed", 1),
    ("commits", "seq, hash, pack, start, finish, at", 1),
    ("chunks", "sha256, pack, offset, stored, raw", 1),
    ("items", "id, sha256, size, pack, offset, quarantine, decode_pack, decode_offset", 1),
    (
        "messages",
        "item, message, canonical, canonical_version, sha256, size, message_id, date, sender, recipients, subject,
         parser, rules, reporter",
        1,
    ),
    ("reporters", "domain, id", 1),
    ("people", "person, id, name, origin, key, merged_into", 1),
    ("addresses", "address, person", 2),
    ("tenures", "person, address, since, until", 4),
    ("filings", "person, folder, message, item, because", 4),
    ("epochs", "id, kind, host, login, folder, validity, generation, since, because", 1),
    ("sightings", "epoch, native, ord, size, date, disposition, item, at, tries, because, gone", 2),
    ("events", "id, event, at, who, what", 1),
];

/// How many rows of a table are named.
const NAMED_MAX: usize = 3;

/// In words, one line for each table that is not the same.
pub(super) fn differences(catalogue: &Catalogue, packs: &Catalogue) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (table, columns, key) in TABLES {
        let mut named = Vec::new();
        let mut count = 0u64;
        rows(catalogue, packs, table, columns, key, &mut |what, row| {
            count += 1;
            if named.len() < NAMED_MAX {
                let key: Vec<String> = row.iter().take(key).map(shown).collect();
                named.push(format!("{} {what}", key.join(" ")));
            }
        })?;
        if count > 0 {
            let more = if count as usize > named.len() { ", …" } else { "" };
            lines.push(format!("{count} rows of `{table}` are not what the packs say ({}{more})", named.join(", ")));
        }
    }
    Ok(lines)
}

fn rows(
    catalogue: &Catalogue,
    packs: &Catalogue,
    table: &str,
    columns: &str,
    key: usize,
    differs: &mut dyn FnMut(&str, &[Value]),
) -> Result<()> {
    let order: Vec<String> = (1..=key).map(|column| column.to_string()).collect();
    let sql = format!("SELECT {columns} FROM {table} ORDER BY {}", order.join(", "));
    let (mut one, mut other) = (catalogue.db.prepare(&sql)?, packs.db.prepare(&sql)?);
    let count = one.column_count();
    let (mut one, mut other) = (one.query([])?, other.query([])?);
    let next = |rows: &mut rusqlite::Rows<'_>| -> Result<Option<Vec<Value>>> {
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some((0..count).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?))
    };
    let (mut a, mut b) = (next(&mut one)?, next(&mut other)?);
    loop {
        let order = match (&a, &b) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => by_key(&a[..key], &b[..key]),
        };
        match (order, &a, &b) {
            (Ordering::Less, Some(row), _) => differs("is not in the packs", row),
            (Ordering::Greater, _, Some(row)) => differs("is missing", row),
            (Ordering::Equal, Some(left), Some(right)) if left != right => differs("is different", left),
            _ => {}
        }
        if order != Ordering::Greater {
            a = next(&mut one)?;
        }
        if order != Ordering::Less {
            b = next(&mut other)?;
        }
    }
}

/// SQLite's order of values: NULL, numbers, texts, blobs.
fn by_key(a: &[Value], b: &[Value]) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    let each = a.iter().zip(b).map(|(a, b)| match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    });
    each.fold(Ordering::Equal, Ordering::then)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".into(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
    }
}
