//! `gatepost reconcile`: what the gateways hold against what is recorded of it.

use serde_json::json;

use super::exit::{Exit, Failure};
use super::login::{self, Entered};
use super::output;
use super::wiring::{self, Global};
use crate::agent::logins::Asked;
use crate::agent::reconcile;
use crate::archive::Catalogue;
use crate::sources::Source as _;

const SHOWN_MAX: usize = 20;

pub fn reconcile(global: &Global, profile: Option<&str>, as_json: bool) -> Result<Exit, Failure> {
    let all = wiring::settings(global)?;
    let profiles = wiring::chosen(&all, profile)?;
    let catalogue = Catalogue::of(&wiring::layout_of(&all.archive))?;
    let now = jiff::Timestamp::now();
    let mut results = Vec::new();
    let runtime = wiring::runtime()?;
    runtime.block_on(async {
        for settings in profiles {
            let asked = if profile.is_some() { Asked::ByName } else { Asked::BySchedule };
            let (gate, Entered { source, ticket }) = login::enter(&all, settings, asked).await?;
            let mut source = source.read_only();
            let result = reconcile::reconcile(&mut source, &wiring::profile(settings), &catalogue, now).await;
            source.close().await;
            results.push(result.map_err(|error| login::ended(&gate, &ticket, error))?);
        }
        Ok::<(), Failure>(())
    })?;
    let any = results.iter().any(|result| !result.differences.is_empty());
    if as_json {
        output::json(&json!({ "profiles": results }))?;
    } else {
        for result in &results {
            output::line(&format!(
                "{}: {} on the gateway, of these {} archived, {} quarantined, {} unfetchable, {} excluded; {} are gone",
                result.name,
                output::plural(result.on_gateway, "item", "items"),
                result.archived,
                result.quarantined,
                result.unfetchable,
                result.excluded,
                result.gone
            ));
            for difference in result.differences.iter().take(SHOWN_MAX) {
                let text = format!("    {} {}: {}", difference.folder, difference.native_id, difference.what);
                output::line(&output::safe(&text));
            }
            match result.differences.len() {
                0 => output::line("    no differences"),
                n if n > SHOWN_MAX => output::line(&format!("    … and {} more; --json names all", n - SHOWN_MAX)),
                _ => {}
            }
        }
    }
    Ok(if any { Exit::Attention } else { Exit::Ok })
}
