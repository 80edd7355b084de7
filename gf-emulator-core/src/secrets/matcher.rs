//! Finds known values in text, however their characters are escaped.
//!
//! A character may be plain, or escaped as in a URL (`%70`, `+`), JSON (`\u0070`, `\/`) or HTML (`&#112;`, `&amp;`).
//! The first character of an escape may be escaped again. Each character of a value may use a different form.

use std::ops::Range;

/// The minimum length of a value in characters, and the maximum depth of the index.
pub(super) const MIN_CHARS: usize = 6;
/// A leaf of the index with more values is divided, unless it is at the maximum depth.
const MAX_LEAF_VALUES: usize = 8;
/// The longest form of a character: a surrogate pair in JSON, each half after eight backslashes.
const MAX_FORM_BYTES: usize = 26;
/// How many times an escape may be escaped again.
const MAX_NESTING: usize = 3;

/// Searches for a set of values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matcher {
    values: Vec<Box<str>>,
    /// A trie of the first characters of the values. The first node is the root.
    nodes: Vec<Node>,
    begins: Pairs,
    max_chars: usize,
}

/// A machine collects thousands of values, so only prefixes of several of them have nodes.
#[derive(Debug, Clone, Default)]
struct Node {
    /// The nodes of longer prefixes; empty in a leaf.
    next: Vec<(char, u32)>,
    /// The values with this prefix, in a leaf.
    values: Vec<u32>,
}

impl Matcher {
    /// Adds a value, unless it is shorter than [`MIN_CHARS`].
    pub(super) fn add(&mut self, value: &str) {
        let (length, Ok(index)) = (value.chars().count(), u32::try_from(self.values.len())) else { return };
        let mut chars = value.chars();
        let (Some(begin), Some(next)) = (chars.next(), chars.next()) else { return };
        if length < MIN_CHARS {
            return;
        }
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
            // Anything may follow the start of an escape.
            b"%\\&".iter().for_each(|&byte| self.begins.add_all(byte));
        }
        let first_byte = |c: char| c.encode_utf8(&mut [0; 4]).as_bytes()[0];
        let (first, second) = (first_byte(begin), first_byte(next));
        for byte in [second, b'%', b'\\', b'&', b'+'] {
            self.begins.add(first, byte);
        }
        // Anything may follow an escaped blank, or the first byte of a character.
        if begin == ' ' {
            self.begins.add_all(b'+');
        } else if !first.is_ascii() {
            self.begins.add_all(first);
        }
        self.max_chars = self.max_chars.max(length);
        self.values.push(value.into());
        let (mut at, mut depth) = (0, 0);
        while !self.nodes[at].next.is_empty() {
            at = self.child(at, index, depth);
            depth += 1;
        }
        self.nodes[at].values.push(index);
        if self.nodes[at].values.len() > MAX_LEAF_VALUES && depth < MIN_CHARS {
            for index in std::mem::take(&mut self.nodes[at].values) {
                let child = self.child(at, index, depth);
                self.nodes[child].values.push(index);
            }
        }
    }

    /// Returns the node below `node` for a value, whose character at `depth` is the next one. Adds it if there is none.
    fn child(&mut self, node: usize, value: u32, depth: usize) -> usize {
        let c = self.values[value as usize].chars().nth(depth).unwrap_or_default();
        if let Some(&(_, child)) = self.nodes[node].next.iter().find(|(have, _)| *have == c) {
            return child as usize;
        }
        let new = self.nodes.len();
        self.nodes.push(Node::default());
        // There is no memory for more than 4 billion nodes.
        self.nodes[node].next.push((c, u32::try_from(new).unwrap_or_default()));
        new
    }

    /// Returns the maximum length of a match in bytes.
    pub(crate) fn max_match_bytes(&self) -> usize {
        self.max_chars * MAX_FORM_BYTES
    }

    /// Iterates over the matches that begin within `starts`, in order. They may overlap, and may end after it.
    pub(crate) fn matches<'a>(
        &'a self,
        text: &'a [u8],
        starts: Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut at = starts.start;
        std::iter::from_fn(move || {
            while at < starts.end && at + 1 < text.len() && !self.values.is_empty() {
                let start = at;
                at += 1;
                if self.begins.contains(text[start], text[at]) {
                    let mut end = None;
                    self.walk(text, start, (0, 0), &mut end);
                    if let Some(end) = end {
                        return Some(start..end);
                    }
                }
            }
            None
        })
    }

    /// Returns whether `text` contains any value.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.matches(text.as_bytes(), 0..text.len()).next().is_some()
    }

    /// Replaces every value with `mark`. Returns `None` if there is none.
    pub(crate) fn replace(&self, text: &str, mark: &str) -> Option<String> {
        let mut clean = String::new();
        let (mut copied, mut hidden_to) = (0, None);
        for Range { start, end } in self.matches(text.as_bytes(), 0..text.len()) {
            match hidden_to {
                Some(to) if start < to => hidden_to = Some(end.max(to)),
                _ => {
                    copied = hidden_to.unwrap_or(copied);
                    clean.push_str(text.get(copied..start).unwrap_or_default());
                    clean.push_str(mark);
                    hidden_to = Some(end);
                }
            }
        }
        clean.push_str(text.get(hidden_to?..).unwrap_or_default());
        Some(clean)
    }

    /// Walks the trie from `at` and a node with its depth, and updates the furthest end of a match.
    fn walk(&self, text: &[u8], at: usize, (node, depth): (usize, usize), furthest: &mut Option<usize>) {
        let node = &self.nodes[node];
        for &value in &node.values {
            let end = end_of(text, at, self.values[value as usize].chars().skip(depth));
            *furthest = (*furthest).max(end);
        }
        if !node.next.is_empty() {
            decodings(text, at, |c, end| {
                if let Some(&(_, next)) = node.next.iter().find(|(have, _)| *have == c) {
                    self.walk(text, end, (next as usize, depth + 1), furthest);
                }
            });
        }
    }
}

