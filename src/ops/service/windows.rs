use super::Command;
use crate::ops::exit::{Exit, Failure};
use crate::ops::wiring::Global;

pub fn service(_global: &Global, _command: &Command) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
