//! From text to the words that the index knows, the same way for mails and for queries.
//!
//! A word is a run of letters and digits, in lower case and without diacritics: `Zähler-Nr. 12` is `zahler`, `nr`, `12`.
//! Scripts that put no space between words (Han, Kana, Thai …) and Hangul, whose words grow by their endings, give one
//! word per character; a run of them in a query is a phrase, so that any part of a text is found. Canonical forms do
//! not matter (NFC, NFD, full width). Never fails; time and memory are linear in the text.

use std::borrow::Cow;
use std::str::Chars;

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// The rest of a longer word is not told apart: nobody types it, and encoded data consists of such.
pub const WORD_BYTES_MAX: usize = 64;

/// Changes when the words of a text become other ones: an index of another version is built anew.
pub const VERSION: u32 = 1;

/// The words of a text, in their order.
pub fn words(text: &str) -> Vec<String> {
    let mut reader = Reader::default();
    let mut words = Vec::new();
    let text = composed(text);
    let mut rest = text.chars();
    let mut word = String::new();
    while reader.next(&mut rest, &mut word) {
        words.push(std::mem::take(&mut word));
    }
    words
}

/// The tokenizer of the index.
#[derive(Clone, Default)]
pub struct Words;

impl Tokenizer for Words {
    type TokenStream<'a> = Stream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        Stream { text: composed(text), at: 0, reader: Reader::default(), token: Token::default() }
    }
}

pub struct Stream<'a> {
    text: Cow<'a, str>,
    at: usize,
    reader: Reader,
    token: Token,
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        let mut rest = self.text[self.at..].chars();
        self.token.text.clear();
        let found = self.reader.next(&mut rest, &mut self.token.text);
        self.at = self.text.len() - rest.as_str().len();
        self.token.position = self.token.position.wrapping_add(1);
        found
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

/// Syllables that were taken apart (NFD, as file names of some systems are) are put together again.
fn composed(text: &str) -> Cow<'_, str> {
    let is_part = |c: char| matches!(c, '\u{1100}'..='\u{11ff}');
    if text.is_ascii() || !text.contains(is_part) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

/// Takes word after word off a text.
#[derive(Default)]
struct Reader {
    /// What a character stood for and was not given out yet, the next one last.
    pending: Vec<char>,
}

impl Reader {
    /// Appends the next word to `word`, which is empty; `false` at the end.
    fn next(&mut self, rest: &mut Chars<'_>, word: &mut String) -> bool {
        loop {
            let c = match self.pending.pop() {
                Some(c) => c,
                None => match self.read(rest) {
                    Some(c) => c,
                    None => return !word.is_empty(),
                },
            };
            if is_solo(c) {
                if word.is_empty() {
                    word.push(c);
                } else {
                    self.pending.push(c);
                }
                return true;
            }
            if !c.is_alphanumeric() {
                // Of a mark alone nothing is left; anything else ends a word.
                if !word.is_empty() && !is_combining_mark(c) {
                    return true;
                }
                continue;
            }
            for lower in c.to_lowercase() {
                match plain(lower) {
                    Some(several) => push(word, several),
                    None if is_mark(lower) => {}
                    None => push(word, lower.encode_utf8(&mut [0; 4])),
                }
            }
        }
    }

    /// The next character in its plain form; others that it stands for go to `pending`.
    fn read(&mut self, rest: &mut Chars<'_>) -> Option<char> {
        loop {
            let c = rest.next()?;
            if c.is_ascii() || matches!(c, '\u{ac00}'..='\u{d7a3}') {
                return Some(c);
            }
            decompose_compatible(c, |part| {
                if !is_mark(part) {
                    self.pending.push(part);
                }
            });
            self.pending.reverse();
            if let Some(first) = self.pending.pop() {
                return Some(first);
            }
        }
    }
}