/// The pairs of bytes that a value can begin with.
#[derive(Debug, Clone)]
struct Pairs {
    /// For each first byte, the index of its row; row 0 is empty.
    rows: [u8; 256],
    /// Which second bytes there are, a bit for each.
    seconds: Vec<[u64; 4]>,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { rows: [0; 256], seconds: vec![[0; 4]] }
    }
}

impl Pairs {
    fn add(&mut self, first: u8, second: u8) {
        if let Some(seconds) = self.row(first) {
            seconds[usize::from(second / 64)] |= 1 << (second % 64);
        }
    }

    fn add_all(&mut self, first: u8) {
        if let Some(seconds) = self.row(first) {
            *seconds = [u64::MAX; 4];
        }
    }

    fn row(&mut self, first: u8) -> Option<&mut [u64; 4]> {
        let row = &mut self.rows[usize::from(first)];
        if *row == 0 {
            // No character of UTF-8 begins with one of the bytes 0x80 to 0xC1: there are fewer than 256 rows.
            *row = u8::try_from(self.seconds.len()).ok()?;
            self.seconds.push([0; 4]);
        }
        self.seconds.get_mut(usize::from(*row))
    }

    fn contains(&self, first: u8, second: u8) -> bool {
        let row = self.rows[usize::from(first)];
        row != 0 && self.seconds[usize::from(row)][usize::from(second / 64)] >> (second % 64) & 1 == 1
    }
}

/// Returns where the characters `rest`, starting at `at`, end at the latest.
fn end_of(text: &[u8], at: usize, mut rest: impl Iterator<Item = char>) -> Option<usize> {
    let mut ends = Vec::new();
    let Some(first) = rest.next() else { return Some(at) };
    decodings(text, at, |c, end| {
        if c == first && !ends.contains(&end) {
            ends.push(end);
        }
    });
    let mut next = Vec::new();
    for wanted in rest {
        if ends.is_empty() {
            return None;
        }
        next.clear();
        for &at in &ends {
            decodings(text, at, |c, end| {
                if c == wanted && !next.contains(&end) {
                    next.push(end);
                }
            });
        }
        std::mem::swap(&mut ends, &mut next);
    }
    ends.into_iter().max()
}

