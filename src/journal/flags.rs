//! All words that [`super::Decoded::flags`] can hold. They are stored with items and shown to people, so
//! a word is never changed; new ones may come.

/// The report contradicts itself (its Message-ID is not the original's), so it may be forged: it is
/// filed as a plain mail.
pub const UNTRUSTED_REPORT: &str = "untrusted-report";
/// A report whose envelope part cannot be read: filed by the headers of the original, or, when there is
/// more than one original, or one that cannot be cut out of the item, as a plain mail.
pub const UNREADABLE_ENVELOPE: &str = "unreadable-envelope";
/// Marked as a report but without an original in it: filed as a plain mail.
pub const REPORT_WITHOUT_ORIGINAL: &str = "report-without-original";
/// Recognised as a report by its structure, because the marker field was lost on the way.
pub const MARKER_LOST: &str = "marker-lost";
/// The original is rights-protected and the report holds no clear copy.
pub const RIGHTS_PROTECTED: &str = "rights-protected";
/// The report holds a rights-protected message and its clear copy: the clear one is the original.
pub const CLEAR_COPY: &str = "clear-copy";
/// More than one original that is not rights-protected: the first that agrees with the envelope is taken.
pub const SEVERAL_ORIGINALS: &str = "several-originals";
/// The original has an (illegal) transfer encoding, which was decoded.
pub const ENCODED_ORIGINAL: &str = "encoded-original";
/// The original is labelled with a transfer encoding that its bytes do not have.
pub const ENCODING_NOT_APPLIED: &str = "encoding-not-applied";
/// The envelope part has fields in the place of the subject's text, where a sender could have put them. They
/// were not believed.
pub const LINE_INJECTION: &str = "line-injection";
/// The envelope part names no recipient.
pub const NO_RECIPIENTS: &str = "no-recipients";
/// A limit of the structure scanner was met; a part of the item is opaque.
pub const LIMITS_MET: &str = "limits-met";
/// A bounce that returned no more than the headers of a journal report: the original is not in this item.
pub const CONTENT_LOST: &str = "content-lost";
/// Both a rights-protected message and its clear copy are there; by policy the protected one is the original.
pub const PROTECTED_COPY: &str = "protected-copy";
/// A draft: nobody has sent it, so it is never filed under Sent.
pub const DRAFT: &str = "draft";
/// The sender is one of ours by name, but the mail came from outside without authentication (found when filing).
pub const UNAUTHENTICATED_SENDER: &str = "unauthenticated-sender";
