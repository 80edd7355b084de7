//! Interpolation of `%(name)s` in values, as in Python's `configparser`.
//!
//! A name is looked up in the value's own section, then in `[DEFAULT]`, recursively. `%%` is a percent sign. Any other
//! `%` stands as it is: `configparser` refuses it, the newest Python client does not. Work and memory are bounded for any
//! file.

use std::collections::{HashMap, HashSet};

use super::text::{Entry, Section, shown};

/// The maximum nesting of references: Python's own limit.
const MAX_DEPTH: usize = 10;

/// The maximum size of all interpolated text of a file. Otherwise a few lines that double each other would exhaust
/// memory.
const MAX_EXPANSION_BYTES: usize = 4 << 20;

/// A value that cannot be interpolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InterpolationError {
    /// The line of the invalid value, which may be one that the requested value refers to.
    pub(super) line: usize,
    /// What is wrong, and what would be valid.
    pub(super) what: String,
}

/// The remaining interpolation budget of a file, in bytes.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_EXPANSION_BYTES)
    }
}

impl Budget {
    /// Spends `bytes`. Returns `false` once the budget is exhausted, and from then on.
    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Interpolates the values of a section.
pub(super) struct Scope<'a> {
    own: &'a Section,
    defaults: &'a Section,
    /// Interpolated values and their depths.
    cache: HashMap<&'a str, (String, usize)>,
    /// The keys referenced by other values.
    pub(super) referenced: HashSet<&'a str>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(section: &'a Section, defaults: &'a Section) -> Self {
        Self { own: section, defaults, cache: HashMap::new(), referenced: HashSet::new() }
    }

    /// Returns the interpolated value of `entry`, which belongs to this section or the defaults.
    pub(super) fn value(&mut self, entry: &'a Entry, budget: &mut Budget) -> Result<String, InterpolationError> {
        self.expand(entry, &mut Vec::new(), budget).map(|(value, _)| value)
    }

    /// Returns the interpolated value and its depth. `stack` holds the keys being expanded.
    fn expand(
        &mut self,
        entry: &'a Entry,
        stack: &mut Vec<&'a str>,
        budget: &mut Budget,
    ) -> Result<(String, usize), InterpolationError> {
        let error = |what: String| InterpolationError { line: entry.line, what };
        let too_deep =
            || error(format!("%(...)s in {} is nested more than {MAX_DEPTH} levels deep", shown(&entry.key)));
        let too_much = || error("the %(...)s references of this file expand to too much text".into());

        if !entry.value.contains('%') {
            return Ok((entry.value.clone(), 0));
        }
        if !budget.spend(1) {
            return Err(too_much());
        }
        if stack.len() == MAX_DEPTH {
            return Err(too_deep());
        }
        stack.push(&entry.key);
        let (mut value, mut depth, mut rest) = (String::new(), 1, entry.value.as_str());
        while let Some((plain, after)) = rest.split_once('%') {
            if !budget.spend(plain.len() + 1) {
                return Err(too_much());
            }
            value.push_str(plain);
            if let Some(after) = after.strip_prefix('%') {
                value.push('%');
                rest = after;
                continue;
            }
            let Some((name, after)) = reference(after) else {
                value.push('%');
                rest = after;
                continue;
            };
            let found = self.find(&name).ok_or_else(|| {
                // What looks like a reference may be part of the password.
                let name = if entry.key == "password" { "..." } else { shown(&name) };
                let key = shown(&entry.key);
                error(format!("{key} refers to %({name})s, which is not in its section or [DEFAULT]"))
            })?;
            self.referenced.insert(&found.key);
            if stack.contains(&found.key.as_str()) {
                return Err(error(format!("%({})s refers to itself", shown(&found.key))));
            }
            if !self.cache.contains_key(found.key.as_str()) {
                let inner = self.expand(found, stack, budget)?;
                self.cache.insert(&found.key, inner);
            }
            let (inner, inner_depth) = &self.cache[found.key.as_str()];
            depth = depth.max(inner_depth + 1);
            if depth > MAX_DEPTH {
                return Err(too_deep());
            }
            if !budget.spend(inner.len()) {
                return Err(too_much());
            }
            value.push_str(inner);
            rest = after;
        }
        value.push_str(rest);
        stack.pop();
        Ok((value, depth))
    }

    fn find(&self, name: &str) -> Option<&'a Entry> {
        self.own.entry(name).or_else(|| self.defaults.entry(name))
    }
}

/// Returns whether `text` has a `%` that is neither part of a reference nor doubled.
pub(super) fn has_lone_percent(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match (after.strip_prefix('%'), reference(after)) {
            (Some(after), _) | (None, Some((_, after))) => after,
            (None, None) => return true,
        };
    }
    false
}

