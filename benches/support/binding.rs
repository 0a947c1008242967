//! The binding check of this library, for other crates, which have none.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Mac as _;
use poem_password_reset::StoredUser;

use super::tokens::{KeyedMac, bound_fields, derived_key, mac};

/// Binds a token to a user.
pub struct Binding(KeyedMac);

impl Binding {
    pub fn new() -> Self {
        Self(mac(&derived_key("binding")))
    }

    /// Returns the claim `bnd` for a user.
    pub fn claim(&self, user: &StoredUser) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.mac_of(user).finalize().into_bytes()[..16])
    }

    /// Returns whether the claim matches the user, in constant time as the library does.
    pub fn matches(&self, user: &StoredUser, bnd: &str) -> bool {
        let bnd = BASE64_URL_SAFE_NO_PAD.decode(bnd).unwrap_or_default();
        bnd.len() == 16 && self.mac_of(user).verify_truncated_left(&bnd).is_ok()
    }

    fn mac_of(&self, user: &StoredUser) -> KeyedMac {
        let mut mac = self.0.clone();
        for field in bound_fields(user) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac
    }
}
