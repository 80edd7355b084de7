//! The secrets of a running machine, and text without them.
//!
//! A service may say a password or a token again anywhere: in a path, a header, a reason. Whoever writes something down
//! or shows it (the recorder, the binary's logger, errors) has it go through [`Secrets::hide`].

mod cleaned;
mod masked;
mod matcher;
mod words;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::Secret;
pub(crate) use cleaned::Cleaned;
pub(crate) use masked::Masked;
pub(crate) use matcher::Matcher;
pub(crate) use words::{is_secret_name, without_named, without_queries};

/// What stands in a secret's place.
pub(crate) const HIDDEN: &str = "***";
/// A token is forgotten once there are so many newer ones, or up to twice as many: those of days of hourly connections.
const MOST_TOKENS: usize = 256;
/// The same for queries of URLs and their parts.
const MOST_QUERIES: usize = 256;
/// A longer value is looked for in pieces of so many characters.
const PIECE_CHARS: usize = 256;
/// The value of a query's field that is this long is a secret; a shorter one only where its name says so.
const LONG_VALUE: usize = 12;

/// The passwords and tokens that one machine knows, shared by all that must not show them: a clone is the same set.
///
/// ```
/// use gf_emulator_core::{Secret, Secrets};
///
/// let secrets = Secrets::default();
/// secrets.keep(&Secret::new("hunter2!"));
/// assert_eq!(secrets.hide("GET /hunter2%21/x failed"), "GET /***/x failed");
/// assert_eq!(secrets.hide("https://h/x?X-Sig=1"), "https://h/x?***");
/// ```
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// These are looked for as long as the set lives.
    kept: VecDeque<Secret>,
    tokens: VecDeque<Secret>,
    queries: VecDeque<Secret>,
    /// Made when it is needed first, and again once values are forgotten.
    matcher: Option<Arc<Matcher>>,
    /// Sets that get every value that this one gets.
    followers: Vec<Weak<Mutex<Known>>>,
}

/// What a value is: how many are looked for depends on it.
#[derive(Clone, Copy)]
enum Kind {
    Kept,
    Token,
    Query,
}

impl Secrets {
    /// Has this hidden from now on: a password, a serial number. Values shorter than six characters are not looked for,
    /// since they would be found by chance.
    pub fn keep(&self, secret: &Secret) {
        self.add(secret, Kind::Kept);
    }

    /// Has this hidden until 256 newer tokens are known, or more.
    pub fn learn(&self, token: &Secret) {
        self.add(token, Kind::Token);
    }

    /// Has the query of a presigned URL hidden, as a whole and in parts, until 256 newer parts are known, or more.
    pub fn learn_query(&self, query: &str) {
        let sensitive = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["sig", "token", "key", "secret", "cred", "pass", "auth"].iter().any(|word| name.contains(word))
        };
        let fields = query.split('&').filter_map(|field| field.split_once('='));
        let values =
            fields.filter(|(name, value)| value.len() >= LONG_VALUE || sensitive(name)).map(|(_, value)| value);
        for value in [query].into_iter().chain(values) {
            // Escaped or not, the plain value is found in both.
            self.add(&Secret::new(percent_decoded(value)), Kind::Query);
        }
    }

    fn add(&self, value: &Secret, kind: Kind) {
        let mut known = self.known();
        known.add(value, kind);
        known.followers.retain(|follower| {
            let follower = follower.upgrade().map(Self);
            follower.inspect(|follower| follower.add(value, kind)).is_some()
        });
    }

    /// Hides everything that `other` hides, now and later. Two sets must not follow each other.
    pub fn follow(&self, other: &Self) {
        let mut leader = other.known();
        let mut known = self.known();
        for (kind, values) in
            [(Kind::Kept, &leader.kept), (Kind::Token, &leader.tokens), (Kind::Query, &leader.queries)]
        {
            for secret in values {
                known.add(secret, kind);
            }
        }
        drop(known);
        leader.followers.push(Arc::downgrade(&self.0));
    }

    /// `text` with `***` in place of every value, whether it is plain or escaped as in URLs, JSON or HTML, and in place of
    /// the query and the user name of every URL.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let text = without_queries(text);
        self.matcher().replace(&text, HIDDEN).unwrap_or(text)
    }

    /// What finds the values.
    pub(crate) fn matcher(&self) -> Arc<Matcher> {
        let mut known = self.known();
        if let Some(matcher) = &known.matcher {
            return Arc::clone(matcher);
        }
        let mut matcher = Matcher::default();
        for secret in known.kept.iter().chain(&known.tokens).chain(&known.queries) {
            look_for(&mut matcher, secret);
        }
        let matcher = Arc::new(matcher);
        known.matcher = Some(Arc::clone(&matcher));
        matcher
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        let count = known.kept.len() + known.tokens.len() + known.queries.len();
        write!(f, "Secrets({count})")
    }
}

