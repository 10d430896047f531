//! `gatepost completions` and `gatepost man`: what the shell and the manual know of the command line, made from the
//! command line itself.

use std::path::Path;

use clap_complete::Shell;

use super::cli;
use super::exit::{Exit, Failure};
use super::output;
use super::wiring;

pub fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "gatepost", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    Ok(Exit::Ok)
}

/// The page of the program, or a page of each command into a folder.
pub fn man(dir: Option<&Path>) -> Result<Exit, Failure> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(cli::command()).render(&mut page)?;
        output::line(String::from_utf8_lossy(&page).trim_end());
        return Ok(Exit::Ok);
    };
    let dir = wiring::absolute(dir)?;
    let failed = |error: std::io::Error| {
        Failure::usage(format!("cannot write the pages to {}: {error}", dir.display()))
            .hint("name a folder that may be written to")
    };
    std::fs::create_dir_all(&dir).map_err(failed)?;
    clap_mangen::generate_to(cli::command(), &dir).map_err(failed)?;
    let first = dir.join("gatepost.1");
    output::line(&format!("the pages are in {}; `man -l {}` shows the first", dir.display(), first.display()));
    Ok(Exit::Ok)
}
