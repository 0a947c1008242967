//! A token is accepted until the second of its expiry, which is excluded.

use poem_password_reset::token::{DEFAULT_LIFETIME, MAX_LIFETIME};
use poem_password_reset::{IssueError, Refusal};
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::forger::{Forger, NOW, ann, at, payload};

#[test]
fn token_expires_at_the_exact_second() {
    let codec = Forger::new().codec();
    for lifetime in [Duration::SECOND, Duration::MINUTE, DEFAULT_LIFETIME, MAX_LIFETIME] {
        let token = codec.issue(&ann(), at(NOW), lifetime).unwrap();
        let exp = at(NOW) + lifetime;
        let verify = |now| codec.verify(token.expose(), now).map_err(|error| error.refusal());
        assert_eq!(verify(at(NOW)).unwrap().expires_at(), exp);
        for good in [Duration::SECOND, Duration::NANOSECOND, Duration::milliseconds(500)] {
            assert!(verify(exp - good).is_ok(), "{good} before the end of {lifetime}");
        }
        for late in [Duration::ZERO, Duration::NANOSECOND, Duration::SECOND, Duration::MINUTE, Duration::days(3_650)] {
            assert_eq!(verify(exp + late).unwrap_err(), Refusal::Expired, "{late} after the end of {lifetime}");
        }
    }
}

/// Times are rounded so that a token never outlives the requested lifetime.
#[test]
fn fraction_of_a_second_shortens_the_lifetime() {
    let codec = Forger::new().codec();
    for (now, lifetime, exp) in [
        (at(NOW) + Duration::nanoseconds(999_999_999), Duration::HOUR, at(NOW + 3_600)),
        (at(NOW) + Duration::nanoseconds(1), Duration::SECOND, at(NOW + 1)),
        (at(NOW), Duration::milliseconds(1_999), at(NOW + 1)),
        (at(NOW) + Duration::milliseconds(900), Duration::milliseconds(1_900), at(NOW + 1)),
    ] {
        let token = codec.issue(&ann(), now, lifetime).unwrap();
        assert_eq!(codec.verify(token.expose(), now).unwrap().expires_at(), exp);
        assert!(codec.verify(token.expose(), exp - Duration::NANOSECOND).is_ok());
        assert_eq!(codec.verify(token.expose(), exp).unwrap_err().refusal(), Refusal::Expired);
    }
}

#[test]
fn issue_with_lifetime_outside_one_second_to_one_day_fails() {
    let codec = Forger::new().codec();
    for good in [Duration::SECOND, Duration::milliseconds(1_500), Duration::HOUR, Duration::DAY] {
        assert!(codec.issue(&ann(), at(NOW), good).is_ok(), "{good}");
    }
    for bad in [
        Duration::ZERO,
        Duration::NANOSECOND,
        Duration::milliseconds(999),
        -Duration::NANOSECOND,
        -Duration::SECOND,
        -Duration::HOUR,
        Duration::DAY + Duration::NANOSECOND,
        Duration::DAY + Duration::SECOND,
        Duration::WEEK,
        Duration::MIN,
        Duration::MAX,
    ] {
        assert_eq!(codec.issue(&ann(), at(NOW), bad).unwrap_err(), IssueError::Lifetime, "{bad}");
    }
}

/// The clocks of two instances may differ by up to a minute.
#[test]
fn token_is_accepted_by_a_clock_up_to_a_minute_behind() {
    let codec = Forger::new().codec();
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let verify = |now| codec.verify(token.expose(), now).map(drop).map_err(|error| error.refusal());
    for behind in [0, 1, 59, 60] {
        assert_eq!(verify(at(NOW - behind)), Ok(()));
    }
    assert_eq!(verify(at(NOW - 60) - Duration::NANOSECOND), Err(Refusal::NotYetIssued));
    assert_eq!(verify(at(NOW - 61)), Err(Refusal::NotYetIssued));
}

#[test]
fn time_zone_of_the_clock_does_not_change_the_token() {
    let codec = Forger::new().codec();
    let utc = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    for hours in [-23, -1, 5, 14, 23] {
        let zone = |time: OffsetDateTime| time.to_offset(UtcOffset::from_hms(hours, 30 * hours.signum(), 0).unwrap());
        assert_eq!(codec.issue(&ann(), zone(at(NOW)), Duration::HOUR).unwrap().expose(), utc.expose());
        assert!(codec.verify(utc.expose(), zone(at(NOW + 3_599))).is_ok());
        assert!(codec.verify(utc.expose(), zone(at(NOW + 3_600))).is_err());
    }
}

/// Clocks may jump to 1970, before it, or to the last second that `time` can represent.
#[test]
fn extreme_clock_values_neither_panic_nor_extend_a_token() {
    let codec = Forger::new().codec();
    let last = time::PrimitiveDateTime::MAX.assume_utc();
    let first = time::PrimitiveDateTime::MIN.assume_utc();
    let clocks = [first, at(-1), at(0), at(1), at(NOW), at(i64::from(i32::MAX)), at(i64::from(i32::MAX) + 1), last];
    for issued in clocks {
        let token = codec.issue(&ann(), issued, Duration::DAY).unwrap();
        for now in clocks {
            let verdict = codec.verify(token.expose(), now).map_err(|error| error.refusal());
            let seconds = now.unix_timestamp() - issued.unix_timestamp();
            match seconds {
                ..-60 => assert_eq!(verdict.unwrap_err(), Refusal::NotYetIssued),
                -60..86_400 => {
                    // `expires_at` must not panic for an expiry that `time` cannot represent.
                    let _ = verdict.unwrap().expires_at();
                }
                _ => assert_eq!(verdict.unwrap_err(), Refusal::Expired),
            }
        }
    }
    assert!(payload(codec.issue(&ann(), at(-1), Duration::SECOND).unwrap().expose()).contains(r#""iat":-1,"exp":0,"#));
}
