//! Reset tokens: issue, verify and bind them. This module works without a store and without a server.
//!
//! A reset token is a JWT (RFC 7519) signed with HMAC-SHA256. It is bound to the user's row at the time of issue: id, email
//! address, password hash, and the state that the application adds with [`bind_also`](StoredUser::bind_also). Nothing is
//! stored. A password change invalidates every outstanding token.
//!
//! ```
//! use poem_password_reset::token::TokenCodec;
//! use poem_password_reset::{SigningKey, StoredUser};
//! use time::{Duration, OffsetDateTime};
//!
//! let codec = TokenCodec::new(SigningKey::generate()?);
//! let ann = || StoredUser::new(7, "ann@example.com", Some("$argon2id$old".to_owned()));
//! let now = OffsetDateTime::now_utc();
//!
//! let token = codec.issue(&ann(), now, Duration::hours(1))?;
//!
//! // A forged or expired token fails here, before any user is looked up.
//! let claims = codec.verify(token.expose(), now)?;
//! assert_eq!(claims.user_id(), "7");
//! let bound = codec.bind(claims, ann())?;
//! assert_eq!(bound.user().email(), "ann@example.com");
//!
//! // The password changed, so the token is no longer valid.
//! let changed = StoredUser::new(7, "ann@example.com", Some("$argon2id$new".to_owned()));
//! assert!(codec.bind(codec.verify(token.expose(), now)?, changed).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The types carry the trust: [`SignedClaims`] come from a token with a valid signature that has not expired, and a
//! [`BoundUser`] has not changed since the token was issued. The time is an argument: this module does not read the clock.
//! Expiry has no leeway.
//!
//! There is no `jti`. Two tokens issued to one user in the same second are equal.

mod base64url;
mod claims;
mod id;
mod jws;
mod kind;

use std::fmt;

use jsonwebtoken::{Algorithm, Header};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

use self::claims::{BINDING_BYTES, Claims};
use self::id::UserId;
#[cfg(feature = "reset")]
pub(crate) use self::id::is_user_id;
use self::jws::JwsKey;
use self::kind::{RESET, TokenKind};
use crate::error::{InvalidToken, IssueError, Refusal};
use crate::secret::{FieldMac, KeyRing, ResetToken, SigningKey};
use crate::user::StoredUser;

/// The default lifetime of a token: one hour.
pub const DEFAULT_LIFETIME: Duration = Duration::HOUR;

/// The longest lifetime of a token: one day (OWASP ASVS 6.5.5). With a longer one, an old mailbox would contain valid links.
pub const MAX_LIFETIME: Duration = Duration::DAY;

/// The maximum time between the clock and a later `iat`: one minute, because the clocks of two instances differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::MINUTE;

/// The maximum length of a user id in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// Issues, verifies and binds reset tokens.
///
/// Creating a codec derives two sub-keys for each key. Keep it and share it.
pub struct TokenCodec {
    kind: &'static TokenKind,
    jws: Vec<JwsKey>,
    bindings: Vec<FieldMac>,
    ids: Vec<String>,
}

impl TokenCodec {
    /// Creates a codec that signs with the current key of the ring and accepts tokens of every key.
    pub fn new(keys: impl Into<KeyRing>) -> Self {
        Self::with_kind(&RESET, &keys.into())
    }

    fn with_kind(kind: &'static TokenKind, ring: &KeyRing) -> Self {
        Self {
            kind,
            jws: ring.keys().iter().map(|key| JwsKey::new(&header(kind, key), key.mac(kind.signing))).collect(),
            bindings: ring.keys().iter().map(|key| key.field_mac(kind.binding)).collect(),
            ids: ring.ids().map(str::to_owned).collect(),
        }
    }

    /// Issues a token to `user`, valid from `now` for `lifetime`, in whole seconds. Uses no random numbers.
    ///
    /// This method does not check whether the user is active or has a password.
    ///
    /// # Errors
    ///
    /// [`IssueError::Id`] if the id is empty, longer than [`MAX_ID_BYTES`] or contains control characters;
    /// [`IssueError::Lifetime`] if the lifetime is shorter than a second or longer than [`MAX_LIFETIME`].
    pub fn issue(&self, user: &StoredUser, now: OffsetDateTime, lifetime: Duration) -> Result<ResetToken, IssueError> {
        let user_id = UserId::new(user.id()).ok_or(IssueError::Id)?;
        if !self.kind.allows_lifetime(lifetime) {
            return Err(IssueError::Lifetime);
        }
        let iat = now.unix_timestamp();
        let claims = Claims {
            user_id,
            issued_at: iat,
            expires_at: iat + lifetime.whole_seconds(),
            binding: binding(&self.bindings[0], user),
        };
        Ok(ResetToken::new(self.jws[0].seal(&claims.to_json(self.kind.audience))))
    }

