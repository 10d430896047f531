//! Typed access to the TOML tree, which notes every mistake and goes on.
//!
//! Not derived with serde: a derived reader stops at the first unknown key or wrong type, and an
//! administrator who mends a file mistake by mistake, restart by restart, is badly served. Here the tree
//! is walked with its spans, unknown keys are looked up in [`keys`], and all mistakes are collected.
//!
//! Values are repeated in messages by callers only, who know that theirs is no secret.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::doc::Doc;
use super::keys::{self, Keys};

/// One table of the file.
pub struct Table<'a, 'd> {
    doc: &'d Doc<'a>,
    entries: &'d DeTable<'a>,
    keys: &'static Keys,
    /// For people, without the key: `profile "journal" → imap`; empty at the top.
    path: String,
    line: usize,
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Found<T> {
    pub value: T,
    pub line: usize,
}

impl<'a, 'd> Table<'a, 'd> {
    pub fn top(doc: &'d Doc<'a>, tree: &'d Spanned<DeTable<'a>>) -> Table<'a, 'd> {
        let table = Table { doc, entries: tree.get_ref(), keys: &keys::TOP, path: String::new(), line: 1 };
        table.check_keys();
        table
    }

    pub fn doc(&self) -> &'d Doc<'a> {
        self.doc
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn line(&self) -> usize {
        self.line
    }

    /// The path of a key in this table, for people.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{} → {key}", self.path) }
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether this table may have such a key.
    pub fn knows(&self, key: &str) -> bool {
        self.keys.known.contains(&key)
    }

    /// Where a key stands, or its table when it does not.
    pub fn line_of(&self, key: &str) -> usize {
        self.entries.get_key_value(key).map_or(self.line, |(key, _)| self.doc.line_at(&key.span()))
    }

    /// Notes a mistake at a key that is there.
    pub fn wrong(&self, key: &str, what: impl Into<String>, hint: &str) {
        self.doc.error(self.line_of(key), self.path_of(key), what, hint);
    }

    /// Notes that a key is not there, at the line of the table.
    pub fn missing(&self, key: &str, hint: &str) {
        self.doc.error(self.line, self.path_of(key), "is missing", hint);
    }

    pub fn notice(&self, key: &str, text: &str) {
        self.doc.notice(self.line_of(key), &self.path_of(key), text);
    }

    pub fn string(&self, key: &str) -> Option<&'d str> {
        match self.value(key)? {
            DeValue::String(text) => Some(text),
            other => self.mistyped(key, "text in quotes", other, &format!("{key} = \"…\"")),
        }
    }

    /// A string that is there and not empty; `hint` says what belongs there.
    pub fn required(&self, key: &str, hint: &str) -> Option<&'d str> {
        if !self.has(key) {
            self.missing(key, hint);
        }
        self.filled(key, hint)
    }

