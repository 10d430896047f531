//! Any bytes in the place of a record of a pack, of its header, and of a sealed pack's index: an answer, never a panic, and
//! nothing is taken for more than its checksums say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gatepost::archive::read_any(bytes));
