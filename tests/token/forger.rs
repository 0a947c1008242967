//! An independent implementation of the token format. It holds the master key and shares no code with the library.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use poem_password_reset::{InvalidToken, Refusal, SignedClaims, SigningKey, StoredUser, TokenCodec};
use sha2::Sha256;
use time::OffsetDateTime;

/// The current time in most tests, in seconds since 1970.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$QkxVRS1TQUxU$kz8vWm3xYq0JtL5oRfHn";

pub(crate) fn at(second: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(second).expect("the tests stay within what `time` can represent")
}

pub(crate) fn ann() -> StoredUser {
    StoredUser::new(7, "ann@example.com", Some(HASH.to_owned()))
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key)
        .expect("HMAC takes a key of any length")
        .chain_update(message)
        .finalize()
        .into_bytes()
        .into()
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).expect("issued tokens are base64url")
}

/// The three parts of a token.
pub(crate) fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().expect("a token has three parts")
}

/// The decoded claims of a token.
pub(crate) fn payload(token: &str) -> String {
    String::from_utf8(decode(parts(token)[1])).expect("claims are UTF-8")
}

/// Returns the reason why the token is refused at [`NOW`]. Panics if the token is accepted.
#[track_caller]
pub(crate) fn refusal(codec: &TokenCodec, token: &str) -> Refusal {
    outcome(codec, token).expect_err(token).refusal()
}

pub(crate) fn outcome(codec: &TokenCodec, token: &str) -> Result<SignedClaims, InvalidToken> {
    codec.verify(token, at(NOW))
}

/// Returns a token of these two encoded parts with `HMAC-SHA256(key, header.claims)` as signature.
pub(crate) fn sign_parts(key: &[u8], header: &str, claims: &str) -> String {
    let message = format!("{header}.{claims}");
    let tag = encode(hmac(key, message.as_bytes()));
    format!("{message}.{tag}")
}

/// A holder of the master key, who can sign any content.
pub(crate) struct Forger {
    master: Vec<u8>,
}

impl Forger {
    pub(crate) fn new() -> Self {
        Self { master: (0..32).collect() }
    }

    /// Returns a forger with a different key for each number.
    pub(crate) fn other(number: u32) -> Self {
        Self { master: hmac(b"another master key", &number.to_be_bytes()).to_vec() }
    }

    pub(crate) fn master(&self) -> &[u8] {
        &self.master
    }

    pub(crate) fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.master).expect("the key is long enough")
    }

    pub(crate) fn codec(&self) -> TokenCodec {
        TokenCodec::new(self.key())
    }

    /// Derives the sub-key for `poem-password-reset/v1/{label}`.
    pub(crate) fn sub_key(&self, label: &str) -> [u8; 32] {
        hmac(&self.master, format!("poem-password-reset/v1/{label}").as_bytes())
    }

    pub(crate) fn kid(&self) -> String {
        encode(self.sub_key("key-id"))[..6].to_owned()
    }

    /// The JSON of the only accepted header.
    pub(crate) fn header(&self) -> String {
        format!(r#"{{"typ":"reset+jwt","alg":"HS256","kid":"{}"}}"#, self.kid())
    }

    /// Signs any header and claims with the right key.
    pub(crate) fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        sign_parts(&self.sub_key("signing"), &encode(header), &encode(claims))
    }

    /// Signs any claims under the accepted header.
    pub(crate) fn sign_claims(&self, claims: impl AsRef<[u8]>) -> String {
        self.sign(self.header(), claims)
    }
}

/// `debug` rounds in a debug build, ten times as many in a release build.
pub(crate) fn rounds(debug: usize) -> usize {
    if cfg!(debug_assertions) { debug } else { debug * 10 }
}
