//! RFC 3339 times with a zone, as microseconds since 1970 (a finer fraction is cut to the microsecond).

use super::{Bad, Reason};

/// First accepted instant, 2000-01-01T00:00:00Z.
pub const FIRST: i64 = 946_684_800_000_000;
/// First instant that is refused, 2100-01-01T00:00:00Z.
pub const END: i64 = 4_102_444_800_000_000;
/// Microseconds in a day.
pub const DAY: i64 = 86_400_000_000;

/// Microseconds since 1970 of an RFC 3339 time.
///
/// ```
/// assert_eq!(unskew::event::time::parse("at", "2000-01-01T01:00:00.5+01:00").unwrap(), 946_684_800_500_000);
/// ```
pub fn parse(field: &'static str, text: &str) -> Result<i64, Bad> {
    let wrong = || {
        Bad::new(
            Reason::Type,
            field,
            "not an RFC 3339 time with a zone, such as 2026-05-04T10:11:12Z",
        )
    };
    within(field, fields(text.as_bytes()).ok_or_else(wrong)?)
}

/// `time`, if it is one that is accepted.
pub fn within(field: &'static str, time: i64) -> Result<i64, Bad> {
    if !(FIRST..END).contains(&time) {
        return Err(Bad::new(
            Reason::TimeRange,
            field,
            "outside 2000-01-01 to 2100-01-01 UTC",
        ));
    }
    Ok(time)
}

fn fields(text: &[u8]) -> Option<i64> {
    let (fixed, rest) = text.split_at_checked(19)?;
    let number = |from: usize, to: usize| {
        fixed.get(from..to)?.iter().try_fold(0i64, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + i64::from(byte - b'0'))
        })
    };
    let mark = |at: usize| fixed.get(at).copied();
    if mark(4) != Some(b'-')
        || mark(7) != Some(b'-')
        || mark(13) != Some(b':')
        || mark(16) != Some(b':')
    {
        return None;
    }
    if !matches!(mark(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if hour > 23 || minute > 59 || second > 60 || day < 1 || day > month_length(year, month)? {
        return None;
    }
    let (micros, zone) = fraction(rest)?;
    let seconds =
        ((days(year, month, day) * 24 + hour) * 60 + minute - offset(zone)?) * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 {
        return None;
    }
    let (digits, zone) = digits.split_at_checked(count)?;
    let micros = digits
        .iter()
        .chain(b"000000")
        .take(6)
        .fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    Some((micros, zone))
}

/// Minutes east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let sign = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let [_, h1, h2, b':', m1, m2] = zone else {
        return None;
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let (hours, minutes) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn month_length(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(if leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar, the year counted from March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year
        - 719_468
}

/// RFC 3339 in UTC.
pub fn format(micros: i64) -> String {
    let (day, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let days = day + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 {
        String::new()
    } else {
        format!(".{fraction:06}")
    };
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Hour of the week in UTC, 0 = Monday midnight.
pub fn hour_of_week(micros: i64) -> u8 {
    let hours = micros.div_euclid(3_600_000_000) + 3 * 24; // 1970-01-01 was a Thursday
    u8::try_from(hours.rem_euclid(168)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_inverts_parsing_over_the_whole_range() {
        let mut time = FIRST;
        while time < END {
            assert_eq!(parse("at", &format(time)), Ok(time));
            time += 997 * 3_600_000_000 + 123_457;
        }
    }

    #[test]
    fn zones_move_the_instant_and_are_required() {
        assert_eq!(
            parse("at", "2026-05-04T10:00:00+02:30"),
            parse("at", "2026-05-04t07:30:00z")
        );
        assert_eq!(
            parse("at", "2026-05-04 10:00:00.123456789-00:00").map(|t| t % 1_000_000),
            Ok(123_456)
        );
        for text in [
            "2026-05-04T10:00:00",
            "2026-05-04",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "",
            "2026-05-04T24:00:00Z",
            "2026-05-04T10:00:00.Z",
            "2026-05-04T10:00:00+0200",
            "1746352800",
        ] {
            assert_eq!(
                parse("at", text).map_err(|bad| bad.reason),
                Err(Reason::Type),
                "{text}"
            );
        }
        for text in [
            "1999-12-31T23:59:59Z",
            "2100-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(
                parse("at", text).map_err(|bad| bad.reason),
                Err(Reason::TimeRange),
                "{text}"
            );
        }
    }

    #[test]
    fn the_week_begins_on_monday() {
        assert_eq!(
            hour_of_week(parse("at", "2026-05-04T00:30:00Z").unwrap_or(0)),
            0
        );
        assert_eq!(
            hour_of_week(parse("at", "2026-05-10T23:30:00Z").unwrap_or(0)),
            167
        );
    }
}
