//! The secrets of a running machine, and their redaction.
//!
//! A service may repeat a password or token anywhere: in a path, a header, an error message. Everything written or
//! shown (recordings, log lines, errors) goes through [`Secrets::redact`] or the writers in this module.

mod masking_writer;
mod matcher;
mod patterns;
mod redacting_writer;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;

use crate::Secret;
use crate::sync::lock;
pub(crate) use masking_writer::MaskingWriter;
pub(crate) use matcher::Matcher;
pub(crate) use patterns::{is_secret_name, redact_named, redact_urls, redacted_urls};
pub(crate) use redacting_writer::RedactingWriter;

/// The replacement for secrets.
pub(crate) const MASK: &str = "***";
/// Request headers that contain no secrets, in lower case. Of all others only the name is kept.
pub(crate) const PUBLIC_REQUEST_HEADERS: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "origin",
    "range",
    "sec-websocket-protocol",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// Between one and two times this many tokens are remembered: enough for days of hourly reconnections.
const MAX_TOKENS: usize = 256;
/// The same for URL queries and their values.
const MAX_QUERIES: usize = 256;
/// A set that follows others remembers this many more tokens and queries for each of them: a machine has at most eight valid
/// tokens of a kind.
const MORE_FOR_EACH_LEADER: usize = 8;
/// Longer values are searched in pieces of this length.
const PIECE_CHARS: usize = 256;
/// See [`pieces`].
const LONG_RUN: &str = r"\\\\";
/// A query value of at least this length is treated as a secret; a shorter one only if its name says so.
const MIN_QUERY_VALUE: usize = 12;

/// The passwords and tokens of a machine. Clones share one set.
///
/// ```
/// use gf_emulator_core::{Secret, Secrets};
///
/// let secrets = Secrets::default();
/// secrets.add(&Secret::new("hunter2!"));
/// assert_eq!(secrets.redact("GET /hunter2%21/x failed"), "GET /***/x failed");
/// assert_eq!(secrets.redact("https://h/x?X-Sig=1"), "https://h/x?***");
/// ```
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<SecretSet>>);

#[derive(Default)]
struct SecretSet {
    /// Never evicted.
    permanent: VecDeque<Secret>,
    tokens: VecDeque<Secret>,
    queries: VecDeque<Secret>,
    /// Built on first use, and again after values were evicted.
    matcher: Option<Arc<Matcher>>,
    /// The sets that it follows, as far as they still exist.
    leaders: Vec<Weak<Mutex<SecretSet>>>,
    /// Sets that receive every value added here.
    followers: Vec<Weak<Mutex<SecretSet>>>,
}

/// What a value is. Determines how many are remembered.
#[derive(Clone, Copy)]
enum SecretKind {
    Permanent,
    Token,
    Query,
}

impl Secrets {
    /// Adds a permanent value: a password or a serial number. Values shorter than six characters are ignored, since
    /// they would match by chance.
    pub fn add(&self, secret: &Secret) {
        self.insert(secret, SecretKind::Permanent);
    }

    /// Adds a token. It is evicted after at least 256 newer ones.
    pub fn add_token(&self, token: &Secret) {
        self.insert(token, SecretKind::Token);
    }

