//! Tests of gatepost from outside its modules.

mod journal_corpus;
mod rooms;
