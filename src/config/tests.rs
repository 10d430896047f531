//! The configuration as a whole: what is accepted, and every refusal read aloud.

use super::*;

#[test]
fn starts() {}