    /// Adds the query of a presigned URL: as a whole, and its values. They are evicted after at least 256 newer ones.
    pub fn add_query(&self, query: &str) {
        let sensitive = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["sig", "token", "key", "secret", "cred", "pass", "auth"].iter().any(|word| name.contains(word))
        };
        let fields = query.split('&').filter_map(|field| field.split_once('='));
        let values =
            fields.filter(|(name, value)| value.len() >= MIN_QUERY_VALUE || sensitive(name)).map(|(_, value)| value);
        for value in [query].into_iter().chain(values) {
            // The decoded value also matches in its encoded forms.
            let decoded = percent_decode_str(value).decode_utf8().unwrap_or(value.into());
            self.insert(&Secret::new(decoded), SecretKind::Query);
        }
    }

    fn insert(&self, value: &Secret, kind: SecretKind) {
        let mut known = lock(&self.0);
        known.insert(value, kind);
        known.followers.retain(|follower| {
            let follower = follower.upgrade().map(Self);
            follower.inspect(|follower| follower.insert(value, kind)).is_some()
        });
    }

    /// Adds all values of another set, and those added to it later. Has no effect if both are the same set, or if `other`
    /// follows this one, directly or through others.
    pub fn follow(&self, other: &Self) {
        /// Two calls at the same time must not close a circle, in which a value would be added again and again.
        static FOLLOWING: Mutex<()> = Mutex::new(());
        let _guard = lock(&FOLLOWING);
        if other.follows(self) {
            return;
        }
        {
            let mut own = lock(&self.0);
            own.leaders.retain(|leader| leader.strong_count() > 0);
            own.leaders.push(Arc::downgrade(&other.0));
        }
        let mut leader = lock(&other.0);
        for (kind, values) in [
            (SecretKind::Permanent, &leader.permanent),
            (SecretKind::Token, &leader.tokens),
            (SecretKind::Query, &leader.queries),
        ] {
            for secret in values {
                self.insert(secret, kind);
            }
        }
        leader.followers.push(Arc::downgrade(&self.0));
    }

    /// Returns whether it is `other` or follows it, directly or through others.
    fn follows(&self, other: &Self) -> bool {
        let leaders = || lock(&self.0).leaders.iter().filter_map(Weak::upgrade).map(Self).collect::<Vec<_>>();
        Arc::ptr_eq(&self.0, &other.0) || leaders().iter().any(|leader| leader.follows(other))
    }

    /// Replaces with `***` every value (plain, base64, or escaped as in URLs, JSON or HTML), and the query, fragment
    /// and user name of every URL.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let text = redact_urls(text);
        self.matcher().replace(&text, MASK).unwrap_or(text)
    }

    /// Returns a matcher for all values.
    pub(crate) fn matcher(&self) -> Arc<Matcher> {
        let mut known = lock(&self.0);
        if let Some(matcher) = &known.matcher {
            return Arc::clone(matcher);
        }
        let mut matcher = Matcher::default();
        for secret in known.permanent.iter().chain(&known.tokens).chain(&known.queries) {
            add_to(&mut matcher, secret);
        }
        let matcher = Arc::new(matcher);
        known.matcher = Some(Arc::clone(&matcher));
        matcher
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = lock(&self.0);
        let count = known.permanent.len() + known.tokens.len() + known.queries.len();
        write!(f, "Secrets({count})")
    }
}

impl SecretSet {
    /// Adds a value. Evicts the older half of its kind at twice the limit.
    fn insert(&mut self, value: &Secret, kind: SecretKind) {
        let leaders = self.leaders.iter().filter(|leader| leader.strong_count() > 0).count();
        let more = leaders.saturating_sub(1) * MORE_FOR_EACH_LEADER;
        let (values, max) = match kind {
            SecretKind::Permanent => (&mut self.permanent, usize::MAX),
            SecretKind::Token => (&mut self.tokens, MAX_TOKENS + more),
            SecretKind::Query => (&mut self.queries, MAX_QUERIES + more),
        };
        if value.reveal().len() < matcher::MIN_CHARS || values.contains(value) {
            return;
        }
        let is_full = values.len() / 2 >= max;
        if is_full {
            values.drain(..max);
        }
        values.push_back(value.clone());
        if is_full {
            self.matcher = None;
        } else if let Some(matcher) = &mut self.matcher {
            add_to(Arc::make_mut(matcher), value);
        }
    }
}

fn add_to(matcher: &mut Matcher, value: &Secret) {
    for piece in pieces(value.reveal()) {
        for encoded in in_base64(&piece) {
            matcher.add(&encoded);
        }
        matcher.add(&piece);
    }
}

/// Splits a value into pieces that are each searched for.
///
/// Long runs of backslashes are not searched for: each of them can be read in several ways, and a service that chose a
/// token of backslashes could make the search take hours.
fn pieces(value: &str) -> Vec<String> {
    value.split(LONG_RUN).flat_map(short_pieces).collect()
}

/// Splits a value into pieces of limited length. The last one is longer if the rest would be too short.
fn short_pieces(value: &str) -> Vec<String> {
    let chars: Vec<char> = value.chars().collect();
    let mut pieces: Vec<String> = chars.chunks(PIECE_CHARS).map(|piece| piece.iter().collect()).collect();
    if pieces.len() > 1
        && pieces.last().is_some_and(|last| last.chars().count() < matcher::MIN_CHARS)
        && let Some(rest) = pieces.pop()
        && let Some(last) = pieces.last_mut()
    {
        last.push_str(&rest);
    }
    pieces
}

