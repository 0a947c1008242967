//! The compact form of a JSON Web Signature (RFC 7515, section 7.1), HS256 only. Knows nothing of users.
//!
//! Nothing is negotiated: a key has one header, and a token whose header is not that header, byte for byte, is refused
//! before anything of it is decoded. That settles `alg`, `typ`, `kid`, `crit` and whatever else a stranger might write.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::base64url::{decode, decode_exactly, decoded_len};
use crate::error::Refusal;

/// Longer tokens are refused unread: work before the MAC is a gift to an attacker.
pub(crate) const MAX_TOKEN_BYTES: usize = 1024;

/// Bytes of an HMAC-SHA256.
const TAG_BYTES: usize = 32;

/// How many letters of base64url that makes.
const TAG_LETTERS: usize = 43;

/// How many bytes of claims are decoded without an allocation: enough for every id that needs no escapes.
const USUAL_CLAIMS_BYTES: usize = 256;

/// A key in the form that work is done with: its one header, encoded, and its MAC, which has seen the header already.
pub(crate) struct JwsKey {
    /// With the dot that ends it.
    header: String,
    /// Its end, where the headers of two keys differ: so a ring of many is searched without comparing what is the same in
    /// all.
    end: Option<[u8; 8]>,
    /// Every token of this key begins with the same 65 bytes: a whole block of SHA-256 that is computed once.
    mac: Hmac<Sha256>,
}

impl JwsKey {
    /// `header` is the JSON of the JOSE header.
    pub(crate) fn new(header: &[u8], mac: Hmac<Sha256>) -> Self {
        let header = BASE64_URL_SAFE_NO_PAD.encode(header) + ".";
        let (mac, end) = (mac.chain_update(&header), header.as_bytes().last_chunk().copied());
        Self { header, end, mac }
    }

    /// What follows the header, if the token has that of this key.
    fn after_header<'t>(&self, token: &'t str) -> Option<&'t str> {
        let (header, rest) = token.split_at_checked(self.header.len())?;
        (header.as_bytes().last_chunk() == self.end.as_ref() && header == self.header).then_some(rest)
    }

    /// Signs `claims`.
    pub(crate) fn seal(&self, claims: &[u8]) -> String {
        let mut token = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + TAG_BYTES * 4 / 3 + 8);
        token.push_str(&self.header);
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let tag = self.mac.clone().chain_update(&token[self.header.len()..]).finalize().into_bytes();
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(tag, &mut token);
        token
    }
}

/// What was signed, and with which key.
#[derive(Debug)]
pub(crate) struct Opened<'t> {
    /// The position of the key among those that were offered.
    pub(crate) key: usize,
    /// The claims, still encoded.
    claims: &'t str,
}

impl Opened<'_> {
    /// What `read` makes of the decoded claims. `None` unless they are in the one spelling without padding and stray bits
    /// (RFC 4648, sections 3.2 and 3.5; RFC 7515, section 2).
    #[inline]
    pub(crate) fn decoded<T>(&self, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let (mut short, mut long) = ([0; USUAL_CLAIMS_BYTES], Vec::new());
        let length = decoded_len(self.claims.len());
        let room = match short.get_mut(..length) {
            Some(room) => room,
            None => {
                long.resize(length, 0);
                &mut long
            }
        };
        decode(self.claims.as_bytes(), room)?;
        read(room)
    }
}

/// Checks length, header and MAC, in that order, without an allocation. Nothing is decoded but the tag.
pub(crate) fn open<'t>(keys: &[JwsKey], token: &'t str) -> Result<Opened<'t>, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::TooLong);
    }
    let found = keys.iter().enumerate().find_map(|(key, known)| Some((key, known.after_header(token)?)));
    let Some((key, rest)) = found else {
        return Err(if token.matches('.').count() < 2 { Refusal::Malformed } else { Refusal::Header });
    };
    let no_tag = || if rest.contains('.') { Refusal::Signature } else { Refusal::Malformed };
    let (claims, tag) = split_tag(rest).ok_or_else(no_tag)?;
    let tag_bytes = decode_exactly::<TAG_LETTERS, TAG_BYTES>(tag.as_bytes()).ok_or(Refusal::Signature)?;
    // Constant time: how many leading bytes are right must not show in how long this takes.
    keys[key].mac.clone().chain_update(claims).verify_slice(&tag_bytes).map_err(|_| Refusal::Signature)?;
    Ok(Opened { key, claims })
}

