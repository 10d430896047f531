//! A model of a disk that lost its power: from recorded file operations to a folder as it may be found
//! afterwards.
//!
//! What was synced is there. Of what was written since, anything may be: whole writes, 512-byte and 4 KiB
//! pieces of them, the new length with zeros in it, or nothing; names that were made, changed or removed
//! since the folder's last sync may or may not be so. After a *failed* sync each write that it was to bring
//! out is decided at once, and no later sync changes that: this is how Linux page caches behave.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gatepost::base::fsio::Op;
use gatepost::demo::random::Random;

#[derive(Clone)]
enum Change {
    Link(OsString, usize),
    Unlink(OsString),
    Rename(OsString, OsString),
}

#[derive(Clone)]
enum Data {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Clone)]
enum Node {
    Folder { durable: BTreeMap<OsString, usize>, seen: BTreeMap<OsString, usize>, pending: Vec<Change> },
    File { durable: Vec<u8>, pending: Vec<Data> },
}

/// How much of what was not synced is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    All,
    /// Each write and name by the dice.
    Some,
    /// Also parts of writes.
    Pieces,
}

#[derive(Clone)]
pub struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
}

fn folder() -> Node {
    Node::Folder { durable: BTreeMap::new(), seen: BTreeMap::new(), pending: Vec::new() }
}

fn change(names: &mut BTreeMap<OsString, usize>, change: &Change) {
    match change {
        Change::Link(name, id) => _ = names.insert(name.clone(), *id),
        Change::Unlink(name) => _ = names.remove(name),
        Change::Rename(from, to) => {
            // When the name itself was lost, there is nothing to be renamed.
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

fn write(content: &mut Vec<u8>, data: &Data) {
    match data {
        Data::Write(offset, bytes) => {
            let (from, to) = (*offset as usize, *offset as usize + bytes.len());
            if content.len() < to {
                content.resize(to, 0);
            }
            content[from..to].copy_from_slice(bytes);
        }
        Data::SetLen(len) => content.resize(*len as usize, 0),
    }
}

/// Brings a write out, or not, or in part.
fn perhaps(content: &mut Vec<u8>, data: &Data, kept: Kept, random: &mut Random) {
    match (kept, data) {
        (Kept::Nothing, _) => {}
        (Kept::All, _) => write(content, data),
        (Kept::Some, _) | (Kept::Pieces, Data::SetLen(_)) => {
            if random.chance(50) {
                write(content, data);
            }
        }
        (Kept::Pieces, Data::Write(offset, bytes)) => {
            // The new length may be there whatever became of the bytes.
            if random.chance(50) && content.len() < *offset as usize + bytes.len() {
                content.resize(*offset as usize + bytes.len(), 0);
            }
            let size = if random.chance(50) { 512 } else { 4096 };
            let percent = [10, 50, 90][random.below(3)];
            let mut at = 0;
            while at < bytes.len() {
                // Sectors lie where the disk has them, not where a write begins.
                let end = bytes.len().min(at + size - (*offset as usize + at) % size);
                if random.chance(percent) {
                    write(content, &Data::Write(offset + at as u64, bytes[at..end].to_vec()));
                }
                at = end;
            }
        }
    }
}

impl Disk {
    /// `root` is there, and empty.
    pub fn new(root: &Path) -> Disk {
        Disk { root: root.to_owned(), nodes: vec![folder()] }
    }

    fn find(&self, path: &Path) -> usize {
        let mut at = 0;
        for name in path.strip_prefix(&self.root).unwrap() {
            let Node::Folder { seen, .. } = &self.nodes[at] else { panic!("{} is a file", path.display()) };
            at = *seen.get(name).unwrap_or_else(|| panic!("{} was never made", path.display()));
        }
        at
    }

    fn name(&mut self, path: &Path, wanted: Change) {
        let at = self.find(path.parent().unwrap());
        let Node::Folder { seen, pending, .. } = &mut self.nodes[at] else { panic!("not a folder") };
        change(seen, &wanted);
        pending.push(wanted);
    }

    fn make(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.name(path, Change::Link(path.file_name().unwrap().into(), id));
    }

    fn data(&mut self, path: &Path, data: Data) {
        let at = self.find(path);
        let Node::File { pending, .. } = &mut self.nodes[at] else { panic!("not a file") };
        pending.push(data);
    }

    /// One recorded operation. `random` decides what a failed sync leaves.
    pub fn done(&mut self, op: &Op, random: &mut Random) {
        match op {
            Op::CreateDir(path) => self.make(path, folder()),
            Op::Create(path) => self.make(path, Node::File { durable: Vec::new(), pending: Vec::new() }),
            Op::Write { path, offset, bytes } => self.data(path, Data::Write(*offset, bytes.clone())),
            Op::SetLen { path, len } => self.data(path, Data::SetLen(*len)),
            Op::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "a rename from one folder to another is not modelled");
                let word = |path: &Path| path.file_name().unwrap().to_owned();
                self.name(from, Change::Rename(word(from), word(to)));
            }
            Op::Remove(path) => self.name(path, Change::Unlink(path.file_name().unwrap().into())),
            Op::Sync(path) => self.sync(path, None),
            // Above the root everything stands.
            Op::SyncDir(path) if !path.starts_with(&self.root) => {}
            Op::SyncDir(path) => {
                let at = self.find(path);
                let Node::Folder { durable, pending, .. } = &mut self.nodes[at] else { panic!("not a folder") };
                pending.drain(..).for_each(|one| change(durable, &one));
            }
            Op::Step(_) => {}
            Op::Failed(op) => {
                if let Op::Sync(path) = &**op {
                    self.sync(path, Some(random));
                }
            }
        }
    }

    fn sync(&mut self, path: &Path, failed: Option<&mut Random>) {
        let at = self.find(path);
        let Node::File { durable, pending } = &mut self.nodes[at] else { panic!("not a file") };
        match failed {
            None => pending.drain(..).for_each(|one| write(durable, &one)),
            Some(random) => pending.drain(..).for_each(|one| perhaps(durable, &one, Kept::Pieces, random)),
        }
    }

    /// The power goes: writes what may be found afterwards to the folder `to`.
    pub fn lose_power(&self, to: &Path, kept: Kept, random: &mut Random) {
        self.found(0, to, kept, random);
    }

    fn found(&self, at: usize, to: &Path, kept: Kept, random: &mut Random) {
        match &self.nodes[at] {
            Node::File { durable, pending } => {
                let mut content = durable.clone();
                pending.iter().for_each(|one| perhaps(&mut content, one, kept, random));
                std::fs::write(to, content).unwrap();
            }
            Node::Folder { durable, pending, .. } => {
                let mut names = durable.clone();
                for one in pending {
                    let is_kept = match kept {
                        Kept::Nothing => false,
                        Kept::All => true,
                        Kept::Some | Kept::Pieces => random.chance(50),
                    };
                    if is_kept {
                        change(&mut names, one);
                    }
                }
                std::fs::create_dir_all(to).unwrap();
                for (name, id) in names {
                    self.found(id, &to.join(name), kept, random);
                }
            }
        }
    }
}
