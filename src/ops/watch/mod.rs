//! Watched from outside: alarms go out, a heartbeat is called, metrics and health are served, a report is mailed.

pub mod snapshot;
