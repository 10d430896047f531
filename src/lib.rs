//! gatepost empties a gateway or journal mailbox into per-user mail archives.
//!
//! This page is the architecture. A mail takes one way through the program, and the top folders of
//! `src/` are the stages of that way:
//!
//! ```text
//! sources   list → fetch ─┐  bounded by bytes in flight
//! journal                 ▼  item → envelope + where the original lies in it
//! people,  agent::route   ▼  envelope → filings (person, Inbox or Sent, because …)
//! archive                 ▼  chunks, packs, one durable commit → receipts
//! agent::delete           ▼  a receipt is the only key to deletion on the gateway
//!                            disposition → run report
//! ```
//!
//! | room | holds |
//! |---|---|
//! | [`base`] | addresses, ids, clock, secrets, byte sources, the file-I/O layer (one durable-write routine, fault-injectable) |
//! | [`mail`] | words shared by all (envelope, summary) and the linear MIME offset scanner |
//! | [`net`] | TLS and what it trusts, proxies, logins and tokens, time-outs |
//! | [`text`] | what people read in a mail: words and attachments, for the index and for `show` |
//! | [`sources`] | what can be polled, and the contract each source keeps |
//! | [`journal`] | bytes → envelope + original, one file per format |
//! | [`people`] | who owns which archive, an immutable snapshot per run |
//! | [`archive`] | packs (the truth), catalogue (derived), commit, read, verify, rebuild, export |
//! | [`agent`] | cycle, routing, deletion, run reports |
//! | [`config`] | file → raw → resolved settings, all mistakes reported at once |
//! | [`ops`] | the command line: the only room that wires, prints and knows exit codes |
//! | [`demo`] | an embedded loopback gateway with sample mail; also serves the fault tests |
//!
//! Dependencies point one way: `base, mail, net` → `text` → `sources, journal, people, archive` (which never
//! import each other) → `agent` → `config` → `ops, demo` → `main`. A test reads the source and keeps
//! that order.
//!
//! The promise: **a mail leaves the gateway only after it provably stands in the archive.** How it is
//! kept is written at the top of [`archive`] and of `agent::delete`.

pub mod agent;
pub mod archive;
pub mod base;
pub mod config;
pub mod demo;
pub mod journal;
pub mod mail;
pub mod net;
pub mod ops;
pub mod people;
pub mod sources;
pub mod text;
