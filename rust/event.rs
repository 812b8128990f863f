//! What a log line can say: the kinds of feedback, the reasons to refuse a line, and the typed rows.
//!
//! ```
//! use unskew::event::{Kind, Side};
//! assert_eq!(Kind::named("thumbs"), Some(Kind::Thumbs));
//! assert_eq!(Kind::Copy.side(), Side::Positive);
//! ```

pub mod hash;
pub mod row;
pub mod texts;
pub mod time;
pub mod value;

/// What a kind of feedback can tell about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// An observed flag and a label of either sign.
    Two,
    /// Happened or not; happening speaks for the response.
    Positive,
    /// Happened or not; happening speaks against the response.
    Negative,
    /// Recorded, but no evidence.
    None,
}

impl Side {
    /// The name Python uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Two => "two",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::None => "none",
        }
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $kind { $($(#[$variant_doc])* $variant),* }
        impl $kind {
            /// Every one, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The name in files and reports.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name),* } }
            /// The one with this name.
            pub fn named(name: &str) -> Option<Self> { match name { $($name => Some(Self::$variant),)* _ => None } }
        }
    };
}

names! {
    /// The kinds of feedback; the discriminant is the bit in every mask.
    Kind {
        /// Up or down.
        Thumbs = "thumbs",
        /// One to five stars.
        Rating = "rating",
        /// A link or card was opened.
        Click = "click",
        /// The text was copied.
        Copy = "copy",
        /// The text was shared.
        Share = "share",
        /// The text was edited.
        Edit = "edit",
        /// Another response was asked for.
        Regenerate = "regenerate",
        /// Milliseconds spent on it.
        Dwell = "dwell",
        /// Generation was stopped.
        Stop = "stop",
        /// The conversation was left.
        Abandon = "abandon",
        /// It was reported.
        Report = "report",
        /// Words about it.
        Comment = "comment",
        /// One of several responses was chosen.
        Choice = "choice",
        /// Its place in an order.
        Rank = "rank",
        /// A proposed action was accepted.
        ToolAccept = "tool_accept",
        /// Anything else.
        Custom = "custom",
    }
}

impl Kind {
    /// Mask with this kind's bit alone.
    pub fn mask(self) -> u32 {
        1 << self as u8
    }

    /// What it can tell.
    pub fn side(self) -> Side {
        match self {
            Self::Thumbs | Self::Rating | Self::Choice => Side::Two,
            Self::Click | Self::Copy | Self::Share | Self::ToolAccept => Side::Positive,
            Self::Regenerate | Self::Stop | Self::Report | Self::Abandon => Side::Negative,
            Self::Edit | Self::Dwell | Self::Comment | Self::Rank | Self::Custom => Side::None,
        }
    }
}

/// Bits of the two-sided kinds.
pub const TWO_SIDED: u32 = 1 | 1 << 1 | 1 << 12;
/// Bits of all kinds.
pub const ALL_KINDS: u32 = 0xffff;

names! {
    /// Why a line was refused; the enum is closed.
    Reason {
        /// Not UTF-8.
        Utf8 = "utf8",
        /// A lone surrogate escape.
        Surrogate = "surrogate",
        /// A NUL byte.
        Nul = "nul",
        /// Not JSON.
        Json = "json",
        /// The last line, cut before its end.
        Torn = "torn",
        /// JSON, but not an object.
        NotObject = "not_object",
        /// Longer than the limit, or more keys than the limit.
        TooLong = "too_long",
        /// Nested deeper than the limit.
        Depth = "depth",
        /// A key appears twice in one object.
        DupKey = "dup_key",
        /// A required field is absent.
        Missing = "missing",
        /// A field of the wrong type or with an unknown word.
        Type = "type",
        /// A number that cannot be represented or is out of range.
        Number = "number",
        /// A numeric id that is not an exact 64-bit integer.
        IdRange = "id_range",
        /// Nothing says what the line is about.
        NoId = "no_id",
        /// A time outside [2000, 2100).
        TimeRange = "time_range",
        /// Feedback earlier than its response by more than the tolerance.
        Skew = "skew",
        /// A kind of feedback that does not exist.
        UnknownKind = "unknown_kind",
        /// Another row with the same id and other content won.
        Conflict = "conflict",
        /// Compressed input that expands beyond reason.
        Ratio = "ratio",
        /// The place where a compressed input is cut off.
        Corrupt = "corrupt",
    }
}

/// A refused line: the reason, the field if one is to blame, and a sentence without any payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Code of the closed enum.
    pub reason: Reason,
    /// The field to blame, or "".
    pub field: &'static str,
    /// What was found and expected.
    pub message: String,
}

impl Bad {
    /// A refusal of `field`.
    pub fn new(reason: Reason, field: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            field,
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sided_mask_equals_the_table() {
        let mask = Kind::ALL
            .iter()
            .filter(|k| k.side() == Side::Two)
            .map(|k| k.mask())
            .sum::<u32>();
        assert_eq!(mask, TWO_SIDED);
        assert_eq!(Kind::ALL.len(), 16);
        assert_eq!(Kind::ALL.iter().map(|k| k.mask()).sum::<u32>(), ALL_KINDS);
    }
}
