//! The typed rows: an impression (one response shown) and a feedback event (choices included).
//!
//! Text is generic: the parser writes it as [`Span`]s of a chunk's [`Texts`], everyone else reads `&str`.

use super::Kind;
pub use super::hash::{Digest, Key, RowHash};
pub use super::texts::{Span, Texts};

/// One response shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impression<T> {
    /// Id under the store's key.
    pub key: Key,
    /// Hash of everything below.
    pub content: Key,
    /// The product's id.
    pub id: T,
    /// Candidates shown together share it.
    pub request: Option<T>,
    /// `request` under the store's key.
    pub request_key: Option<Key>,
    /// Pseudonym of the session.
    pub session: Option<Key>,
    /// Place in the conversation.
    pub turn: Option<i32>,
    /// Pseudonym of the user.
    pub user: Option<Key>,
    /// Hash of the prompt, the fold key.
    pub prompt_hash: Key,
    /// Microseconds since 1970.
    pub shown_at: i64,
    /// Microseconds since 1970.
    pub received_at: Option<i64>,
    /// Namespace of the ids.
    pub source: T,
    /// Where in the product.
    pub surface: Option<T>,
    /// Language.
    pub lang: Option<T>,
    /// Model.
    pub model: Option<T>,
    /// Experiment arm.
    pub policy_id: Option<T>,
    /// Probability with which the logging policy showed this.
    pub policy_prob: Option<f32>,
    /// Position.
    pub slot: Option<i16>,
    /// Positions on the page.
    pub n_slots: Option<i16>,
    /// Kinds offered; absent = unknown.
    pub offered: Option<u32>,
    /// Text of the prompt.
    pub prompt: T,
    /// Text of the response.
    pub response: T,
    /// Messages as JSON.
    pub messages: Option<T>,
    /// Id of the response this one regenerates, under the store's key.
    pub parent: Option<Key>,
    /// Unknown fields as JSON.
    pub extra: Option<T>,
    /// Characters of the response.
    pub response_chars: i32,
    /// Hash of the response's text.
    pub text_hash: Key,
}

/// What a feedback event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One response.
    Response(Key),
    /// A request: its only response, or for choices all of them.
    Request(Key),
    /// A session: the last response shown before the event.
    Session(Key),
}

/// Who a choice was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// This response.
    Response(Key),
    /// Equally good.
    Tie,
    /// Equally bad.
    BothBad,
}

/// One feedback event or choice.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<T> {
    /// Event id under the store's key.
    pub key: Key,
    /// Hash of everything below.
    pub content: Key,
    /// The product's event id.
    pub id: T,
    /// What it is about.
    pub target: Target,
    /// Winner, for choices only.
    pub winner: Option<Winner>,
    /// Response id as logged (for choices: the winner's).
    pub response: Option<T>,
    /// Request id as logged.
    pub request: Option<T>,
    /// Pseudonym of the user.
    pub user: Option<Key>,
    /// Microseconds since 1970.
    pub at: i64,
    /// Microseconds since 1970.
    pub received_at: Option<i64>,
    /// Namespace of the ids.
    pub source: T,
    /// Kind.
    pub kind: Kind,
    /// Number to store.
    pub value: Option<f64>,
    /// Text value, or `tie` / `both_bad`.
    pub label: Option<T>,
    /// Who gave it.
    pub actor: Actor,
    /// The larger version wins.
    pub version: i64,
    /// The event is withdrawn.
    pub retract: bool,
    /// Words with it.
    pub comment: Option<T>,
    /// Unknown fields as JSON.
    pub extra: Option<T>,
}

/// Who gave a piece of feedback; only users enter the observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Actor {
    /// The person the response was shown to.
    User,
    /// A paid annotator.
    Annotator,
    /// A model.
    Judge,
    /// The product itself.
    System,
}

impl Actor {
    /// The word in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Annotator => "annotator",
            Self::Judge => "judge",
            Self::System => "system",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::User, Self::Annotator, Self::Judge, Self::System]
            .into_iter()
            .find(|actor| actor.name() == name)
    }
}

impl Impression<Span> {
    /// The same row with its text.
    pub fn text<'a>(&self, texts: Texts<'a>) -> Impression<&'a str> {
        let some = |span: Option<Span>| span.map(|span| texts.of(span));
        Impression {
            key: self.key,
            content: self.content,
            id: texts.of(self.id),
            request: some(self.request),
            request_key: self.request_key,
            session: self.session,
            turn: self.turn,
            user: self.user,
            prompt_hash: self.prompt_hash,
            shown_at: self.shown_at,
            received_at: self.received_at,
            source: texts.of(self.source),
            surface: some(self.surface),
            lang: some(self.lang),
            model: some(self.model),
            policy_id: some(self.policy_id),
            policy_prob: self.policy_prob,
            slot: self.slot,
            n_slots: self.n_slots,
            offered: self.offered,
            prompt: texts.of(self.prompt),
            response: texts.of(self.response),
            messages: some(self.messages),
            parent: self.parent,
            extra: some(self.extra),
            response_chars: self.response_chars,
            text_hash: self.text_hash,
        }
    }
}

