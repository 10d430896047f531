//! Tests of gatepost from outside its modules.

mod cli_errors;
mod connections;
mod crash_loop;
mod crash_replay;
mod crash_steps;
mod deletion;
mod epochs;
mod fault_io;
mod hostile;
mod imap_dovecot;
mod journal_corpus;
mod kill;
mod mailbox;
mod no_space;
mod policies;
mod readme;
mod recovery;
mod restored;
mod rooms;
mod service;
mod speed;
mod support;
mod union;
mod wire_cut;