    /// A string that is not empty, where the key is there at all.
    pub fn filled(&self, key: &str, hint: &str) -> Option<&'d str> {
        let text = self.string(key)?.trim();
        if text.is_empty() {
            self.wrong(key, "is empty", hint);
            return None;
        }
        Some(text)
    }

    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => {
                self.wrong(
                    key,
                    "is text, but true or false is expected",
                    &format!("leave out the quotes: `{key} = {text}`"),
                );
                None
            }
            other => self.mistyped(key, "true or false", other, "without quotes, in lower case"),
        }
    }

    /// A whole number in `range`.
    pub fn integer(&self, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = match self.value(key)? {
            DeValue::Integer(value) => value,
            other => {
                return self.mistyped(
                    key,
                    "a number",
                    other,
                    &format!("without quotes, for example {key} = {}", range.end()),
                );
            }
        };
        match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let hint = format!("write a number from {} to {}, or leave the key out", range.start(), range.end());
                self.wrong(key, format!("{value} is out of bounds"), &hint);
                None
            }
        }
    }

    /// One word out of a closed set.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let names = choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let text = match self.value(key)? {
            DeValue::String(text) => text,
            other => return self.mistyped(key, "text in quotes", other, &format!("it is one of: {names}")),
        };
        let word = text.trim().to_ascii_lowercase();
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*value);
        }
        let hint = match keys::nearest(text, choices.iter().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean \"{near}\"? It is one of: {names}"),
            None => format!("it is one of: {names}"),
        };
        self.wrong(key, format!("{text:?} is not known"), &hint);
        None
    }

    /// A duration or a size, read by one of `base::units`.
    pub fn unit<T>(
        &self,
        key: &str,
        parse: fn(&str) -> Result<T, crate::base::units::BadUnit>,
        example: &str,
    ) -> Option<T> {
        let text = match self.value(key)? {
            DeValue::String(text) => text.to_string(),
            // Let the parser of units say what is wrong with a bare number.
            DeValue::Integer(number) => number.as_str().to_owned(),
            other => return self.mistyped(key, "a number with a unit", other, &format!("{key} = {example}")),
        };
        parse(&text).map_err(|bad| self.wrong(key, bad.what, &bad.hint)).ok()
    }

    /// A list of strings; what is no string in it is noted and left out.
    pub fn strings(&self, key: &str) -> Option<Vec<Found<&'d str>>> {
        let list = match self.value(key)? {
            DeValue::Array(list) => list,
            DeValue::String(text) => {
                self.wrong(key, "is text, but a list is expected", &format!("write `{key} = [{:?}]`", text.as_ref()));
                return None;
            }
            other => return self.mistyped(key, "a list", other, &format!("{key} = [\"…\", \"…\"]")),
        };
        let mut found = Vec::with_capacity(list.len());
        for entry in list.iter() {
            let line = self.doc.line_at(&entry.span());
            match entry.get_ref() {
                DeValue::String(text) => found.push(Found { value: text.as_ref(), line }),
                other => {
                    let what = format!("holds {}, but only text is expected", article(other));
                    self.doc.error(line, self.path_of(key), what, "put it in quotes");
                }
            }
        }
        Some(found)
    }

    /// A table of keys of the administrator's own, each with a string; what is none is noted and left out.
    pub fn pairs(&self, key: &str) -> Vec<(Found<&'d str>, Found<&'d str>)> {
        let entries = match self.value(key) {
            Some(DeValue::Table(entries)) => entries,
            Some(other) => {
                let _: Option<()> = self.mistyped(key, "a table", other, &format!("{key} = {{ \"…\" = \"…\" }}"));
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut pairs = Vec::with_capacity(entries.len());
        for (name, value) in entries.iter() {
            let line = self.doc.line_at(&name.span());
            match value.get_ref() {
                DeValue::String(text) => {
                    pairs.push((Found { value: name.get_ref().as_ref(), line }, Found { value: text.as_ref(), line }))
                }
                other => {
                    let what = format!("holds {}, but only text is expected", article(other));
                    self.doc.error(line, self.path_of(key), what, "put it in quotes");
                }
            }
        }
        pairs
    }

    /// A table within this one; `None` when it is absent or no table (which is noted).
    pub fn table(&self, key: &str, keys: &'static Keys) -> Option<Table<'a, 'd>> {
        match self.value(key)? {
            DeValue::Table(entries) => {
                let table = Table { doc: self.doc, entries, keys, path: self.path_of(key), line: self.line_of(key) };
                table.check_keys();
                Some(table)
            }
            DeValue::Array(_) => {
                let header = keys.table;
                self.wrong(
                    key,
                    "stands here several times, but can stand only once",
                    &format!("write [{header}] in single brackets"),
                );
                None
            }
            other => self.mistyped(key, "a table", other, &format!("write [{}] and its keys below", keys.table)),
        }
    }

    /// A table within this one whose keys are the administrator's own; see [`Table::names`].
    pub fn own_keys(&self, key: &str) -> Option<Table<'a, 'd>> {
        match self.value(key)? {
            DeValue::Table(entries) => {
                let (path, line) = (self.path_of(key), self.line_of(key));
                Some(Table { doc: self.doc, entries, keys: &keys::OWN, path, line })
            }
            other => self.mistyped(key, "a table", other, &format!("{key} = {{ \"…\" = \"…\" }}")),
        }
    }

    /// The keys that are there.
    pub fn names(&self) -> impl Iterator<Item = &'d str> {
        self.entries.keys().map(|key| key.get_ref().as_ref())
    }

    /// Tables in double brackets. Each is called by what stands at `name_key` in it, else by its number.
    pub fn tables(&self, key: &str, keys: &'static Keys, name_key: &str) -> Vec<Table<'a, 'd>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let list = match value {
            DeValue::Array(list) => list,
            DeValue::Table(_) => {
                let header = keys.table;
                self.wrong(key, "is written in single brackets", &format!("there can be several: write [[{header}]]"));
                return Vec::new();
            }
            other => {
                let _: Option<()> =
                    self.mistyped(key, "tables", other, &format!("write [[{}]] and the keys below", keys.table));
                return Vec::new();
            }
        };
        let mut tables = Vec::with_capacity(list.len());
        for (at, entry) in list.iter().enumerate() {
            let line = self.doc.line_at(&entry.span());
            let DeValue::Table(entries) = entry.get_ref() else {
                self.doc.error(
                    line,
                    self.path_of(key),
                    format!("holds {}, but tables are expected", article(entry.get_ref())),
                    "",
                );
                continue;
            };
            let name =
                entries.get(name_key).and_then(|value| value.get_ref().as_str()).filter(|name| !name.trim().is_empty());
            let called = match name {
                Some(name) => format!("{key} {name:?}"),
                None => format!("{key} number {}", at + 1),
            };
            let table = Table { doc: self.doc, entries, keys, path: self.path_of(&called), line };
            table.check_keys();
            tables.push(table);
        }
        tables
    }

    /// The bare value, for keys of several shapes.
    pub fn value(&self, key: &str) -> Option<&'d DeValue<'a>> {
        let is_own = self.keys.known.is_empty();
        debug_assert!(is_own || self.keys.known.contains(&key), "{key} is not in the list of {}", self.keys.table);
        self.entries.get(key).map(Spanned::get_ref)
    }

    pub fn mistyped<T>(&self, key: &str, expected: &str, found: &DeValue<'_>, hint: &str) -> Option<T> {
        self.wrong(key, format!("is {}, but {expected} is expected", article(found)), hint);
        None
    }

    fn check_keys(&self) {
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if self.keys.known.contains(&name) {
                continue;
            }
            let line = self.doc.line_at(&key.span());
            if let Some((_, hint)) = self.keys.later.iter().find(|(later, _)| *later == name) {
                self.doc.error(line, self.path_of(name), "is not available in this version", hint);
                continue;
            }
            let words = self.keys.known.iter().chain(self.keys.later.iter().map(|(name, _)| name));
            let hint = match keys::nearest(name, words.copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.keys.known.join(", ")),
            };
            // What is no plain word may be a secret in the wrong place.
            let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
            match is_word {
                true => self.doc.error(line, self.path_of(name), "unknown key", &hint),
                false => self.doc.error(line, self.path.clone(), "unknown key, which is not repeated here", &hint),
            }
        }
    }
}

/// A URL or host as it may be repeated in a message: what stands before an @ may be a login.
pub fn without_login(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, host)) => format!("{}…@{host}", before.find("://").map_or("", |at| &before[..at + 3])),
        None => text.to_owned(),
    }
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
