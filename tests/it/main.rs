//! Tests of gatepost from outside its modules.

mod cli_errors;
mod hostile;
mod imap_dovecot;
mod journal_corpus;
mod readme;
mod rooms;
mod support;
