//! (being laid out)
use super::cli::FilterArgs;
use super::exit::{Exit, Failure};
use super::wiring::Global;
use std::path::Path;
pub struct ShowArgs {
    pub id: u64,
    pub person: Option<String>,
    pub raw: bool,
    pub item: bool,
    pub envelope: bool,
    pub json: bool,
}
pub fn list(_: &Global, _: FilterArgs, _: bool) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
pub fn show(_: &Global, _: &ShowArgs) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
pub fn export(_: &Global, _: &Path, _: FilterArgs, _: bool, _: bool) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
