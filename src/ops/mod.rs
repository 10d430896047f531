//! The host's side: the only room that wires, prints and knows exit codes.

pub mod cli;
