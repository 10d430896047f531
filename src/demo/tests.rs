//! The gateway as clients see it: raw IMAP over a socket, and async-imap.

mod client;
mod faults;
mod protocol;
