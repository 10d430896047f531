//! Tests of gatepost from outside its modules.

mod cli_errors;
mod crash_loop;
mod epochs;
mod fault_io;
mod imap_dovecot;
mod journal_corpus;
mod recovery;
mod rooms;
mod support;
mod wire_cut;
