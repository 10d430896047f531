//! The words of mail that several rooms share, and the reading of its structure.
//!
//! Nothing here does I/O of its own, and nothing believes what a mail says about itself.

pub mod envelope;
pub mod summary;
