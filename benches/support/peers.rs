//! The same verification with other crates. `jwt-simple` is in a workspace of its own.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use pasetors::claims::{Claims as PasetoClaims, ClaimsValidationRules};
use pasetors::keys::SymmetricKey;
use pasetors::token::UntrustedToken;
use pasetors::version4::V4;
use pasetors::{Local, local};
use poem_password_reset::StoredUser;
use serde::Deserialize;

use super::binding::Binding;
use super::tokens::{derived_key, sample_user};

/// Claims of a reset token, as a program that uses `jsonwebtoken` declares them.
#[derive(Deserialize)]
#[allow(dead_code, reason = "`decode` requires all of them")]
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
        Self { key: DecodingKey::from_secret(&derived_key("signing")), validation, binding: Binding::new() }
    }

    /// Returns whether the token is valid for this user. The token is the one that this library reads.
    // The method is banned because it needs a backend. This package has one.
    #[allow(clippy::disallowed_methods)]
    pub fn check(&self, token: &str, user: &StoredUser) -> bool {
        jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .is_ok_and(|data| data.claims.sub == user.id() && self.binding.matches(user, &data.claims.bnd))
    }
}

/// PASETO v4.local, which also encrypts its claims, and the same binding check.
pub struct Paseto {
    key: SymmetricKey<V4>,
    rules: ClaimsValidationRules,
    binding: Binding,
    token: String,
}

impl Paseto {
    pub fn new() -> Self {
        let key = SymmetricKey::<V4>::from(&derived_key("signing")).unwrap();
        let binding = Binding::new();
        let mut claims = PasetoClaims::new().unwrap();
        claims.subject(sample_user().id()).unwrap();
        claims.audience("password-reset").unwrap();
        claims.add_additional("bnd", binding.claim(&sample_user())).unwrap();
        let token = local::encrypt(&key, &claims, None, None).unwrap();
        let mut rules = ClaimsValidationRules::new();
        rules.validate_audience_with("password-reset");
        Self { key, rules, binding, token }
    }

    /// Returns whether a PASETO token with the same claims is valid for this user.
    pub fn check(&self, user: &StoredUser) -> bool {
        let Ok(token) = UntrustedToken::<Local, V4>::try_from(&self.token) else { return false };
        let Ok(trusted) = local::decrypt(&self.key, &token, &self.rules, None, None) else { return false };
        let claim = |name| trusted.payload_claims()?.get_claim(name)?.as_str();
        claim("sub") == Some(user.id()) && claim("bnd").is_some_and(|bnd| self.binding.matches(user, bnd))
    }
}