/// Returns the base64 forms of a value within a longer text, one per alignment, without the characters shared with its
/// neighbours.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn evicts_old_tokens_but_not_the_password() {
        let secrets = Secrets::default();
        secrets.add(&Secret::new("the password"));
        for n in 0..1000 {
            secrets.add_token(&Secret::new(format!("token-{n:04}")));
            secrets.add_query(&format!("X-Sig=a-signature-{n:04}"));
        }
        let text = "the password token-0999 token-0001 a-signature-0999 a-signature-0001";
        assert_eq!(secrets.redact(text), "*** *** token-0001 *** a-signature-0001");
        let known = lock(&secrets.0);
        assert!((MAX_TOKENS..=2 * MAX_TOKENS).contains(&known.tokens.len()), "{}", known.tokens.len());
        assert!((MAX_QUERIES..=2 * MAX_QUERIES).contains(&known.queries.len()), "{}", known.queries.len());
        drop(known);
        assert!(format!("{secrets:?}").starts_with("Secrets("));
    }

    #[test]
    fn a_value_of_backslashes_does_not_make_the_search_long() {
        let secrets = Secrets::default();
        let backslashes = "\\".repeat(300);
        secrets.add_token(&Secret::new(format!("{backslashes}the token{backslashes}another{backslashes}")));
        secrets.add_token(&Secret::new(r"\\\a\\\b\\\c"));
        let text = format!("{backslashes} the token {backslashes}another {}", backslashes.repeat(50));
        let clean = secrets.redact(&text);
        assert!(!clean.contains("the token") && !clean.contains("another"));
        assert_eq!(secrets.redact(r"is \\\a\\\b\\\c here"), "is *** here");
    }

    #[test]
    fn follows_another_set_but_not_itself() {
        let [first, second, third] = [(); 3].map(|()| Secrets::default());
        first.add(&Secret::new("the password"));
        third.follow(&second);
        second.follow(&first);
        first.follow(&first.clone());
        first.follow(&third);
        first.add_token(&Secret::new("a-later-one"));
        for secrets in [first, second, third] {
            assert_eq!(secrets.redact("the password a-later-one"), "*** ***");
        }
    }

    #[test]
    fn a_set_that_follows_many_machines_remembers_the_tokens_of_each() {
        let all = Secrets::default();
        let machines: Vec<_> = (0..200).map(|_| Secrets::default()).collect();
        for machine in &machines {
            all.follow(machine);
        }
        for (n, machine) in machines.iter().enumerate() {
            for token in 0..8 {
                machine.add_token(&Secret::new(format!("token-{n:03}-{token}")));
            }
        }
        assert_eq!(all.redact("token-000-0 token-199-7"), "*** ***");
    }

    #[test]
    fn redacts_a_query_as_a_whole_and_its_values() {
        let secrets = Secrets::default();
        secrets.add_query("X-Amz-Signature=abc%2Fdef&X-Amz-Expires=3600&sig=1234567&type=image/jpeg");
        assert_eq!(secrets.redact("abc/def abc%2fdef 3600 1234567 image/jpeg"), "*** *** 3600 *** image/jpeg");
        assert_eq!(secrets.redact("X-Amz-Signature=abc/def&X-Amz-Expires=3600&sig=1234567&type=image%2Fjpeg."), "***.");
    }

    #[test]
    fn redacts_a_long_value_completely() {
        let token: String = (0..3000).map(|n| char::from(b'a' + u8::try_from(n * n % 23).unwrap())).collect();
        let secrets = Secrets::default();
        secrets.add_token(&Secret::new(token.as_str()));
        assert!(secrets.redact(&token).chars().all(|c| c == '*'), "{}", secrets.redact(&token));
    }

    proptest! {
        #[test]
        fn redacts_base64(before in ".{0,5}", after in ".{0,5}", value in "\\PC{6,20}") {
            let secrets = Secrets::default();
            secrets.add(&Secret::new(value.as_str()));
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = engine.encode(format!("{before}{value}{after}"));
                let clean = secrets.redact(&text);
                prop_assert!(clean.contains(MASK), "{value:?} in {text} -> {clean}");
                prop_assert!(clean.len() <= text.len() - value.len() + MASK.len() + 3, "{text} -> {clean}");
            }
        }
    }
}
