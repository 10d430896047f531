//! An embedded IMAP gateway on the loopback interface, with sample journal mail.
//!
//! It serves three uses: the `demo` command (the whole job without any account), tests that need a
//! gateway which misbehaves in an exactly chosen way, and a look by hand with other IMAP clients.
//!
//! It is not a mail server: it listens on 127.0.0.1 only, speaks plaintext, holds all mail in memory and
//! keeps nothing. Nothing but `ops` and tests may import this room, and it prints nothing.
//!
//! | file | holds |
//! |---|---|
//! | [`server`] | [`server::Gateway`]: start, look, change, misbehave, stop |
//! | [`fault`] | what can be made to go wrong |
//! | [`mailbox`] | folders and mails |
//! | `wire`, `syntax` | reading commands, writing responses; arguments and sets |
//! | `session`, `commands`, `fetch` | one connection; what each command does |
//! | [`message`], [`report`] | write mails, and journal reports as Exchange does |
//! | [`random`] | a small seeded generator |
//! | [`samples`], `draft` | a few dozen varied items for the demo |
//! | [`corpus`] | thousands of generated items whose expected filings are known |

mod commands;
pub mod corpus;
mod draft;
pub mod fault;
mod fetch;
pub mod gmail;
pub mod mailbox;
pub mod message;
pub mod random;
pub mod report;
pub mod samples;
pub mod server;
mod session;
mod syntax;
#[cfg(test)]
mod tests;
mod wire;
