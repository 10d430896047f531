//! Addresses and what is wrapped around them: forms are few, and each is an address in its normal form.
#![no_main]

use gatepost::base::address::Address;
use gatepost::people::tags;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = tags::legacy(text);
    let Some(address) = Address::parse(text) else { return };
    let forms = tags::candidates(&address, |_| Some("alias.example".into()));
    assert!(forms[0] == address && forms.len() <= 16);
    for form in forms.into_iter().chain(tags::verp(&address)).chain([tags::base(&address)]) {
        assert_eq!(Address::parse(form.as_str()).as_ref(), Some(&form));
    }
});