impl Known {
    /// Adds a value to those of its kind, of which the older half goes when there are twice too many.
    fn add(&mut self, value: &Secret, kind: Kind) {
        let (values, most) = match kind {
            Kind::Kept => (&mut self.kept, usize::MAX),
            Kind::Token => (&mut self.tokens, MOST_TOKENS),
            Kind::Query => (&mut self.queries, MOST_QUERIES),
        };
        if value.reveal().len() < matcher::SHORTEST || values.contains(value) {
            return;
        }
        let are_too_many = values.len() / 2 >= most;
        if are_too_many {
            values.drain(..most);
        }
        values.push_back(value.clone());
        if are_too_many {
            self.matcher = None;
        } else if let Some(matcher) = &mut self.matcher {
            look_for(Arc::make_mut(matcher), value);
        }
    }
}

fn look_for(matcher: &mut Matcher, value: &Secret) {
    for piece in pieces(value.reveal()) {
        for encoded in in_base64(&piece) {
            matcher.add(&encoded);
        }
        matcher.add(&piece);
    }
}

/// A value in pieces that are each found alone; a rest that is too short for that goes with the piece before it.
fn pieces(value: &str) -> Vec<String> {
    let chars: Vec<char> = value.chars().collect();
    let mut pieces: Vec<String> = chars.chunks(PIECE_CHARS).map(|piece| piece.iter().collect()).collect();
    if pieces.len() > 1
        && pieces.last().is_some_and(|last| last.chars().count() < matcher::SHORTEST)
        && let Some(rest) = pieces.pop()
        && let Some(last) = pieces.last_mut()
    {
        last.push_str(&rest);
    }
    pieces
}

/// What is left of a value in base64, wherever in a longer text it begins: without the characters that it shares with what
/// is before and behind it.
fn in_base64(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (before, shared) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = [&[0; 2][..before], value.as_bytes()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let own = engine.encode(&bytes)[shared..bytes.len() * 8 / 6].to_owned();
            if !found.contains(&own) {
                found.push(own);
            }
        }
    }
    found
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn new_tokens_push_out_old_ones_and_not_the_password() {
        let secrets = Secrets::default();
        secrets.keep(&Secret::new("the password"));
        for n in 0..1000 {
            secrets.learn(&Secret::new(format!("token-{n:04}")));
            secrets.learn_query(&format!("X-Sig=a-signature-{n:04}"));
        }
        let text = "the password token-0999 token-0001 a-signature-0999 a-signature-0001";
        assert_eq!(secrets.hide(text), "*** *** token-0001 *** a-signature-0001");
        let known = secrets.known();
        assert!((MOST_TOKENS..=2 * MOST_TOKENS).contains(&known.tokens.len()), "{}", known.tokens.len());
        assert!((MOST_QUERIES..=2 * MOST_QUERIES).contains(&known.queries.len()), "{}", known.queries.len());
        drop(known);
        assert!(format!("{secrets:?}").starts_with("Secrets("));
        let other = Secrets::default();
        other.follow(&secrets);
        assert_eq!(other.hide(text), secrets.hide(text));
        secrets.learn(&Secret::new("a-later-one"));
        assert_eq!(other.hide("a-later-one"), "***");
    }

    #[test]
    fn a_query_is_known_as_a_whole_and_in_parts() {
        let secrets = Secrets::default();
        secrets.learn_query("X-Amz-Signature=abc%2Fdef&X-Amz-Expires=3600&sig=1234567&type=image/jpeg");
        assert_eq!(secrets.hide("abc/def abc%2fdef 3600 1234567 image/jpeg"), "*** *** 3600 *** image/jpeg");
        assert_eq!(secrets.hide("X-Amz-Signature=abc/def&X-Amz-Expires=3600&sig=1234567&type=image%2Fjpeg."), "***.");
    }

    #[test]
    fn a_long_value_is_found_whole_and_in_part() {
        let token: String = (0..3000).map(|n| char::from(b'a' + u8::try_from(n * n % 23).unwrap())).collect();
        let secrets = Secrets::default();
        secrets.learn(&Secret::new(token.as_str()));
        assert!(secrets.hide(&token).chars().all(|c| c == '*'), "{}", secrets.hide(&token));
    }

    proptest! {
        #[test]
        fn a_value_is_found_in_base64(before in ".{0,5}", after in ".{0,5}", value in "\\PC{6,20}") {
            let secrets = Secrets::default();
            secrets.keep(&Secret::new(value.as_str()));
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = engine.encode(format!("{before}{value}{after}"));
                let clean = secrets.hide(&text);
                prop_assert!(clean.contains(HIDDEN), "{value:?} in {text} -> {clean}");
                prop_assert!(clean.len() <= text.len() - value.len() + HIDDEN.len() + 3, "{text} -> {clean}");
            }
        }
    }
}
