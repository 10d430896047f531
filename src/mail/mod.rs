//! The words of mail that several rooms share, and the reading of its structure.
//!
//! Nothing here does I/O of its own, and nothing believes what a mail says about itself.

pub mod canonical;
pub mod content;
pub mod encoded_words;
pub mod envelope;
pub mod header;
pub mod html;
pub mod mime;
pub mod regenerated;
pub mod summary;
pub mod transfer;
pub mod words;