    /// Checks everything that does not depend on the user: length, header, signature, then claims and times.
    ///
    /// A forged token costs one HMAC and no allocation; a valid one allocates only for an id of over 38 bytes. A token is expired if
    /// `now` is at or after `exp`, without leeway.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`]. Its [`refusal`](InvalidToken::refusal) is the reason, for the log.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<SignedClaims, InvalidToken> {
        let now = now.unix_timestamp();
        let refused = InvalidToken::new;
        let opened = jws::open(&self.jws, token).map_err(refused)?;
        let claims =
            opened.decoded(|json| Claims::from_json(json, self.kind.audience)).ok_or(refused(Refusal::Claims))?;
        let lifetime = claims.expires_at.checked_sub(claims.issued_at).ok_or(refused(Refusal::Claims))?;
        if !self.kind.allows_lifetime(Duration::seconds(lifetime)) {
            return Err(refused(Refusal::Claims));
        }
        if claims.issued_at > now.saturating_add(MAX_CLOCK_SKEW.whole_seconds()) {
            return Err(refused(Refusal::NotYetIssued));
        }
        if now >= claims.expires_at {
            return Err(refused(Refusal::Expired));
        }
        Ok(SignedClaims { claims, key: opened.key })
    }

    /// Checks that `user` has not changed since the token was issued: same id, address, password hash, and state added by
    /// [`bind_also`](StoredUser::bind_also).
    ///
    /// This method does not check whether the user is active or has a password.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`], always with [`Refusal::Stale`].
    pub fn bind(&self, claims: SignedClaims, user: StoredUser) -> Result<BoundUser, InvalidToken> {
        let stale = InvalidToken::new(Refusal::Stale);
        // Claims verified by another codec can have a key index that does not exist here.
        let key = self.bindings.get(claims.key).ok_or(stale)?;
        // Constant time. A keyed MAC does not need this, but it is cheaper than a proof that it does not. Comparing one integer instead of
        // 16 bytes saves 160 instructions, without which verification would come close to its limit of 1.35 times two HMACs.
        let [expected, claimed] = [binding(key, &user), claims.claims.binding].map(u128::from_ne_bytes);
        if bool::from(expected.ct_eq(&claimed)) { Ok(BoundUser { user }) } else { Err(stale) }
    }
}

impl fmt::Debug for TokenCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCodec").field("keys", &self.ids).finish_non_exhaustive()
    }
}

/// The claims of a token with a valid signature that has not expired. The user is not checked yet.
///
/// Only [`TokenCodec::verify`] creates this type.
#[must_use]
pub struct SignedClaims {
    claims: Claims,
    key: usize,
}

impl SignedClaims {
    /// Returns the id of the user to whom the token was issued.
    pub fn user_id(&self) -> &str {
        self.claims.user_id.as_str()
    }

    /// Returns the time of expiry.
    pub fn expires_at(&self) -> OffsetDateTime {
        // A verified expiry is at most a day after a time that `OffsetDateTime` represents.
        OffsetDateTime::from_unix_timestamp(self.claims.expires_at).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl fmt::Debug for SignedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedClaims")
            .field("user_id", &self.claims.user_id)
            .field("expires_at", &self.claims.expires_at)
            .finish_non_exhaustive()
    }
}

/// A user who has not changed since a valid token was issued.
///
/// Only [`TokenCodec::bind`] creates this type, and the library writes a password for a `BoundUser` only.
#[derive(Debug)]
#[must_use]
pub struct BoundUser {
    user: StoredUser,
}

impl BoundUser {
    /// Returns the user as passed to [`TokenCodec::bind`].
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Returns the user and drops the proof.
    pub fn into_user(self) -> StoredUser {
        self.user
    }
}

/// Returns the header of a key's tokens: `{"typ":"reset+jwt","alg":"HS256","kid":".."}`.
fn header(kind: &TokenKind, key: &SigningKey) -> Vec<u8> {
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(kind.typ.to_owned());
    header.kid = Some(key.id().to_owned());
    serde_json::to_vec(&header).expect("strings serialize")
}

/// Returns the binding of a user: a MAC over everything that must not change.
fn binding(key: &FieldMac, user: &StoredUser) -> [u8; BINDING_BYTES] {
    let hash = user.password_hash().map(|hash| hash.expose().as_bytes());
    let full = key.of([Some(user.id().as_bytes()), Some(user.email().as_bytes()), hash], user.bound_state());
    let mut binding = [0; BINDING_BYTES];
    binding.copy_from_slice(&full[..BINDING_BYTES]);
    binding
}

/// Returns whether a reset token may be valid for this long: one second to one day.
#[cfg(feature = "reset")]
pub(crate) fn is_lifetime(lifetime: Duration) -> bool {
    RESET.allows_lifetime(lifetime)
}
