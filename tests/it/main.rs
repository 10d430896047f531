//! Tests of gatepost from outside its modules.

mod cli_errors;
mod connections;
mod deletion;
mod epochs;
mod imap_dovecot;
mod journal_corpus;
mod mailbox;
mod no_space;
mod readme;
mod rooms;
mod service;
mod speed;
mod support;
