//! base64url as a JWT has it (RFC 4648, section 5; RFC 7515, section 2): no padding, one spelling for each value.
//!
//! A decoder of our own, because a token is three short texts: for these, what a general engine does before and after its
//! loop takes as long as the loop. Encoding, which happens once a token, is left to the `base64` crate.

/// A bit that no letter sets, and everything else does.
const FAULT: u32 = 1 << 31;

/// The value of each letter, shifted to each of the four places that it can have in three bytes.
static VALUES: [[u32; 256]; 4] = [values(18), values(12), values(6), values(0)];

const fn values(shift: u32) -> [u32; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut values = [FAULT; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = (value as u32) << shift;
        value += 1;
    }
    values
}

/// How many bytes a text of so many letters stands for.
pub(super) const fn decoded_len(letters: usize) -> usize {
    letters / 4 * 3 + letters % 4 * 3 / 4
}

/// Decodes `text` into `room`, which has to be of the length that it decodes to. `None` if it is of another length, or if
/// `text` is not the one spelling of what it stands for: a letter of another alphabet, padding, stray bits at the end.
// Always: where the length is known, as that of a tag is, it takes a third less.
#[inline(always)]
pub(super) fn decode(text: &[u8], room: &mut [u8]) -> Option<()> {
    let (groups, rest) = text.as_chunks::<8>();
    if rest.len() % 4 == 1 || room.len() != decoded_len(text.len()) {
        return None;
    }
    let (whole, last) = room.split_at_mut(groups.len() * 6);
    let mut faults = 0;
    for (letters, bytes) in groups.iter().zip(whole.as_chunks_mut::<6>().0) {
        let (value, fault) = group(letters);
        faults |= fault;
        bytes.copy_from_slice(&value.to_be_bytes()[2..]);
    }
    // The letter that stands for zero fills up what is missing: what was not sent, sets no bit.
    if rest.is_empty() {
        return (faults & FAULT == 0).then_some(());
    }
    let mut letters = [b'A'; 8];
    letters[..rest.len()].copy_from_slice(rest);
    let (value, fault) = group(&letters);
    faults |= fault;
    let bytes = value.to_be_bytes();
    let (kept, stray) = bytes[2..].split_at(last.len());
    last.copy_from_slice(kept);
    (faults & FAULT == 0 && stray.iter().all(|byte| *byte == 0)).then_some(())
}

/// Decodes a text of so many letters, no more and no fewer.
pub(super) fn decode_exactly<const LETTERS: usize, const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    let text: &[u8; LETTERS] = text.try_into().ok()?;
    let mut room = [0; BYTES];
    decode(text, &mut room).map(|()| room)
}

/// Eight letters: their 48 bits, and whether one of them is no letter.
#[inline]
fn group(letters: &[u8; 8]) -> (u64, u32) {
    let letter = |at: usize| VALUES[at % 4][usize::from(letters[at])];
    let high = letter(0) | letter(1) | letter(2) | letter(3);
    let low = letter(4) | letter(5) | letter(6) | letter(7);
    ((u64::from(high) << 24) + u64::from(low), high | low)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut room = vec![0; decoded_len(text.len())];
        decode(text.as_bytes(), &mut room).map(|()| room)
    }

    /// RFC 4648, section 10, without the padding.
    #[test]
    fn the_vectors_of_the_specification() {
        for (text, bytes) in [
            ("", ""),
            ("Zg", "f"),
            ("Zm8", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()), "{text:?}");
        }
        assert_eq!(decoded("-_-_"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn there_is_one_spelling() {
        for text in [
            "Z", "Zg=", "Zg==", "Zh", "Zm9", "Zm8=", "Zm9vY", "+_-_", "-/-_", "Zm 9", "Zm9v\n", "Zm9vé", "....",
            "\0\0\0\0",
        ] {
            assert_eq!(decoded(text), None, "{text:?}");
        }
        for (one, other) in (0..11).flat_map(|one| (0..11).map(move |other| (one, other))) {
            let mut text = *b"AAAAAAAAAAA";
            (text[one], text[other]) = (b'=', b'=');
            assert_eq!(
                decoded(str::from_utf8(&text).unwrap()),
                None,
                "faults at {one} and {other} do not make up for each other"
            );
        }
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), None, "too little room");
        assert_eq!(decode(b"Zm9v", &mut [0; 4]), None, "too much room");
    }

    /// Every text of up to three letters, of any byte that can stand in a text.
    #[test]
    fn no_short_text_is_read_otherwise_than_by_the_base64_crate() {
        let letters = || (0..=255u8).map(char::from);
        let texts = letters()
            .flat_map(|a| letters().map(move |b| format!("{a}{b}")))
            .chain(letters().map(String::from))
            .chain(letters().map(|c| format!("Zm{c}")))
            .chain(letters().map(|c| format!("Zm9{c}")));
        for text in texts {
            assert_eq!(decoded(&text), BASE64_URL_SAFE_NO_PAD.decode(&text).ok(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_read_otherwise_than_by_the_base64_crate(text in "[A-Za-z0-9_-]{0,300}([A-Za-z0-9_=+/. -]{0,3})?") {
            prop_assert_eq!(decoded(&text), BASE64_URL_SAFE_NO_PAD.decode(&text).ok());
        }

        #[test]
        fn what_was_encoded_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(decoded(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)), Some(bytes));
        }
    }
}
