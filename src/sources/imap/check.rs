//! What `check` says about an IMAP gateway. It changes nothing: folders are opened for reading only.

use super::options::ImapOptions;
use crate::sources::Finding;

pub(super) async fn findings(_options: &ImapOptions) -> Vec<Finding> {
    Vec::new()
}
