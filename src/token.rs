//! The reset token: issue it, verify it, bind it to a user. Good on its own, without a store or a server.
//!
//! A reset token is a JWT (RFC 7519) signed with HMAC-SHA256 and bound to what the user's row says at the moment of
//! issue: id, email address, password hash, and whatever the application adds with
//! [`bind_also`](StoredUser::bind_also). Nothing is stored. When the password changes, every outstanding token is dead.
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
//! // No user is looked up for a token that is not ours or has expired.
//! let claims = codec.verify(token.expose(), now)?;
//! assert_eq!(claims.user_id(), "7");
//! let bound = codec.bind(claims, ann())?;
//! assert_eq!(bound.user().email(), "ann@example.com");
//!
//! // The password changed: the token is dead.
//! let changed = StoredUser::new(7, "ann@example.com", Some("$argon2id$new".to_owned()));
//! assert!(codec.bind(codec.verify(token.expose(), now)?, changed).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Trust is in the types: `&str`, then [`SignedClaims`] (ours, and in time), then [`BoundUser`] (and the user is still
//! the one it was issued to). Time is an argument; nothing here reads the clock, and there is no leeway.
//!
//! There is no `jti`: two tokens for one user in one second are equal, and live and die together.

mod base64url;
mod claims;
mod id;
mod jws;

use std::fmt;

use jsonwebtoken::{Algorithm, Header};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

use self::claims::{BINDING_BYTES, Claims};
use self::id::UserId;
use self::jws::JwsKey;
use crate::error::{InvalidToken, IssueError, Refusal};
use crate::secret::{FieldMac, KeyRing, Purpose, ResetToken, SigningKey};
use crate::user::StoredUser;

/// The lifetime of a token if the application does not say otherwise: an hour.
pub const DEFAULT_LIFETIME: Duration = Duration::HOUR;

/// The longest lifetime a token can have: a day (OWASP ASVS 6.5.5; longer makes an old mailbox a set of keys).
pub const MAX_LIFETIME: Duration = Duration::DAY;

/// How far in the future a token may have been issued: the clocks of two instances differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::MINUTE;

/// The most bytes of a user id.
pub const MAX_ID_BYTES: usize = 128;

/// The `typ` of the header: a token of another kind, even one signed with the same key, is not a reset token
/// (RFC 8725, section 3.11).
const TYPE: &str = "reset+jwt";

/// What issues and checks reset tokens: the keys, in the form that work is done with.
///
/// Cheap to use and to share; making one derives two sub-keys for each key.
pub struct TokenCodec {
    jws: Vec<JwsKey>,
    bindings: Vec<FieldMac>,
    ids: Vec<String>,
}

impl TokenCodec {
    /// A codec that issues with the first key of the ring and accepts all of them.
    pub fn new(keys: impl Into<KeyRing>) -> Self {
        let ring = keys.into();
        Self {
            jws: ring.keys().iter().map(|key| JwsKey::new(&header(key), key.mac(Purpose::Signing))).collect(),
            bindings: ring.keys().iter().map(|key| key.field_mac(Purpose::Binding)).collect(),
            ids: ring.ids().map(str::to_owned).collect(),
        }
    }

    /// Issues a token to `user` that is good from `now` for `lifetime`, in whole seconds. Needs no randomness.
    ///
    /// Whether the user may reset the password at all is not asked here.
    ///
    /// # Errors
    ///
    /// [`IssueError::Id`] if the id is empty, over [`MAX_ID_BYTES`] or has control characters; [`IssueError::Lifetime`]
    /// if the lifetime is under a second or over [`MAX_LIFETIME`].
    pub fn issue(&self, user: &StoredUser, now: OffsetDateTime, lifetime: Duration) -> Result<ResetToken, IssueError> {
        let user_id = UserId::new(user.id()).ok_or(IssueError::Id)?;
        if !is_lifetime(lifetime) {
            return Err(IssueError::Lifetime);
        }
        let iat = now.unix_timestamp();
        let claims = Claims {
            user_id,
            issued_at: iat,
            expires_at: iat + lifetime.whole_seconds(),
            binding: binding(&self.bindings[0], user),
        };
        Ok(ResetToken::new(self.jws[0].seal(&claims.to_json())))
    }

