//! The binding check of this library, for peers, which have none.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Mac as _;
use poem_password_reset::StoredUser;

use super::tokens::{KeyedMac, fields, mac, sub_key};

/// What a token is bound with.
pub struct Binding(KeyedMac);

impl Binding {
    pub fn new() -> Self {
        Self(mac(&sub_key("binding")))
    }

    /// The claim `bnd` of a user.
    pub fn claim(&self, user: &StoredUser) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.of(user).finalize().into_bytes()[..16])
    }

    /// Whether the claim is that of this user: in constant time, as here.
    pub fn is_of(&self, user: &StoredUser, bnd: &str) -> bool {
        let bnd = BASE64_URL_SAFE_NO_PAD.decode(bnd).unwrap_or_default();
        bnd.len() == 16 && self.of(user).verify_truncated_left(&bnd).is_ok()
    }

    fn of(&self, user: &StoredUser) -> KeyedMac {
        let mut mac = self.0.clone();
        for field in fields(user) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac
    }
}