impl Feedback<Span> {
    /// The same row with its text.
    pub fn text<'a>(&self, texts: Texts<'a>) -> Feedback<&'a str> {
        let some = |span: Option<Span>| span.map(|span| texts.of(span));
        Feedback {
            key: self.key,
            content: self.content,
            id: texts.of(self.id),
            target: self.target,
            winner: self.winner,
            response: some(self.response),
            request: some(self.request),
            user: self.user,
            at: self.at,
            received_at: self.received_at,
            source: texts.of(self.source),
            kind: self.kind,
            value: self.value,
            label: some(self.label),
            actor: self.actor,
            version: self.version,
            retract: self.retract,
            comment: some(self.comment),
            extra: some(self.extra),
        }
    }
}

impl Impression<&str> {
    /// What stands where a row was erased.
    pub fn blank() -> Self {
        let mut row = Self::default();
        row.content = row.hash();
        row
    }

    /// Whether the row was erased.
    pub fn is_blank(&self) -> bool {
        self.key == Key::default()
    }

    /// Hash of the row without its lineage; two rows with one id are the same row iff this is equal.
    pub fn hash(&self) -> Key {
        self.hashed(&mut RowHash::default())
    }

    /// The same in memory that is there already.
    pub fn hashed(&self, hash: &mut RowHash) -> Key {
        hash.clear();
        hash.text(Some(self.source))
            .text(Some(self.id))
            .text(self.request)
            .key(self.session)
            .key(self.user);
        hash.int(self.turn.map(i64::from))
            .int(Some(self.shown_at))
            .int(self.received_at);
        hash.text(self.surface)
            .text(self.lang)
            .text(self.model)
            .text(self.policy_id);
        hash.int(self.policy_prob.map(|p| i64::from(p.to_bits())));
        hash.int(self.slot.map(i64::from))
            .int(self.n_slots.map(i64::from))
            .int(self.offered.map(i64::from));
        hash.text(Some(self.prompt))
            .text(Some(self.response))
            .text(self.messages);
        hash.key(self.parent).text(self.extra);
        hash.done()
    }
}

impl Feedback<&str> {
    /// What stands where a row was erased.
    pub fn blank() -> Self {
        let mut row = Self {
            key: Key::default(),
            content: Key::default(),
            id: "",
            target: Target::Response(Key::default()),
            winner: None,
            response: None,
            request: None,
            user: None,
            at: 0,
            received_at: None,
            source: "",
            kind: Kind::Custom,
            value: None,
            label: None,
            actor: Actor::System,
            version: 0,
            retract: false,
            comment: None,
            extra: None,
        };
        row.content = row.hash();
        row
    }

    /// Whether the row was erased.
    pub fn is_blank(&self) -> bool {
        self.key == Key::default()
    }

    /// Hash of the row without its lineage.
    pub fn hash(&self) -> Key {
        self.hashed(&mut RowHash::default())
    }

    /// The same in memory that is there already.
    pub fn hashed(&self, hash: &mut RowHash) -> Key {
        hash.clear();
        let (about, key) = match self.target {
            Target::Response(key) => (0, key),
            Target::Request(key) => (1, key),
            Target::Session(key) => (2, key),
        };
        hash.text(Some(self.source))
            .text(Some(self.id))
            .int(Some(about))
            .key(Some(key));
        hash.text(self.response).text(self.request).key(self.user);
        hash.int(Some(self.at))
            .int(self.received_at)
            .int(Some(self.kind as i64));
        hash.int(self.value.map(|value| value.to_bits() as i64))
            .text(self.label);
        hash.int(Some(self.actor as i64))
            .int(Some(self.version))
            .int(Some(i64::from(self.retract)));
        hash.text(self.comment).text(self.extra);
        hash.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_moves_the_hash_of_an_impression() {
        let base = Impression::<&str> {
            id: "a",
            prompt: "p",
            response: "r",
            ..Default::default()
        };
        let some = Some(Key::of(b"x"));
        let changed = [
            Impression { id: "b", ..base },
            Impression {
                request: Some(""),
                ..base
            },
            Impression {
                session: some,
                ..base
            },
            Impression { user: some, ..base },
            Impression {
                turn: Some(0),
                ..base
            },
            Impression {
                shown_at: 1,
                ..base
            },
            Impression {
                received_at: Some(0),
                ..base
            },
            Impression {
                source: "s",
                ..base
            },
            Impression {
                surface: Some(""),
                ..base
            },
            Impression {
                lang: Some(""),
                ..base
            },
            Impression {
                model: Some(""),
                ..base
            },
            Impression {
                policy_id: Some(""),
                ..base
            },
            Impression {
                policy_prob: Some(0.5),
                ..base
            },
            Impression {
                slot: Some(0),
                ..base
            },
            Impression {
                n_slots: Some(0),
                ..base
            },
            Impression {
                offered: Some(0),
                ..base
            },
            Impression {
                prompt: "pr",
                response: "",
                ..base
            },
            Impression {
                messages: Some(""),
                ..base
            },
            Impression {
                parent: some,
                ..base
            },
            Impression {
                extra: Some(""),
                ..base
            },
        ];
        let mut seen = vec![base.hash()];
        seen.extend(changed.iter().map(Impression::hash));
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