/// Calls `found` with each possible reading of the character at `at`, and its end.
fn decodings(text: &[u8], at: usize, mut found: impl FnMut(char, usize)) {
    let Some(&first) = text.get(at) else { return };
    if first.is_ascii() {
        found(char::from(first), at + 1);
    } else if let Some((c, end)) = utf8(text, at, |at| Some((*text.get(at)?, at + 1))) {
        found(c, end);
    }
    match first {
        b'+' => found(' ', at + 1),
        b'&' => {
            if let Some((c, end)) = entity(text, at) {
                found(c, end);
            }
        }
        b'%' | b'\\' => {
            if first == b'%' {
                if let Some((c, end)) = utf8(text, at, |at| percent(text, at).or(Some((*text.get(at)?, at + 1)))) {
                    found(c, end);
                }
                // It may also be an escaped `%` on its own.
                let mut end = at + 1;
                while end < at + 1 + 2 * MAX_NESTING && text.get(end..end + 2) == Some(b"25") {
                    end += 2;
                    found('%', end);
                }
            }
            backslashed(text, at, &mut found);
        }
        // Only some bytes of a multi-byte character may be escaped.
        128.. => {
            if let Some((c, end)) = utf8(text, at, |at| percent(text, at).or(Some((*text.get(at)?, at + 1)))) {
                found(c, end);
            }
        }
        _ => {}
    }
}

/// Decodes a UTF-8 character. `byte` returns the byte at an offset, and its end.
fn utf8(text: &[u8], at: usize, byte: impl Fn(usize) -> Option<(u8, usize)>) -> Option<(char, usize)> {
    debug_assert!(at < text.len());
    let (first, mut end) = byte(at)?;
    let length = match first {
        0..=0x7f => return Some((char::from(first), end)),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let mut bytes = [first; 4];
    for slot in &mut bytes[1..length] {
        (*slot, end) = byte(end)?;
    }
    Some((std::str::from_utf8(&bytes[..length]).ok()?.chars().next()?, end))
}

/// Decodes a percent-encoded byte: `%70`, or `%2570` if escaped again.
fn percent(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut at = text.get(at).filter(|c| **c == b'%').map(|_| at + 1)?;
    for _ in 0..MAX_NESTING {
        let byte = u8::try_from(hex(text, at, 2)?).ok()?;
        // An escaped `%` followed by two digits starts another escape.
        if byte != b'%' || hex(text, at + 2, 2).is_none() {
            return Some((byte, at + 2));
        }
        at += 2;
    }
    None
}

/// Decodes a JSON escape, after one backslash or several if JSON is nested in JSON strings.
fn backslashed(text: &[u8], at: usize, found: &mut impl FnMut(char, usize)) {
    // A backslash may itself be percent-encoded.
    let backslash = |at: usize| match text.get(at)? {
        b'\\' => Some(at + 1),
        b'%' => percent(text, at).filter(|(byte, _)| *byte == b'\\').map(|(_, end)| end),
        _ => None,
    };
    let (mut end, mut count) = (at, 0_usize);
    while count < 1 << MAX_NESTING
        && let Some(next) = backslash(end)
    {
        (end, count) = (next, count + 1);
        if count > 1 && count.is_power_of_two() {
            found('\\', end);
        }
    }
    if count == 0 {
        return;
    }
    match text.get(end) {
        Some(&c @ (b'/' | b'"' | b'\'')) => found(char::from(c), end + 1),
        Some(b'n') => found('\n', end + 1),
        Some(b'r') => found('\r', end + 1),
        Some(b't') => found('\t', end + 1),
        Some(b'b') => found('\u{8}', end + 1),
        Some(b'f') => found('\u{c}', end + 1),
        Some(b'u') => {
            let Some(unit) = hex(text, end + 1, 4) else { return };
            end += 5;
            if let Some(c) = char::from_u32(unit) {
                return found(c, end);
            }
            let mut second = end;
            while let Some(next) = backslash(second) {
                second = next;
            }
            if second > end
                && text.get(second) == Some(&b'u')
                && let Some(low @ 0xdc00..=0xdfff) = hex(text, second + 1, 4)
                && let Some(c) = char::from_u32(0x10000 + (((unit & 0x3ff) << 10) | (low & 0x3ff)))
            {
                found(c, second + 5);
            }
        }
        _ => {}
    }
}

/// Decodes an HTML character reference.
fn entity(text: &[u8], at: usize) -> Option<(char, usize)> {
    const MAX_BYTES: usize = 10;
    let rest = &text[at + 1..text.len().min(at + 1 + MAX_BYTES)];
    let length = rest.iter().position(|c| *c == b';')?;
    let name = std::str::from_utf8(&rest[..length]).ok()?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let hex = number.strip_prefix(['x', 'X']);
            char::from_u32(hex.map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())?)?
        }
    };
    Some((c, at + 1 + length + 1))
}