/// What is before and after the last dot, if a tag may follow it: a tag has one length, and no search is needed. A dot in
/// the tag is no letter, and decoding refuses it.
fn split_tag(rest: &str) -> Option<(&str, &str)> {
    let (claims, dot_and_tag) = rest.split_at_checked(rest.len().checked_sub(1 + TAG_LETTERS)?)?;
    Some((claims, dot_and_tag.strip_prefix('.')?))
}

#[cfg(test)]
mod tests {
    use hmac::KeyInit;

    use super::*;

    /// RFC 7515, appendix A.1: header, payload and key are those of the specification, so must the token be.
    #[test]
    fn rfc_7515_appendix_a_1() {
        const HEADER: &[u8] = b"{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}";
        const CLAIMS: &[u8] = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
            dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

        let key = BASE64_URL_SAFE_NO_PAD.decode(KEY).unwrap();
        let keys = [JwsKey::new(HEADER, Hmac::new_from_slice(&key).unwrap())];
        assert_eq!(keys[0].seal(CLAIMS), TOKEN);
        assert_eq!(open(&keys, TOKEN).unwrap().decoded(|claims| Some(claims.to_vec())).as_deref(), Some(CLAIMS));
    }

    /// Every vector of Wycheproof for HMAC-SHA256 whose tag is not cut, at the layer of MAC and base64: the tag is
    /// accepted if and only if the vector says so.
    #[test]
    fn wycheproof_hmac_sha256() {
        use wycheproof::TestResult;
        use wycheproof::mac::{TestName, TestSet};

        let set = TestSet::load(TestName::HmacSha256).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for group in set.test_groups.iter().filter(|group| group.tag_size == 256) {
            for vector in &group.tests {
                let mac = Hmac::<Sha256>::new_from_slice(&vector.key).unwrap().chain_update(&*vector.msg);
                let accepted = mac.verify_slice(&vector.tag).is_ok();
                match vector.result {
                    TestResult::Valid | TestResult::Acceptable => {
                        assert!(accepted, "vector {}: {}", vector.tc_id, vector.comment);
                        valid += 1;
                    }
                    TestResult::Invalid => {
                        assert!(!accepted, "vector {}: {}", vector.tc_id, vector.comment);
                        invalid += 1;
                    }
                }
            }
        }
        assert!(valid > 20 && invalid > 20, "{valid} valid and {invalid} invalid vectors were met");
    }

    #[test]
    fn a_key_is_known_by_the_whole_of_its_header() {
        let headers = [br#"{"kid":"1","typ":"a"}"#, br#"{"kid":"2","typ":"a"}"#, br#"{"kid":"1","typ":"b"}"#];
        let keys = headers.map(|header| JwsKey::new(header, Hmac::new_from_slice(header).unwrap()));
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(open(&keys, &key.seal(b"{}")).unwrap().key, number);
        }
    }

    #[test]
    fn what_is_not_three_parts_is_malformed() {
        let keys = [JwsKey::new(b"{}", Hmac::new_from_slice(b"k").unwrap())];
        for (token, refusal) in [
            ("", Refusal::Malformed),
            ("e30", Refusal::Malformed),
            ("e30.e30", Refusal::Malformed),
            (".", Refusal::Malformed),
            ("..", Refusal::Header),
            ("e30..", Refusal::Signature),
            ("e30.e30.", Refusal::Signature),
            ("e30.e30.AAAA", Refusal::Signature),
            ("e3A.e30.AAAA", Refusal::Header),
        ] {
            assert_eq!(open(&keys, token).unwrap_err(), refusal, "{token:?}");
        }
        let sealed = keys[0].seal(b"{}");
        assert!(open(&keys, &sealed).is_ok());
        assert_eq!(open(&keys, &format!("{sealed}.")).unwrap_err(), Refusal::Signature);
        assert_eq!(open(&keys, &format!(".{sealed}")).unwrap_err(), Refusal::Header);
        let too_long = "e30.".to_owned() + &"A".repeat(MAX_TOKEN_BYTES);
        assert_eq!(open(&keys, &too_long).unwrap_err(), Refusal::TooLong);
    }
}
