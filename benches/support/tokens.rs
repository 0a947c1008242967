//! A user, tokens, and the HMACs that a verification cannot avoid.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use poem_password_reset::{KeyRing, PasswordHash, SigningKey, StoredUser, TokenCodec};
use sha2::Sha256;
use time::{Duration, OffsetDateTime};

pub const MASTER_KEY: &[u8] = b"a master key of the benches, which is long enough";

/// A typical user: a numeric id, an address, and an Argon2id hash in PHC format.
pub fn sample_user() -> StoredUser {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$mF2pGgYqvZJ0Zb1cVmC7oA$Cw9nJ3T0YbqQdP1m6XkzR8sHf4uVvLxEa2tN5oGiUyM";
    StoredUser::new(4711, "ann@example.com", Some(hash.to_owned()))
}

/// A codec with a ring of so many keys. The last one is [`MASTER_KEY`].
pub fn codec(keys: usize) -> TokenCodec {
    let mut ring: Option<KeyRing> = None;
    for number in (0..keys).rev() {
        let bytes = if number == 0 { MASTER_KEY.to_vec() } else { [MASTER_KEY, &number.to_be_bytes()].concat() };
        let key = SigningKey::from_bytes(&bytes).unwrap();
        ring = Some(match ring {
            None => KeyRing::new(key),
            Some(ring) => ring.previous(key).unwrap(),
        });
    }
    TokenCodec::new(ring.expect("a ring has at least one key"))
}

/// Tokens of the sample user, signed with [`MASTER_KEY`], and strings that are not tokens.
pub struct Tokens {
    pub now: OffsetDateTime,
    pub valid: String,
    /// The valid token with another signature.
    pub forged: String,
    pub expired: String,
    /// 1,024 bytes, the maximum length of a token.
    pub long: String,
    /// 1,025 bytes.
    pub too_long: String,
    pub short: String,
    /// The header of a token, then letters.
    pub garbage: String,
}

impl Tokens {
    pub fn new() -> Self {
        // The current time, because the other crates read the clock themselves.
        let now = OffsetDateTime::now_utc();
        let issue = |at| codec(1).issue(&sample_user(), at, Duration::HOUR).unwrap().expose().to_owned();
        let valid = issue(now);
        let (header, _) = valid.split_once('.').unwrap();
        let (message, signature) = valid.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        Self {
            now,
            forged: format!("{message}.{other}{}", &signature[1..]),
            expired: issue(now - Duration::hours(2)),
            long: "x".repeat(1_024),
            too_long: "x".repeat(1_025),
            short: "x".to_owned(),
            garbage: format!("{header}.{}.{}", "Z".repeat(160), "Q".repeat(43)),
            valid,
        }
    }
}

/// Verifies and binds a token. Returns the user for the next call, so that no measurement includes a clone.
pub fn verify_and_bind(codec: &TokenCodec, token: &str, user: StoredUser, now: OffsetDateTime) -> StoredUser {
    codec.bind(codec.verify(token, now).unwrap(), user).unwrap().into_user()
}

/// HMAC-SHA256 with its key set up.
pub type KeyedMac = Hmac<Sha256>;

pub fn mac(key: &[u8]) -> KeyedMac {
    KeyedMac::new_from_slice(key).unwrap()
}

/// Derives a key from [`MASTER_KEY`] as the library does.
pub fn derived_key(label: &str) -> [u8; 32] {
    let label = format!("poem-password-reset/v1/{label}");
    mac(MASTER_KEY).chain_update(label).finalize().into_bytes().into()
}

/// The HMACs of a verification alone, over the same bytes.
pub struct Hmacs {
    signing: KeyedMac,
    binding: KeyedMac,
    signed: Vec<u8>,
    bound: Vec<u8>,
}

impl Hmacs {
    pub fn new(token: &str) -> Self {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let user = sample_user();
        let fields = bound_fields(&user);
        let bound = fields.iter().flat_map(|field| [&(field.len() as u64).to_be_bytes(), *field].concat()).collect();
        let hmacs = Self {
            signing: mac(&derived_key("signing")),
            binding: mac(&derived_key("binding")),
            signed: signed.as_bytes().to_vec(),
            bound,
        };
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(hmacs.sign()), signature, "the HMAC covers the bytes of the token");
        hmacs
    }

    /// Includes the header, which is the same in all tokens of a key, in the state of the key, as the library does.
    pub fn with_header_state(token: &str) -> Self {
        let Self { signing, binding, signed, bound } = Self::new(token);
        let header = signed.iter().position(|byte| *byte == b'.').unwrap() + 1;
        let hmacs = Self {
            signing: signing.clone().chain_update(&signed[..header]),
            binding,
            signed: signed[header..].to_vec(),
            bound,
        };
        assert_eq!(hmacs.sign(), <[u8; 32]>::from(signing.chain_update(&signed).finalize().into_bytes()));
        hmacs
    }

    /// Computes the HMAC of the signature.
    pub fn sign(&self) -> [u8; 32] {
        self.signing.clone().chain_update(&self.signed).finalize().into_bytes().into()
    }

    /// Computes the HMACs of the signature and of the binding.
    pub fn sign_and_bind(&self) -> ([u8; 32], [u8; 32]) {
        (self.sign(), self.binding.clone().chain_update(&self.bound).finalize().into_bytes().into())
    }
}

/// The fields of a user that a token is bound to.
pub fn bound_fields(user: &StoredUser) -> [&[u8]; 3] {
    let hash = user.password_hash().map_or("", PasswordHash::expose);
    [user.id().as_bytes(), user.email().as_bytes(), hash.as_bytes()]
}
