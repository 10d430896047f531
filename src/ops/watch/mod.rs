//! Watched from outside: alarms go out, a heartbeat is called, metrics and health are served, a report is mailed, a canary
//! flies through the whole chain.
//!
//! Nothing in here holds up the agent, and nothing that fails in here ends it.

pub mod canary;
pub mod command;
pub mod deliver;
pub mod digest;
pub mod digest_text;
pub mod heartbeat;
pub mod http;
pub mod mail;
pub mod metrics;
pub mod queue;
pub mod snapshot;
