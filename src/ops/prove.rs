//! `gatepost verify`, `head`, `rebuild`: proving the archive whole, and making its catalogue anew.

use std::io::IsTerminal as _;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output;
use super::wiring::{self, Global};
use crate::archive::search;
use crate::archive::{Damage, Head, Reader, VerifyOptions, VerifyReport};
use crate::base::fsio::Fs;

/// `N/M`.
pub fn sample(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('/').and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
    match parsed {
        Some((n, of)) if n >= 1 && n <= of => Ok((n, of)),
        _ => Err("a sample is N/M, with N from 1 to M: 3/7 is the third of seven parts".into()),
    }
}

pub fn verify(
    global: &Global,
    expect_head: Option<Head>,
    sample: Option<(u32, u32)>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let layout = wiring::layout(global)?;
    let watched = !as_json && std::io::stderr().is_terminal();
    let mut last = 101;
    let mut progress = |done: u64, total: u64| {
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        if watched && percent != last {
            last = percent;
            output::progress(&format!("verifying: {percent} % of {}", output::bytes(total)));
        }
    };
    let report = crate::archive::verify(&layout, &VerifyOptions { expect_head, sample }, &mut progress)?;
    if watched {
        output::progress("");
    }
    if as_json {
        output::json(&report)?;
    } else {
        print(&report);
    }
    // No part of the archive, and mended without anybody: only told.
    if let Ok(Some(why)) = Reader::open(&layout).and_then(|reader| search::damage(&layout, &reader)) {
        output::note(&format!("the index of `search`: {}; the next run or search builds it anew", output::safe(&why)));
    }
    Ok(if !report.damaged.is_empty() {
        Exit::Damaged
    } else if report.ok {
        Exit::Ok
    } else {
        Exit::Attention
    })
}

fn print(report: &VerifyReport) {
    output::line(&format!(
        "{}, {}, {} in {} commits; {} of mail in {} on disk",
        output::plural(report.items, "item", "items"),
        output::plural(report.messages, "message", "messages"),
        output::plural(report.filings, "filing", "filings"),
        report.commits,
        output::bytes(report.bytes_raw),
        output::bytes(report.bytes_stored)
    ));
    output::line(&format!("head {}", report.head));
    for damage in &report.damaged {
        print_damage(damage);
    }
    if report.unacknowledged > 0 {
        output::line(&format!(
            "{} after the catalogue's last commit; the next run takes them over",
            output::plural(report.unacknowledged, "complete batch stands", "complete batches stand")
        ));
    }
    if let Some(tail) = &report.torn_tail {
        output::line(&format!(
            "pack {:06} ends in {} bytes of an unfinished batch (never acknowledged); the next run sets them aside",
            tail.pack, tail.bytes
        ));
    }
    for difference in &report.catalogue_differences {
        output::line(&format!("catalogue: {}", output::safe(difference)));
    }
    if report.damaged.is_empty() && report.ok {
        output::line("The archive is whole.");
    } else if report.damaged.is_empty() {
        output::note("The packs are whole; the catalogue does not agree with them.");
        output::note("  hint: `gatepost rebuild` makes it anew from the packs; nothing is lost");
    } else {
        output::note("error: the archive is DAMAGED. Nothing was changed.");
        output::note(
            "  hint: stop collecting, restore the named packs from a backup, run `gatepost verify` again; do not rebuild",
        );
    }
}

fn print_damage(damage: &Damage) {
    let place = format!("pack {:06} at byte {}: {}", damage.pack, damage.offset, damage.what);
    output::line(&format!("{} {}", output::state("DAMAGED"), output::safe(&place)));
    for item in &damage.items {
        output::line(&output::safe(&format!("    touches {item}")));
    }
}

pub fn head(global: &Global, as_json: bool) -> Result<Exit, Failure> {
    let head = Reader::open(&wiring::layout(global)?)?.head()?;
    if as_json {
        output::json(&json!({ "head": head, "seq": head.seq, "hash": head.hash }))?;
    } else {
        output::line(&head.to_string());
    }
    Ok(Exit::Ok)
}

pub fn rebuild(global: &Global, accept_loss: bool, as_json: bool) -> Result<Exit, Failure> {
    let layout = wiring::layout(global)?;
    let fs = Fs::from_environment().map_err(Failure::usage)?;
    let report = crate::archive::rebuild(&layout, &fs, accept_loss, &wiring::holder("rebuild"))?;
    if as_json {
        output::json(&report)?;
    } else {
        output::line(&format!(
            "the catalogue was made anew: {} from {} and {} commits",
            output::plural(report.items, "item", "items"),
            output::plural(report.packs, "pack", "packs"),
            report.commits
        ));
        output::line(&format!("head {}", report.head));
        if let Some(path) = &report.moved_aside {
            output::line(&format!("the old catalogue, which could not be read, was moved to {}", path.display()));
        }
        for damage in &report.lost {
            print_damage(damage);
        }
    }
    Ok(if report.lost.is_empty() { Exit::Ok } else { Exit::Attention })
}
