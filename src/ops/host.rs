//! The service manager that started the agent, if one did: it wants to know when the agent is ready, that it is alive, and
//! when it stops.

use std::time::Duration;

pub trait Host: Send + Sync {
    /// The archive is open and the profiles are on their way.
    fn ready(&self);

    /// A new configuration is being read; [`Host::ready`] follows.
    fn reloading(&self) {}

    /// One line for whoever asks the service manager how it is.
    fn status(&self, _text: &str) {}

    fn stopping(&self) {}

    /// How often [`Host::alive`] is wanted; `None`: never.
    fn alive_every(&self) -> Option<Duration> {
        None
    }

    /// The agent works: its archive answered.
    fn alive(&self) {}
}

/// Started by hand: there is nobody to tell.
pub struct Nobody;

impl Host for Nobody {
    fn ready(&self) {}
}
