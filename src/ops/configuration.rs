//! `gatepost config show`: what holds, after defaults and overrides; of secrets only where they are to be had.

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::config::show;

pub fn show(global: &Global, as_json: bool) -> Result<Exit, Failure> {
    let settings = wiring::settings(global)?;
    let tree = show::tree(&settings);
    if as_json {
        output::json(&json!({ "file": settings.file, "notices": settings.notices, "config": tree }))?;
        return Ok(Exit::Ok);
    }
    output::line(&format!("# {}", output::safe(&settings.file.display().to_string())));
    for line in show::text(&tree).lines() {
        output::line(&output::safe(line));
    }
    for notice in &settings.notices {
        output::note(&format!("notice: {}", output::safe(notice)));
    }
    Ok(Exit::Ok)
}
