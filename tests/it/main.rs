//! Tests of gatepost from outside its modules.

mod cli_errors;
mod rooms;
