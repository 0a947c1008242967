//! A reset token is an ordinary JWT: `jsonwebtoken` reads issued tokens, and the library accepts tokens encoded by
//! `jsonwebtoken`, which are identical byte for byte.
//!
//! A separate workspace member, because the library must not have a backend of `jsonwebtoken`, not even as a
//! dev-dependency. With one, an accidental call of `encode` or `decode` would pass all tests and panic in applications.

#[cfg(test)]
// The methods are banned because they need a backend. This member has one on purpose.
#[allow(clippy::disallowed_methods)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use jsonwebtoken::errors::ErrorKind;
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, crypto, decode, encode};
    use poem_password_reset::{KeyRing, Refusal, SigningKey, StoredUser, TokenCodec};
    use serde::{Deserialize, Serialize};
    use time::{Duration, OffsetDateTime};

    const MASTER: &[u8] = b"a master key that two libraries share";

    /// The claims of a reset token, as another program would define them.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Claims {
        sub: String,
        iat: i64,
        exp: i64,
        aud: String,
        bnd: String,
    }

    fn ann() -> StoredUser {
        StoredUser::new(7, "ann@example.com", Some("$argon2id$old".to_owned())).bind_also("epoch 3")
    }

    fn codec() -> TokenCodec {
        TokenCodec::new(SigningKey::from_bytes(MASTER).unwrap())
    }

    /// Computes HMAC-SHA256 with the backend of `jsonwebtoken`.
    fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
        let text = crypto::sign(message, &EncodingKey::from_secret(key), Algorithm::HS256).unwrap();
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn sub_key(label: &str) -> Vec<u8> {
        mac(MASTER, format!("poem-password-reset/v1/{label}").as_bytes())
    }

    fn kid() -> String {
        BASE64_URL_SAFE_NO_PAD.encode(sub_key("key-id"))[..6].to_owned()
    }

    fn header() -> Header {
        Header { typ: Some("reset+jwt".to_owned()), kid: Some(kid()), ..Header::new(Algorithm::HS256) }
    }

    /// Computes the binding as documented, with the length of each field in eight bytes before it.
    fn binding(fields: &[&str]) -> String {
        let message: Vec<u8> =
            fields.iter().flat_map(|field| [&(field.len() as u64).to_be_bytes(), field.as_bytes()].concat()).collect();
        BASE64_URL_SAFE_NO_PAD.encode(&mac(&sub_key("binding"), &message)[..16])
    }

    fn claims(now: OffsetDateTime) -> Claims {
        let iat = now.unix_timestamp();
        Claims {
            sub: "7".to_owned(),
            iat,
            exp: iat + 3_600,
            aud: "password-reset".to_owned(),
            bnd: binding(&["7", "ann@example.com", "$argon2id$old", "epoch 3"]),
        }
    }

    /// The strictest validation that `jsonwebtoken` offers.
    fn strict() -> Validation {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&["password-reset"]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        validation.leeway = 0;
        validation.sub = Some("7".to_owned());
        validation
    }

    fn read(token: &str, key: &[u8]) -> Result<TokenData<Claims>, ErrorKind> {
        decode(token, &DecodingKey::from_secret(key), &strict()).map_err(|error| error.kind().clone())
    }

    #[test]
    fn jsonwebtoken_reads_issued_token() {
        let now = OffsetDateTime::now_utc();
        let token = codec().issue(&ann(), now, Duration::HOUR).unwrap();
        let data = read(token.expose(), &sub_key("signing")).unwrap();
        assert_eq!(data.header, header());
        assert_eq!(data.claims, claims(now));
    }

    #[test]
    fn jsonwebtoken_refuses_issued_token_with_wrong_key_or_after_expiry() {
        let now = OffsetDateTime::now_utc();
        let token = codec().issue(&ann(), now, Duration::HOUR).unwrap();
        for key in [MASTER, &sub_key("binding"), &sub_key("throttle"), &sub_key("key-id"), b""] {
            assert_eq!(read(token.expose(), key).unwrap_err(), ErrorKind::InvalidSignature);
        }
        let old = codec().issue(&ann(), now - Duration::hours(2), Duration::HOUR).unwrap();
        assert_eq!(read(old.expose(), &sub_key("signing")).unwrap_err(), ErrorKind::ExpiredSignature);
    }

    #[test]
    fn token_encoded_by_jsonwebtoken_is_identical_and_accepted() {
        let now = OffsetDateTime::now_utc();
        let theirs = encode(&header(), &claims(now), &EncodingKey::from_secret(&sub_key("signing"))).unwrap();
        assert_eq!(theirs, codec().issue(&ann(), now, Duration::HOUR).unwrap().expose());
        let verified = codec().verify(&theirs, now).unwrap();
        assert_eq!(verified.user_id(), "7");
        assert_eq!(verified.expires_at().unix_timestamp(), claims(now).exp);
        assert_eq!(codec().bind(verified, ann()).unwrap().user().id(), "7");
    }

    #[test]
    fn token_encoded_by_jsonwebtoken_with_other_header_key_or_claims_is_refused() {
        let now = OffsetDateTime::now_utc();
        let refusal = |header: &Header, claims: &Claims, key: &[u8]| {
            let token = encode(header, claims, &EncodingKey::from_secret(key)).unwrap();
            codec().verify(&token, now).unwrap_err().refusal()
        };
        let signing = sub_key("signing");
        for key in [MASTER, &sub_key("binding"), &sub_key("throttle"), &sub_key("key-id"), b"secret"] {
            assert_eq!(refusal(&header(), &claims(now), key), Refusal::Signature);
        }
        for other in [
            Header::default(),
            Header { kid: Some(kid()), ..Header::default() },
            Header { kid: None, ..header() },
            Header { alg: Algorithm::HS384, ..header() },
            Header { alg: Algorithm::HS512, ..header() },
            Header { cty: Some("JWT".to_owned()), ..header() },
            Header { jku: Some("https://evil.example".to_owned()), ..header() },
            Header { x5u: Some("https://evil.example".to_owned()), ..header() },
        ] {
            assert_eq!(refusal(&other, &claims(now), &signing), Refusal::Header, "{other:?}");
        }
        let login = Claims { aud: "login".to_owned(), ..claims(now) };
        assert_eq!(refusal(&header(), &login, &signing), Refusal::Claims);
        let eternal = Claims { exp: 253_402_300_799, ..claims(now) };
        assert_eq!(refusal(&header(), &eternal, &signing), Refusal::Claims);
        let old = claims(now - Duration::HOUR);
        assert_eq!(refusal(&header(), &old, &signing), Refusal::Expired);
    }

    /// The library is at least as strict as `jsonwebtoken`.
    #[test]
    fn every_accepted_token_is_accepted_by_jsonwebtoken() {
        let now = OffsetDateTime::now_utc();
        let old = SigningKey::from_bytes(&[MASTER, b" before it"].concat()).unwrap();
        let codec = TokenCodec::new(KeyRing::new(SigningKey::from_bytes(MASTER).unwrap()).previous(old).unwrap());
        let token = codec.issue(&ann(), now, Duration::HOUR).unwrap().expose().to_owned();
        let signing = sub_key("signing");
        let mut accepted = 0;
        for position in 0..=token.len() {
            for other in ["", ".", "=", "A", "B", "_", "-", " "] {
                for end in [position, (position + 1).min(token.len())] {
                    let changed = format!("{}{other}{}", &token[..position], &token[end..]);
                    let ours = codec.verify(&changed, now).is_ok();
                    accepted += usize::from(ours);
                    assert_eq!(ours, changed == token);
                    assert!(!ours || read(&changed, &signing).is_ok(), "{changed}");
                }
            }
        }
        assert!(accepted > token.len(), "the token itself is among them");
    }
}
