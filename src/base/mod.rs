//! What every other room stands on: no room of the flow is imported from here.

pub mod address;
pub mod backoff;
pub mod bytes;
pub mod clock;
pub mod credential;
pub mod digest;
pub mod fsio;
pub mod owner;
pub mod process;
pub mod secret;
pub mod units;
pub mod vault;
