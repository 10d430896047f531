//! A secret that cannot be printed by accident: no `Display`, no `Serialize`, and a `Debug` that says
//! nothing. The bytes are wiped when it is dropped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

const HIDDEN_BYTES_MIN: usize = 3;
const HIDDEN: &str = "(secret)";

#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The one way to the text; every use is a place to look at when secrets are audited.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Text of a side that was told the secret, without it: some servers repeat in a refusal what they refuse, as it
    /// is, quoted, or within the base64 of a login.
    pub fn hide(&self, text: &str) -> String {
        let plain = self.expose();
        // To hide every `a` would tell more than to hide nothing.
        if plain.len() < HIDDEN_BYTES_MIN || text.is_empty() {
            return text.to_owned();
        }
        let escaped = Zeroizing::new(plain.replace('\\', "\\\\").replace('"', "\\\""));
        let mut told = text.replace(escaped.as_str(), HIDDEN).replace(plain, HIDDEN);
        // What stands before it shifts its base64 by so many bytes; the digits at the edges are of the neighbours, too.
        for before in 0..3 {
            let shifted = Zeroizing::new([&[0; 3][..before], plain.as_bytes()].concat());
            let coded = Zeroizing::new(BASE64.encode(shifted.as_slice()));
            let whole = [0, 2, 3][before]..shifted.len() * 4 / 3;
            if let Some(form) = coded.get(whole).filter(|form| form.len() >= HIDDEN_BYTES_MIN) {
                told = told.replace(form, HIDDEN);
            }
        }
        told
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_repeats_the_login_is_told_without_it() {
        let secret = Secret::new("hunt\\er\"2".into());
        for said in [
            "no such user: hunt\\er\"2".to_owned(),
            "LOGIN \"anna\" \"hunt\\\\er\\\"2\" failed".to_owned(),
            format!("AUTHENTICATE PLAIN {}", BASE64.encode("\0anna\0hunt\\er\"2")),
            format!("Basic {}", BASE64.encode("anna:hunt\\er\"2")),
            format!("{} is wrong", BASE64.encode("hunt\\er\"2")),
            format!("XOAUTH2 {}", BASE64.encode("user=anna\x01auth=Bearer hunt\\er\"2\x01\x01")),
            format!("XOAUTH2 {}", BASE64.encode("user=ann\x01auth=Bearer hunt\\er\"2\x01\x01")),
        ] {
            let told = secret.hide(&said);
            assert!(told.contains("(secret)") && !told.contains("hunt") && !told.contains("aHVudF"), "{told}");
        }
        assert_eq!(secret.hide("wrong password"), "wrong password");
        assert_eq!(Secret::new(String::new()).hide("abc"), "abc");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "(secret)");
    }
}
