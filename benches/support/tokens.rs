//! One user, her tokens, and the least that a program has to do for one.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use poem_password_reset::{KeyRing, PasswordHash, SigningKey, StoredUser, TokenCodec};
use sha2::Sha256;
use time::{Duration, OffsetDateTime};

/// What all keys here are made of.
pub const MASTER: &[u8] = b"a master key of the benches, which is long enough";

/// A user as most are: a number, an address, an Argon2id hash in the form of PHC.
pub fn ann() -> StoredUser {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$mF2pGgYqvZJ0Zb1cVmC7oA$Cw9nJ3T0YbqQdP1m6XkzR8sHf4uVvLxEa2tN5oGiUyM";
    StoredUser::new(4711, "ann@example.com", Some(hash.to_owned()))
}

/// A codec whose ring holds so many keys. The tokens that everybody reads here are those of the last one.
pub fn codec(keys: usize) -> TokenCodec {
    let key = |number: usize| SigningKey::from_bytes(&[MASTER, &number.to_be_bytes()].concat()).unwrap();
    let mut ring = KeyRing::new(if keys > 1 { key(1) } else { SigningKey::from_bytes(MASTER).unwrap() });
    for number in 2..keys {
        ring = ring.previous(key(number)).unwrap();
    }
    if keys > 1 {
        ring = ring.previous(SigningKey::from_bytes(MASTER).unwrap()).unwrap();
    }
    TokenCodec::new(ring)
}

/// Tokens of Ann's, good and bad.
pub struct Tokens {
    pub now: OffsetDateTime,
    pub good: String,
    /// The good one with another tag.
    pub forged: String,
    pub expired: String,
    /// As long as a token may be, and one byte longer; nothing that is one.
    pub long: String,
    pub too_long: String,
    pub short: String,
    /// The right header, and then letters.
    pub garbage: String,
}

impl Tokens {
    pub fn new() -> Self {
        // The peers read the clock themselves.
        let now = OffsetDateTime::now_utc();
        let token = |from| codec(1).issue(&ann(), from, Duration::HOUR).unwrap().expose().to_owned();
        let good = token(now);
        let (header, _) = good.split_once('.').unwrap();
        let (message, tag) = good.rsplit_once('.').unwrap();
        let other = if tag.starts_with('A') { "B" } else { "A" };
        Self {
            now,
            forged: format!("{message}.{other}{}", &tag[1..]),
            expired: token(now - Duration::hours(2)),
            long: "x".repeat(1_024),
            too_long: "x".repeat(1_025),
            short: "x".to_owned(),
            garbage: format!("{header}.{}.{}", "Z".repeat(160), "Q".repeat(43)),
            good,
        }
    }
}

/// Verify and bind, and give the user back: whoever measures it measures no copy of a user.
pub fn verify_and_bind(codec: &TokenCodec, token: &str, user: StoredUser, now: OffsetDateTime) -> StoredUser {
    codec.bind(codec.verify(token, now).unwrap(), user).unwrap().into_user()
}

/// HMAC-SHA256, keyed beforehand.
pub type KeyedMac = Hmac<Sha256>;

pub fn mac(key: &[u8]) -> KeyedMac {
    KeyedMac::new_from_slice(key).unwrap()
}

pub fn sub_key(label: &str) -> [u8; 32] {
    let label = format!("poem-password-reset/v1/{label}");
    mac(MASTER).chain_update(label).finalize().into_bytes().into()
}

/// The least that a program has to do: the MACs alone, of the same bytes.
pub struct Floor {
    signing: KeyedMac,
    binding: KeyedMac,
    signed: Vec<u8>,
    bound: Vec<u8>,
}

impl Floor {
    pub fn new(token: &str) -> Self {
        let (signed, tag) = token.rsplit_once('.').unwrap();
        let user = ann();
        let fields = fields(&user);
        let bound = fields.iter().flat_map(|field| [&(field.len() as u64).to_be_bytes(), *field].concat()).collect();
        let floor = Self {
            signing: mac(&sub_key("signing")),
            binding: mac(&sub_key("binding")),
            signed: signed.as_bytes().to_vec(),
            bound,
        };
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(floor.sign()), tag, "the floor stands for the very same bytes");
        floor
    }

    /// The same for who has computed beforehand what the header, the same in all tokens of a key, does to the MAC.
    pub fn behind_the_header(token: &str) -> Self {
        let Self { signing, binding, signed, bound } = Self::new(token);
        let header = signed.iter().position(|byte| *byte == b'.').unwrap() + 1;
        let floor = Self {
            signing: signing.clone().chain_update(&signed[..header]),
            binding,
            signed: signed[header..].to_vec(),
            bound,
        };
        assert_eq!(floor.sign(), <[u8; 32]>::from(signing.chain_update(&signed).finalize().into_bytes()));
        floor
    }

    /// The MAC of what is signed.
    pub fn sign(&self) -> [u8; 32] {
        self.signing.clone().chain_update(&self.signed).finalize().into_bytes().into()
    }

    /// That, and the MAC of what the token is bound to.
    pub fn sign_and_bind(&self) -> ([u8; 32], [u8; 32]) {
        (self.sign(), self.binding.clone().chain_update(&self.bound).finalize().into_bytes().into())
    }
}

/// What a token is bound to.
pub fn fields(user: &StoredUser) -> [&[u8]; 3] {
    let hash = user.password_hash().map_or("", PasswordHash::expose);
    [user.id().as_bytes(), user.email().as_bytes(), hash.as_bytes()]
}
