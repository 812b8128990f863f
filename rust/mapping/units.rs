//! Times as other products write them.

/// Whether a time ends with a zone.
pub(super) fn has_zone(text: &str) -> bool {
    let sign = text
        .len()
        .checked_sub(6)
        .and_then(|at| text.as_bytes().get(at));
    text.ends_with(['Z', 'z']) || matches!(sign, Some(b'+' | b'-')) && text.len() > 19
}

/// Microseconds of a decimal number of units of 10^power microseconds, cut to whole ones.
pub(super) fn micros(text: &str, power: i32) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || whole.len() + fraction.len() > 30 || !all().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = all().fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let shift = power - i32::try_from(fraction.len()).ok()?;
    let scale = 10i128.checked_pow(shift.unsigned_abs())?;
    let micros = if shift < 0 {
        (sign * number).div_euclid(scale)
    } else {
        (sign * number).checked_mul(scale)?
    };
    i64::try_from(micros).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_units_become_microseconds_without_rounding() {
        for (text, power, expected) in [
            ("1700000000", 6, Some(1_700_000_000_000_000)),
            ("1700000000.123456789", 6, Some(1_700_000_000_123_456)),
            ("1700000000123", 3, Some(1_700_000_000_123_000)),
            ("1700000000123.5", 3, Some(1_700_000_000_123_500)),
            ("1700000000123456", 0, Some(1_700_000_000_123_456)),
            ("1700000000123456789", -3, Some(1_700_000_000_123_456)),
            ("-1", -3, Some(-1)),
            ("1e9", 6, None),
            ("", 6, None),
            (".5", 6, None),
            ("9999999999999999999999999999999", 6, None),
            ("99999999999999999999", 6, None),
        ] {
            assert_eq!(micros(text, power), expected, "{text} * 10^{power}");
        }
    }

    #[test]
    fn a_zone_is_seen_where_there_is_one() {
        let zoned = [
            "2026-05-04T10:11:12Z",
            "2026-05-04 10:11:12.5+02:00",
            "2026-05-04T10:11:12-00:30",
        ];
        assert!(zoned.iter().all(|text| has_zone(text)));
        let bare = [
            "2026-05-04T10:11:12",
            "2026-05-04 10:11:12.123456",
            "2026-05-04",
            "",
        ];
        assert!(!bare.iter().any(|text| has_zone(text)));
    }
}
