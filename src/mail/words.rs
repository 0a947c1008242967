//! Times and durations in words.

use time::{Duration, OffsetDateTime, UtcOffset};

/// Formats a time in UTC to the minute: `22 November 2026, 21:26 UTC`.
pub(super) fn minute(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let (hour, minute, _) = time.to_hms();
    format!("{} {} {}, {hour:02}:{minute:02} UTC", time.day(), time.month(), time.year())
}

/// Rounds a duration to minutes, at least one. The recipient reads the mail some time after it was written.
pub(super) fn minutes(left: Duration) -> i64 {
    ((left.whole_seconds().max(0) + 30) / 60).max(1)
}

/// Formats a number of minutes: `60 minutes`, `2 hours`.
pub(super) fn in_words(minutes: i64) -> String {
    match minutes {
        1 => "1 minute".to_owned(),
        minutes if minutes > 60 && minutes % 60 == 0 => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_for_people() {
        let time = OffsetDateTime::from_unix_timestamp(1_795_382_760).unwrap();
        assert_eq!(minute(time), "22 November 2026, 21:26 UTC");
        for (seconds, words) in [(-5, "1 minute"), (59, "1 minute"), (3_599, "60 minutes"), (7_200, "2 hours")] {
            assert_eq!(in_words(minutes(Duration::seconds(seconds))), words);
        }
    }
}
