//! The host's side: the only room that wires the others, prints, and knows exit codes.
//!
//! | file | holds |
//! |---|---|
//! | [`cli`] | the command line and where each command goes |
//! | [`exit`] | exit codes, and errors as a person reads them |
//! | `wiring` | configuration → archive, agent, sources |
//! | `once`, `run` | a cycle of every profile; the agent |
//! | `orders`, `control` | what changes something, done by the running agent or with the archive's lock; the way to the agent |
//! | `standing`, `pauses`, `runs` | how the profiles are, as the archive knows it; which are paused; past runs |
//! | `eventlog` | the Windows Event Log: what needs somebody's attention, when gatepost runs as a service |
//! | `host`, `service` | the service manager: what it is told, and how it comes to start gatepost |
//! | `watch` | watched from outside: alarms, heartbeat, metrics, reports |
//! | `login` | the way to the gateways, which knows what was refused before |
//! | `demo` | the whole job on the embedded gateway |
//! | `init` | a dialogue that ends with a configuration which was tried |
//! | `check`, `status`, `explain`, `people`, `reconcile` | looking at the gateway's and the agent's side |
//! | `search`, `indexing` | finding mail, and the index that it is found with, brought up to date beside the agent |
//! | `import` | mail that lies in files already |
//! | `read`, `show`, `prove` | looking at the archive: list; one message; verify, head, rebuild |
//! | `extract_pdf` | the process that reads one PDF |
//! | `export` | taking mail along, a person's record, and whether an export is what it was |
//! | `quarantine`, `refile` | what needs a person; filing anew what is archived |
//! | `configuration` | the settings as they were understood |
//! | `secret` | the sealed store of passwords beside the configuration |
//! | `shell` | completions and manual pages |
//! | `logging` | what is logged, and what never is |
//! | `output` | text that is safe on a terminal, tables, widths and colours, JSON |

mod check;
pub mod cli;
mod configuration;
mod control;
mod demo;
mod directory;
mod eventlog;
pub mod exit;
mod explain;
mod export;
mod extract_pdf;
mod host;
mod import;
mod indexing;
mod init;
pub mod logging;
mod login;
mod once;
mod orders;
mod output;
mod pauses;
mod people;
mod prove;
mod quarantine;
mod read;
mod reconcile;
mod refile;
mod run;
mod runs;
mod search;
mod secret;
mod service;
mod shell;
mod show;
mod standing;
mod status;
pub mod watch;
mod wiring;
