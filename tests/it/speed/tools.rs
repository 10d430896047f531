//! Processes with what they cost, and numbers of several rounds.

use std::path::Path;
use std::process::Child;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::agent::{Said, wait_with_peak};

/// What one process took.
pub struct Cost {
    pub seconds: f64,
    /// Of all processors, in user and system mode.
    pub cpu_seconds: f64,
    pub peak_mib: f64,
    pub said: Said,
}

/// Waits for a process that was just started.
pub fn cost(start: impl FnOnce() -> Child) -> Cost {
    let before = cpu_of_children();
    let began = Instant::now();
    let (said, peak) = wait_with_peak(start());
    let seconds = began.elapsed().as_secs_f64();
    Cost { seconds, cpu_seconds: cpu_of_children() - before, peak_mib: peak as f64 / 1024.0, said }
}

/// Of all children that ended and were waited for: proc_pid_stat(5), `cutime` and `cstime`, in ticks of 10 ms.
fn cpu_of_children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name in brackets may hold blanks.
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks = after.split_whitespace().skip(13).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}

/// One number of each round.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// Median, least and most.
    pub fn json(&self) -> Value {
        json!({ "median": self.median(), "min": self.least(), "max": self.most(), "rounds": self.0 })
    }
}

/// Where the numbers go, when the caller wants them.
pub fn write_json(numbers: &Value) {
    if let Some(path) = std::env::var_os("GATEPOST_BENCH_JSON") {
        std::fs::write(&path, serde_json::to_string_pretty(numbers).unwrap()).unwrap();
        eprintln!("written: {}", Path::new(&path).display());
    }
}

/// A number that the caller may set.
pub fn set(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
