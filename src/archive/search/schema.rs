//! What the index holds of a message: one document, of which nothing but numbers can be read back.

use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{Index, IndexSettings};

use super::words;

/// Changes with the fields or with what goes into them.
const VERSION: u32 = 1;

/// An index of another version is built anew.
pub fn version() -> String {
    format!("{VERSION}.{}", words::VERSION)
}

const TOKENIZER: &str = "words";

#[derive(Clone, Debug)]
pub struct Fields {
    /// The message's number; the document's key.
    pub message: Field,
    /// Every item of the message.
    pub item: Field,
    /// Seconds; absent when the message has no date.
    pub date: Field,
    pub size: Field,
    /// 1 when something hangs on it.
    pub attached: Field,
    /// With its angle brackets, in lower case.
    pub message_id: Field,
    pub subject: Field,
    pub from: Field,
    pub to: Field,
    pub cc: Field,
    /// Recipients that the header does not show to everybody: Bcc, members of lists, forwarded to.
    pub hidden: Field,
    /// The text, and that of attachments.
    pub body: Field,
    /// Names of attachments.
    pub attachment: Field,
}

pub fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let text = TextOptions::default().set_indexing_options(indexing);
    let fields = Fields {
        message: builder.add_u64_field("message", INDEXED | FAST),
        item: builder.add_u64_field("item", INDEXED),
        date: builder.add_i64_field("date", FAST),
        size: builder.add_u64_field("size", FAST),
        attached: builder.add_u64_field("attached", INDEXED),
        message_id: builder.add_text_field("message_id", STRING),
        subject: builder.add_text_field("subject", text.clone()),
        from: builder.add_text_field("from", text.clone()),
        to: builder.add_text_field("to", text.clone()),
        cc: builder.add_text_field("cc", text.clone()),
        hidden: builder.add_text_field("hidden", text.clone()),
        body: builder.add_text_field("body", text.clone()),
        attachment: builder.add_text_field("attachment", text),
    };
    (builder.build(), fields)
}

pub fn settings() -> IndexSettings {
    // Nothing is stored, so that there is nothing to compress.
    IndexSettings {
        docstore_compression: tantivy::store::Compressor::None,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    }
}

/// Every way to an index goes through here: without the tokenizer it can be neither written nor asked.
pub fn with_tokenizer(index: Index) -> Index {
    index.tokenizers().register(TOKENIZER, TextAnalyzer::from(words::Words));
    index
}
