//! What others do for the same user and the same claims. One more, `jwt-simple`, is in a workspace of its own.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use pasetors::claims::{Claims as PasetoClaims, ClaimsValidationRules};
use pasetors::keys::SymmetricKey;
use pasetors::token::UntrustedToken;
use pasetors::version4::V4;
use pasetors::{Local, local};
use poem_password_reset::StoredUser;
use serde::Deserialize;

use super::binding::Binding;
use super::tokens::{ann, sub_key};

/// The claims of a reset token, as a program that uses `jsonwebtoken` would write them down.
#[derive(Deserialize)]
#[allow(dead_code, reason = "decode checks all of them")]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
    aud: String,
    bnd: String,
}

/// `jsonwebtoken::decode` and the same binding check.
pub struct JsonWebToken {
    key: DecodingKey,
    validation: Validation,
    binding: Binding,
}

impl JsonWebToken {
    pub fn new() -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&["password-reset"]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        validation.leeway = 0;
        Self { key: DecodingKey::from_secret(&sub_key("signing")), validation, binding: Binding::new() }
    }

    /// Whether the token is good for this user. It is the same token that this library reads.
    // The reason for the ban, that a backend is needed, is what this member exists for.
    #[allow(clippy::disallowed_methods)]
    pub fn check(&self, token: &str, user: &StoredUser) -> bool {
        jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .is_ok_and(|data| data.claims.sub == user.id() && self.binding.is_of(user, &data.claims.bnd))
    }
}

/// PASETO v4.local, which encrypts what it says, and the same binding check.
pub struct Paseto {
    key: SymmetricKey<V4>,
    rules: ClaimsValidationRules,
    binding: Binding,
    token: String,
}

impl Paseto {
    pub fn new() -> Self {
        let key = SymmetricKey::<V4>::from(&sub_key("signing")).unwrap();
        let binding = Binding::new();
        let mut claims = PasetoClaims::new().unwrap();
        claims.subject(ann().id()).unwrap();
        claims.audience("password-reset").unwrap();
        claims.add_additional("bnd", binding.claim(&ann())).unwrap();
        let token = local::encrypt(&key, &claims, None, None).unwrap();
        let mut rules = ClaimsValidationRules::new();
        rules.validate_audience_with("password-reset");
        Self { key, rules, binding, token }
    }

    /// Whether a token that says the same, in its own format, is good for this user.
    pub fn check(&self, user: &StoredUser) -> bool {
        let Ok(token) = UntrustedToken::<Local, V4>::try_from(&self.token) else { return false };
        let Ok(trusted) = local::decrypt(&self.key, &token, &self.rules, None, None) else { return false };
        let claim = |name| trusted.payload_claims()?.get_claim(name)?.as_str();
        claim("sub") == Some(user.id()) && claim("bnd").is_some_and(|bnd| self.binding.is_of(user, bnd))
    }
}
