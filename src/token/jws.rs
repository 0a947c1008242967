//! The compact form of a JSON Web Signature (RFC 7515, section 7.1), HS256 only.
//!
//! Each key has one header. A token with any other header is rejected before anything is decoded, so `alg`, `typ`, `kid` and
//! `crit` are never interpreted.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::base64url::{decode, decode_exactly, decoded_len};
use crate::error::Refusal;

/// The maximum length of a token in bytes. A longer one is rejected unread, because reading it would cost more than it
/// costs an attacker to send it.
pub(crate) const MAX_TOKEN_BYTES: usize = 1024;

/// The length of an HMAC-SHA256 in bytes.
const TAG_BYTES: usize = 32;

/// The length of an HMAC-SHA256 in base64url.
const TAG_SYMBOLS: usize = 43;

/// The size of the buffer on the stack for decoded claims. It suffices for every id that needs no escapes.
const USUAL_CLAIMS_BYTES: usize = 256;

/// A key ready for use: its encoded header, and an HMAC that has processed the header.
pub(crate) struct JwsKey {
    /// The encoded header with the dot after it.
    header: String,
    /// The last eight bytes of the header, where the headers of two keys differ. With them a ring of 64 keys is searched in
    /// a fifth of the time of a verification; comparing whole headers takes half of it.
    end: Option<[u8; 8]>,
    /// Every token of a key begins with the same 65 bytes. Their SHA-256 block is computed once, here.
    mac: Hmac<Sha256>,
}

impl JwsKey {
    /// Creates a key from the JSON of its JOSE header and its HMAC.
    pub(crate) fn new(header: &[u8], mac: Hmac<Sha256>) -> Self {
        let header = BASE64_URL_SAFE_NO_PAD.encode(header) + ".";
        let (mac, end) = (mac.chain_update(&header), header.as_bytes().last_chunk().copied());
        Self { header, end, mac }
    }

    /// Returns the part after the header if the token has the header of this key.
    fn after_header<'t>(&self, token: &'t str) -> Option<&'t str> {
        let (header, rest) = token.split_at_checked(self.header.len())?;
        (header.as_bytes().last_chunk() == self.end.as_ref() && header == self.header).then_some(rest)
    }

    /// Signs `claims` and returns the token.
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

/// A token whose signature is valid. The claims are not decoded yet.
#[derive(Debug)]
pub(crate) struct Opened<'t> {
    /// The index of the key that signed.
    pub(crate) key: usize,
    /// The encoded claims.
    claims: &'t str,
}

impl Opened<'_> {
    /// Decodes the claims and passes them to `read`. Returns `None` if the encoding is not canonical: padding or non-zero
    /// trailing bits (RFC 4648, sections 3.2 and 3.5; RFC 7515, section 2).
    #[inline]
    pub(crate) fn decoded<T>(&self, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let (mut short, mut long) = ([0; USUAL_CLAIMS_BYTES], Vec::new());
        let length = decoded_len(self.claims.len());
        let buffer = match short.get_mut(..length) {
            Some(buffer) => buffer,
            None => {
                long.resize(length, 0);
                &mut long
            }
        };
        decode(self.claims.as_bytes(), buffer)?;
        read(buffer)
    }
}

/// Checks length, header and signature, in this order, without an allocation. Decodes the signature only.
pub(crate) fn open<'t>(keys: &[JwsKey], token: &'t str) -> Result<Opened<'t>, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::TooLong);
    }
    let found = keys.iter().enumerate().find_map(|(key, known)| Some((key, known.after_header(token)?)));
    let Some((key, rest)) = found else {
        return Err(if token.matches('.').count() < 2 { Refusal::Malformed } else { Refusal::Header });
    };
    let refusal = || if rest.contains('.') { Refusal::Signature } else { Refusal::Malformed };
    let (claims, tag) = split_tag(rest).ok_or_else(refusal)?;
    let tag_bytes = decode_exactly::<TAG_SYMBOLS, TAG_BYTES>(tag.as_bytes()).ok_or(Refusal::Signature)?;
    // Constant time, so that the time does not reveal how many leading bytes are correct.
    keys[key].mac.clone().chain_update(claims).verify_slice(&tag_bytes).map_err(|_| Refusal::Signature)?;
    Ok(Opened { key, claims })
}

/// Splits claims and signature at the dot before the last 43 bytes. A dot within the signature fails when it is decoded.
fn split_tag(rest: &str) -> Option<(&str, &str)> {
    let (claims, dot_and_tag) = rest.split_at_checked(rest.len().checked_sub(1 + TAG_SYMBOLS)?)?;
    Some((claims, dot_and_tag.strip_prefix('.')?))
}

#[cfg(test)]
mod tests {
    use hmac::KeyInit;

    use super::*;

    /// RFC 7515, appendix A.1.
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

    /// Checks every Wycheproof vector for HMAC-SHA256 with a full tag: it is accepted if and only if the vector is valid.
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
        assert!(valid > 20 && invalid > 20, "{valid} valid and {invalid} invalid vectors were checked");
    }

    #[test]
    fn key_is_found_by_its_whole_header() {
        let headers = [br#"{"kid":"1","typ":"a"}"#, br#"{"kid":"2","typ":"a"}"#, br#"{"kid":"1","typ":"b"}"#];
        let keys = headers.map(|header| JwsKey::new(header, Hmac::new_from_slice(header).unwrap()));
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(open(&keys, &key.seal(b"{}")).unwrap().key, number);
        }
    }

    #[test]
    fn token_without_three_parts_is_malformed() {
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
