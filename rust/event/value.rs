//! What `value` of a feedback line means for its kind.

use super::{Bad, Kind, Reason, Side};

/// A JSON scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Absent or null.
    Null,
    /// true or false.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Text.
    Text(&'a str),
}

/// The numeric value to store: two-sided kinds 1 or 0 (rating: the stars), one-sided kinds 1 = happened.
pub fn parse(kind: Kind, value: Scalar<'_>) -> Result<Option<f64>, Bad> {
    let wrong = |expected: &str| Err(Bad::new(Reason::Type, "value", expected));
    if matches!(kind.side(), Side::Positive | Side::Negative) {
        let happened = !matches!(value, Scalar::Bool(false)) && value != Scalar::Number(0.0);
        return Ok(Some(f64::from(u8::from(happened))));
    }
    match (kind, value) {
        (Kind::Thumbs | Kind::Rating | Kind::Dwell, Scalar::Null) => Err(Bad::new(
            Reason::Missing,
            "value",
            format!("{} needs a value", kind.name()),
        )),
        (Kind::Thumbs, Scalar::Bool(up)) => Ok(Some(f64::from(u8::from(up)))),
        (Kind::Thumbs, Scalar::Number(1.0) | Scalar::Text("up")) => Ok(Some(1.0)),
        (Kind::Thumbs, Scalar::Number(0.0 | -1.0) | Scalar::Text("down")) => Ok(Some(0.0)),
        (Kind::Thumbs, _) => wrong("thumbs is true or false, 1 or 0, 1 or -1, \"up\" or \"down\""),
        (Kind::Rating, Scalar::Number(stars)) if (1.0..=5.0).contains(&stars) => Ok(Some(stars)),
        (Kind::Rating, Scalar::Number(_)) => {
            Err(Bad::new(Reason::Number, "value", "rating is from 1 to 5"))
        }
        (Kind::Rating, _) => wrong("rating is a number from 1 to 5"),
        (Kind::Dwell, Scalar::Number(ms)) if ms >= 0.0 => Ok(Some(ms)),
        (Kind::Dwell, Scalar::Number(_)) => {
            Err(Bad::new(Reason::Number, "value", "dwell is at least 0 ms"))
        }
        (Kind::Dwell, _) => wrong("dwell is a number of milliseconds"),
        (_, Scalar::Number(number)) => Ok(Some(number)),
        (_, Scalar::Bool(yes)) => Ok(Some(f64::from(u8::from(yes)))),
        (_, Scalar::Null | Scalar::Text(_)) => Ok(None),
    }
}

/// Label of a stored value: 1 iff thumbs up, rating at least 4, or happened; none for kinds without evidence.
pub fn label(kind: Kind, value: f64) -> Option<bool> {
    match kind {
        Kind::Rating => Some(value >= 4.0),
        _ if kind.side() == Side::None => None,
        _ => Some(value == 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_thumb_is_read() {
        for (value, expected) in [
            (Scalar::Bool(true), 1.0),
            (Scalar::Number(1.0), 1.0),
            (Scalar::Text("up"), 1.0),
            (Scalar::Bool(false), 0.0),
            (Scalar::Number(0.0), 0.0),
            (Scalar::Number(-1.0), 0.0),
            (Scalar::Text("down"), 0.0),
        ] {
            assert_eq!(parse(Kind::Thumbs, value), Ok(Some(expected)));
        }
        assert!(parse(Kind::Thumbs, Scalar::Number(2.0)).is_err());
        assert!(parse(Kind::Thumbs, Scalar::Null).is_err());
    }

    #[test]
    fn one_sided_kinds_happened_unless_denied() {
        assert_eq!(parse(Kind::Copy, Scalar::Null), Ok(Some(1.0)));
        assert_eq!(parse(Kind::Copy, Scalar::Text("whatever")), Ok(Some(1.0)));
        assert_eq!(parse(Kind::Regenerate, Scalar::Number(0.0)), Ok(Some(0.0)));
    }

    #[test]
    fn four_stars_are_positive() {
        assert_eq!(label(Kind::Rating, 3.9), Some(false));
        assert_eq!(label(Kind::Rating, 4.0), Some(true));
        assert_eq!(label(Kind::Dwell, 9.0), None);
        assert!(parse(Kind::Rating, Scalar::Number(5.5)).is_err());
    }
}