    /// Checks all that can be checked without knowing the user: length, header, signature, then claims and time.
    ///
    /// A forged token costs one HMAC and no allocation. `now` at or after `exp` is expired; there is no leeway.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`], whose [`refusal`](InvalidToken::refusal) says why, for the log.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<SignedClaims, InvalidToken> {
        let now = now.unix_timestamp();
        let refused = InvalidToken::because;
        let opened = jws::open(&self.jws, token).map_err(refused)?;
        let claims = opened.decoded(Claims::from_json).ok_or(refused(Refusal::Claims))?;
        let lifetime = claims.expires_at.checked_sub(claims.issued_at).ok_or(refused(Refusal::Claims))?;
        if !is_lifetime(Duration::seconds(lifetime)) {
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

    /// Checks that `user` is still what the token was issued to: same id, address, password, and all that
    /// [`bind_also`](StoredUser::bind_also) added.
    ///
    /// Whether the user may reset the password at all is not asked here.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`], always with [`Refusal::Stale`].
    pub fn bind(&self, claims: SignedClaims, user: StoredUser) -> Result<BoundUser, InvalidToken> {
        let stale = InvalidToken::because(Refusal::Stale);
        // Claims that another codec verified name a key that may not exist here.
        let key = self.bindings.get(claims.key).ok_or(stale)?;
        // Constant time, although the MAC is keyed: no one should have to prove that it need not be.
        // As one number: byte by byte takes as long as a tenth of the MAC.
        let [bound, claimed] = [binding(key, &user), claims.claims.binding].map(u128::from_ne_bytes);
        if bool::from(bound.ct_eq(&claimed)) { Ok(BoundUser { user }) } else { Err(stale) }
    }
}

impl fmt::Debug for TokenCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCodec").field("keys", &self.ids).finish_non_exhaustive()
    }
}

/// What a token that is ours and in time says. Nobody has looked yet whether the user still is what it was issued to.
///
/// Made by [`TokenCodec::verify`] only.
#[must_use]
pub struct SignedClaims {
    claims: Claims,
    key: usize,
}

impl SignedClaims {
    /// The id of the user it was issued to.
    pub fn user_id(&self) -> &str {
        self.claims.user_id.as_str()
    }

    /// When it expires.
    pub fn expires_at(&self) -> OffsetDateTime {
        // A verified expiry is within a day of a clock that `time` can represent.
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

/// A user whom a good token was issued to, and whose bound state is unchanged since.
///
/// Made by [`TokenCodec::bind`] only, and the only thing that the library gives to a password write.
#[derive(Debug)]
#[must_use]
pub struct BoundUser {
    user: StoredUser,
}

impl BoundUser {
    /// The user, as the store held it when the token was bound.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// The user, without the proof.
    pub fn into_user(self) -> StoredUser {
        self.user
    }
}

/// The one header of a key's tokens: `{"typ":"reset+jwt","alg":"HS256","kid":".."}`.
fn header(key: &SigningKey) -> Vec<u8> {
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key.id().to_owned());
    serde_json::to_vec(&header).expect("strings serialize")
}

/// The binding of a user: what must not change for a token to stay good.
fn binding(key: &FieldMac, user: &StoredUser) -> [u8; BINDING_BYTES] {
    let hash = user.password_hash().map(|hash| hash.expose().as_bytes());
    let full = key.of([Some(user.id().as_bytes()), Some(user.email().as_bytes()), hash], user.bound_state());
    let mut cut = [0; BINDING_BYTES];
    cut.copy_from_slice(&full[..BINDING_BYTES]);
    cut
}

/// Whether a token may live that long: a second to a day.
pub(crate) fn is_lifetime(lifetime: Duration) -> bool {
    (Duration::SECOND..=MAX_LIFETIME).contains(&lifetime)
}

/// Whether an id can stand in a token.
#[cfg_attr(not(feature = "reset"), allow(dead_code))]
pub(crate) fn is_user_id(id: &str) -> bool {
    UserId::new(id).is_some()
}
