//! (being laid out)
use super::exit::{Exit, Failure};
use super::wiring::Global;
use crate::archive::Head;
pub fn sample(_: &str) -> Result<(u32, u32), String> {
    Err("not yet".into())
}
pub fn verify(_: &Global, _: Option<Head>, _: Option<(u32, u32)>, _: bool) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
pub fn head(_: &Global, _: bool) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
pub fn rebuild(_: &Global, _: bool, _: bool) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
