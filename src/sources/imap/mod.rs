//! The IMAP source.

pub mod options;