/// Parses the reference after a `%`. Returns its name in lower case, and the rest.
///
/// A name contains no `%`: many unfinished references in one value take linear time.
fn reference(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('(')?;
    let (name, after) = text.split_at(text.find([')', '%'])?);
    let after = after.strip_prefix(")s")?;
    if name.is_empty() { None } else { Some((name.to_lowercase(), after)) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::super::text::Text;
    use super::*;

    /// Returns the value of the key `k` in the first section.
    fn value_of_k(text: &str) -> Result<String, InterpolationError> {
        let mut problems = Vec::new();
        let text = Text::parse(text, &mut problems);
        assert_eq!(problems, []);
        let section = &text.sections[0];
        let entry = section.entry("k").expect("the test's text has a key k");
        Scope::new(section, &text.defaults).value(entry, &mut Budget::default())
    }

    fn error_line(text: &str) -> usize {
        value_of_k(text).expect_err("an error").line
    }

    #[test]
    fn interpolates_references() {
        let ok = |text: &str| value_of_k(text).expect("no error");
        assert_eq!(ok("[A]\nbase_dir: here\nk: %(base_dir)s/x and %(Base_DIR)s"), "here/x and here");
        assert_eq!(ok("[DEFAULT]\nd: there\n[A]\nk: %(d)s"), "there");
        assert_eq!(ok("[DEFAULT]\nd: there\n[A]\nd: here\nk: %(d)s"), "here");
        assert_eq!(ok("[DEFAULT]\nd: %(b)s/d\n[A]\nb: here\nk: %(d)s"), "here/d");
        assert_eq!(ok("[A]\na: %(b)s%(b)s\nb: %(c)s-\nc: x\nk: %(a)s%(b)s"), "x-x-x-");
        assert_eq!(ok("[A]\nk: 100%% %%(x)s"), "100% %(x)s");
        assert_eq!(ok("[A]\nk:"), "");
        assert_eq!(ok("[A]\nl: 5%\nk: 100% %s %(x %(x)d %()s %(l)s %"), "100% %s %(x %(x)d %()s 5% %");
        assert_eq!(ok("[A]\nl: x\nk: %(%(l)s %(l%(l)s)s"), "%(x %(lx)s", "a reference begins at the last %");
    }

    #[test]
    fn errors_have_the_line_of_the_invalid_value() {
        assert_eq!(error_line("[A]\nk: %(x)s"), 2);
        assert_eq!(error_line("[A]\nk: 100% %(x)s"), 2);
        assert_eq!(error_line("[A]\nk: %(k)s"), 2);
        assert_eq!(error_line("[A]\nk: %(l)s\nl: %(k)s"), 3);
        assert_eq!(error_line("[A]\nk: %(l)s\nl: %(x)s"), 3);
        // Keys of other sections are not visible.
        assert_eq!(error_line("[A]\nk: %(l)s\n[B]\nl: x"), 2);
    }

    /// Returns a file in which `k` refers to `k1`, that to `k2` and so on, with `values` references.
    fn chain(values: usize) -> String {
        let mut text = String::from("[A]\nk: %(k1)s\n");
        for n in 1..values {
            writeln!(text, "k{n}: %(k{})s", n + 1).expect("writing to a String cannot fail");
        }
        writeln!(text, "k{values}: end").expect("writing to a String cannot fail");
        text
    }

    #[test]
    fn limits_the_depth_to_ten() {
        assert_eq!(value_of_k(&chain(10)).as_deref(), Ok("end"));
        assert!(value_of_k(&chain(11)).is_err());
        assert!(value_of_k(&chain(20_000)).is_err());
    }

    #[test]
    fn cached_values_keep_their_depth() {
        let text = chain(11);
        let text = Text::parse(&text, &mut Vec::new());
        let section = &text.sections[0];
        let (mut scope, mut budget) = (Scope::new(section, &text.defaults), Budget::default());
        for entry in section.entries.iter().rev() {
            assert_eq!(scope.value(entry, &mut budget).is_err(), entry.key == "k", "{}", entry.key);
        }
    }

    #[test]
    fn limits_the_size_of_interpolated_text() {
        let mut text = format!("[A]\nk: {}\n", "%(a)s".repeat(100));
        for (key, next) in ["a", "b", "c", "d", "e"].iter().zip(["b", "c", "d", "e", "f"]) {
            writeln!(text, "{key}: {}", format!("%({next})s").repeat(100)).expect("writing to a String cannot fail");
        }
        text.push_str("f: 0123456789");
        assert!(value_of_k(&text).expect_err("10 to the 13th bytes").what.contains("too much"));
    }

    proptest! {
        #[test]
        fn a_doubled_percent_sign_is_a_percent_sign(text in "[ -~]{0,40}") {
            let cfg = format!("[A]\nk: {}", text.replace('%', "%%"));
            let value = value_of_k(&cfg).expect("no error");
            prop_assert_eq!(value, text.trim());
            prop_assert!(!has_lone_percent(&text.replace('%', "%%")));
        }

        #[test]
        fn a_lone_percent_sign_stands_as_it_is(text in "[ -$&-~]{0,20}(%[ -$&-'*-~][ -$&-~]{0,10}){0,3}%?") {
            let cfg = format!("[A]\nk: x{text}");
            let value = value_of_k(&cfg).expect("no error");
            let expected = format!("x{text}");
            prop_assert_eq!(value, expected.trim());
            prop_assert_eq!(has_lone_percent(&text), text.contains('%'));
        }

        #[test]
        fn a_reference_is_replaced_by_its_value(
            before in "[a-z/]{0,8}", inner in "[a-z0-9./:=#;-]{0,20}", after in "[a-z/]{0,8}",
        ) {
            let cfg = format!("[A]\nname = {inner}\nk = x{before}%(NAME)s{after}");
            prop_assert_eq!(value_of_k(&cfg), Ok(format!("x{before}{inner}{after}")));
        }
    }
}