fn push(word: &mut String, piece: &str) {
    if word.len() + piece.len() <= WORD_BYTES_MAX {
        word.push_str(piece);
    }
}

/// Marks that readers and writers leave out: accents, points of Hebrew and Arabic, voicing of Kana.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}'
        | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{3099}'..='\u{309a}'
        | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}

/// Letters of which decomposition makes no plain ones, in lower case.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ı' => "i",
        'þ' => "th",
        'ς' => "σ",
        'ŋ' => "n",
        'ŧ' => "t",
        _ => return None,
    })
}

/// A character that is a word of its own.
fn is_solo(c: char) -> bool {
    matches!(c,
        // Thai, Lao, Myanmar, Khmer.
        '\u{e01}'..='\u{e3a}' | '\u{e40}'..='\u{e4e}' | '\u{e81}'..='\u{ebd}' | '\u{ec0}'..='\u{edf}'
        | '\u{1000}'..='\u{103f}' | '\u{1780}'..='\u{17d3}'
        // Kana, Bopomofo.
        | '\u{3041}'..='\u{3096}' | '\u{309d}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}'
        | '\u{3105}'..='\u{312f}' | '\u{31f0}'..='\u{31ff}'
        // Han.
        | '\u{3005}'..='\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}'
        // Hangul.
        | '\u{ac00}'..='\u{d7a3}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_spelling() {
        for (text, expected) in [
            ("Zähler-Nr. 12", vec!["zahler", "nr", "12"]),
            ("Za\u{308}hler", vec!["zahler"]),
            ("STRASSE Straße", vec!["strasse", "strasse"]),
            ("anna.b@corp.example", vec!["anna", "b", "corp", "example"]),
            ("don't", vec!["don", "t"]),
            ("ﬁnal Ｆｕｌｌ", vec!["final", "full"]),
            ("İstanbul ISTANBUL ısı", vec!["istanbul", "istanbul", "isi"]),
            ("Łódź Ørsted Þór", vec!["lodz", "orsted", "thor"]),
            ("ΣΊΣΥΦΟΣ Σίσυφος", vec!["σισυφοσ", "σισυφοσ"]),
            ("Ёлка", vec!["елка"]),
            ("東京へ行く", vec!["東", "京", "へ", "行", "く"]),
            ("가나 mail나", vec!["가", "나", "mail", "나"]),
            ("\u{1100}\u{1161}", vec!["가"]),
            ("ｶﾞｽ ガス", vec!["カ", "ス", "カ", "ス"]),
            ("ไทย", vec!["ไ", "ท", "ย"]),
            ("soft\u{ad}hyphen zero\u{200b}width", vec!["softhyphen", "zerowidth"]),
            ("x² ½", vec!["x2", "1", "2"]),
            ("שָׁלוֹם שלום", vec!["שלום", "שלום"]),
            ("\u{1b}[31mred\0nul", vec!["31mred", "nul"]),
            ("", vec![]),
            (" -- \u{301}", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_tokenizer_gives_the_same_words_with_their_places() {
        let text = "Grüße aus 東京, \u{1112}\u{1161}\u{11ab}!";
        let mut tokenizer = Words;
        let mut stream = tokenizer.token_stream(text);
        let mut found = Vec::new();
        while stream.advance() {
            assert_eq!(stream.token().position, found.len());
            found.push(stream.token().text.clone());
        }
        assert_eq!(found, words(text));
        assert_eq!(found, ["grusse", "aus", "東", "京", "한"]);
    }

    #[test]
    fn long_words_are_cut_at_a_character() {
        let word = words(&"ä1東".replace('東', "я").repeat(1 << 16));
        assert_eq!(word.len(), 1);
        assert!(word[0].len() <= WORD_BYTES_MAX && word[0].len() > WORD_BYTES_MAX - 4);
        assert!(words(&"\u{fdfa}".repeat(1 << 14)).iter().all(|word| word.len() <= WORD_BYTES_MAX));
    }
}
