//! Tests of gatepost from outside its modules.

mod imap_dovecot;
mod support;
