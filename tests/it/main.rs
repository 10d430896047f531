//! Tests of gatepost from outside its modules.

mod cli_errors;
mod crash_loop;
mod crash_replay;
mod crash_steps;
mod epochs;
mod fault_io;
mod imap_dovecot;
mod journal_corpus;
mod kill;
mod recovery;
mod rooms;
mod support;
mod wire_cut;