fn hex(text: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = text.get(at..at + digits)?;
    digits.iter().try_fold(0, |number, digit| Some((number << 4) | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn matcher(values: &[&str]) -> Matcher {
        let mut matcher = Matcher::default();
        for value in values {
            matcher.add(value);
        }
        matcher
    }

    fn hidden(values: &[&str], text: &str) -> String {
        matcher(values).replace(text, "***").unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn finds_values_in_every_encoding() {
        for text in [
            "pass/word é",
            "pass%2Fword%20%C3%A9",
            "p%61ss%2fword+é",
            "pass%252Fword%2520%25C3%25A9",
            r"pass\/word \u00e9",
            r"\u0070\u0061ss\u002Fword\u0020\u00E9",
            r"pass\\/word \\u00e9",
            "pass%5C/word %5Cu00e9",
            "pass&#47;word&#x20;&#233;",
            "%70%61%73%73%2f%77%6f%72%64%20\\u00e9",
        ] {
            assert_eq!(hidden(&["pass/word é"], &format!("<{text}>")), "<***>", "{text}");
        }
        for text in ["pass/word e", "pass/word", "pass//word é", "ass/word é", ""] {
            assert_eq!(hidden(&["pass/word é"], text), text);
        }
        assert_eq!(hidden(&["\u{1f600}23456"], r"\ud83d\ude0023456 \ud83d23456"), r"*** \ud83d23456");
        assert_eq!(hidden(&["a%41\\n<&>"], r"a%41\n<&> a%2541\\n&lt;&amp;> a%41\n<&"), r"*** *** a%41\n<&");
    }

    #[test]
    fn finds_each_of_many_values_and_needs_few_nodes() {
        let values: Vec<_> = (0..3000_u32).map(|n| format!("{:08x}-{n}", n.wrapping_mul(0x9e37_79b9))).collect();
        let same_begin = (0..100).map(|n| format!("abcdefgh{n:03}"));
        let values: Vec<_> = values.into_iter().chain(same_begin).collect();
        let matcher = matcher(&values.iter().map(String::as_str).collect::<Vec<_>>());
        for value in &values {
            assert_eq!(matcher.replace(&format!("<{value}>"), "***").as_deref(), Some("<***>"), "{value}");
            let cut = value.len() - 1;
            assert!(!matcher.is_match(&value[..cut]), "{value}");
        }
        assert!(matcher.nodes.len() < 2 * values.len(), "{}", matcher.nodes.len());
    }

    #[test]
    fn merges_overlapping_matches() {
        assert_eq!(hidden(&["abcdefgh", "efghijkl", "ijklmnop"], "_abcdefghijklmnop_"), "_***_");
        assert_eq!(hidden(&["abcdef", "abcdefgh"], "abcdefghabcdef abcdefg"), "****** ***g");
        assert_eq!(hidden(&["short"], "short"), "short", "too short");
        assert_eq!(hidden(&[], "abcdef"), "abcdef");
    }

    proptest! {
        #[test]
        fn replaces_every_match(
            values in proptest::collection::vec("[a-c%\\\\+ &\"é]{6,12}", 1..4),
            before in "[a-c%\\\\ &]{0,9}",
            after in ".{0,9}",
            ways in proptest::collection::vec(0..4_u8, 12),
        ) {
            let value = &values[0];
            let percent = |byte: u8| format!("%{byte:02x}");
            let written: String = value.chars().zip(ways.iter().cycle()).map(|(c, way)| match way {
                0 => c.to_string(),
                1 => c.to_string().bytes().map(percent).collect(),
                2 => format!("\\u{:04X}", u32::from(c)),
                _ => format!("&#{};", u32::from(c)),
            }).collect();
            let matcher = matcher(&values.iter().map(String::as_str).collect::<Vec<_>>());
            let text = format!("{before}{written}{after}");
            // A preceding backslash allows another reading, and more is replaced.
            let clean = matcher.replace(&text, "*").unwrap();
            prop_assert!(!clean.contains(&written), "{text} -> {clean}");
            prop_assert!(!matcher.is_match(&clean), "{text} -> {clean}");
        }

        #[test]
        fn accepts_any_text_without_a_panic(text in "[%\\\\&+#;ux0-9a-f\\PC]{0,60}", value in "\\PC{6,9}") {
            let matcher = matcher(&[&value]);
            let _ = matcher.replace(&text, "");
        }
    }
}
