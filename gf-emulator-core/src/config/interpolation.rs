//! `%(name)s` in values, as Python's `configparser` fills it in.
//!
//! A name is looked up in the value's own section, then in `[DEFAULT]`; what is found may refer further. Pure, and
//! bounded in work and memory whatever the file says.

use std::collections::{HashMap, HashSet};

use super::text::{Entry, Section, shown};

/// How many values deep a reference may go: Python's own limit.
const MAX_DEPTH: usize = 10;

/// How much text all references of one file may make together. A few lines that double each other ten times over would
/// otherwise fill the memory.
const MAX_EXPANSION_BYTES: usize = 4 << 20;

/// A value that cannot be filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where the value with the fault stands, which may be further on than the value that was asked for.
    pub(super) line: usize,
    /// What is wrong and what would be right.
    pub(super) what: String,
}

/// What is left of the work that one file may ask for.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_EXPANSION_BYTES)
    }
}

impl Budget {
    /// Takes `bytes` of it; once it is gone it stays gone, so that nothing more is even looked at.
    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// One section's values.
pub(super) struct Scope<'a> {
    own: &'a Section,
    defaults: &'a Section,
    /// What was filled in already, and how deep it went.
    done: HashMap<&'a str, (String, usize)>,
    /// The keys that another value has referred to.
    pub(super) referred: HashSet<&'a str>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(section: &'a Section, defaults: &'a Section) -> Self {
        Self { own: section, defaults, done: HashMap::new(), referred: HashSet::new() }
    }

    /// The value of `entry`, which is one of this section or of the defaults, with all its references filled in.
    pub(super) fn value(&mut self, entry: &'a Entry, budget: &mut Budget) -> Result<String, Fault> {
        self.expand(entry, &mut Vec::new(), budget).map(|(value, _)| value)
    }

    /// The value, and how many values deep its references go.
    fn expand(
        &mut self,
        entry: &'a Entry,
        under_way: &mut Vec<&'a str>,
        budget: &mut Budget,
    ) -> Result<(String, usize), Fault> {
        let fault = |what: String| Fault { line: entry.line, what };
        let too_deep = || fault(format!("%(...)s in {} goes more than {MAX_DEPTH} values deep", shown(&entry.key)));
        let too_much = || fault("the %(...)s of this file make too much text: refer to shorter values".into());

        if !entry.value.contains('%') {
            return Ok((entry.value.clone(), 0));
        }
        if !budget.spend(1) {
            return Err(too_much());
        }
        if under_way.len() == MAX_DEPTH {
            return Err(too_deep());
        }
        under_way.push(&entry.key);
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
            let (name, after) = reference(after).ok_or_else(|| {
                let key = shown(&entry.key);
                fault(format!("a % in {key} must be followed by (name)s, or doubled where a percent sign is meant"))
            })?;
            let found = self.find(&name).ok_or_else(|| {
                // What a password seems to refer to may be a part of the password.
                let name = if entry.key == "password" { "..." } else { shown(&name) };
                let key = shown(&entry.key);
                fault(format!("{key} refers to %({name})s, which is neither in its section nor in [DEFAULT]"))
            })?;
            self.referred.insert(&found.key);
            if under_way.contains(&found.key.as_str()) {
                return Err(fault(format!("%({})s comes back to itself", shown(&found.key))));
            }
            if !self.done.contains_key(found.key.as_str()) {
                let inner = self.expand(found, under_way, budget)?;
                self.done.insert(&found.key, inner);
            }
            let (inner, inner_depth) = &self.done[found.key.as_str()];
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
        under_way.pop();
        Ok((value, depth))
    }

    fn find(&self, name: &str) -> Option<&'a Entry> {
        self.own.entry(name).or_else(|| self.defaults.entry(name))
    }
}

/// The name of the reference whose `%` comes just before `text`, in lower case, and what follows it.
fn reference(text: &str) -> Option<(String, &str)> {
    let (name, after) = text.strip_prefix('(')?.split_once(')')?;
    let after = after.strip_prefix('s')?;
    if name.is_empty() { None } else { Some((name.to_lowercase(), after)) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::super::text::Text;
    use super::*;

    /// The value of the key `k` in the first section.
    fn value_of_k(text: &str) -> Result<String, Fault> {
        let mut problems = Vec::new();
        let text = Text::parse(text, &mut problems);
        assert_eq!(problems, []);
        let section = &text.sections[0];
        let entry = section.entry("k").expect("the test's text has a key k");
        Scope::new(section, &text.defaults).value(entry, &mut Budget::default())
    }

    fn line_of_fault(text: &str) -> usize {
        value_of_k(text).expect_err("a fault").line
    }

    #[test]
    fn references_are_filled_in() {
        let ok = |text: &str| value_of_k(text).expect("no fault");
        assert_eq!(ok("[A]\nbase_dir: here\nk: %(base_dir)s/x and %(Base_DIR)s"), "here/x and here");
        assert_eq!(ok("[DEFAULT]\nd: there\n[A]\nk: %(d)s"), "there");
        assert_eq!(ok("[DEFAULT]\nd: there\n[A]\nd: here\nk: %(d)s"), "here");
        assert_eq!(ok("[DEFAULT]\nd: %(b)s/d\n[A]\nb: here\nk: %(d)s"), "here/d");
        assert_eq!(ok("[A]\na: %(b)s%(b)s\nb: %(c)s-\nc: x\nk: %(a)s%(b)s"), "x-x-x-");
        assert_eq!(ok("[A]\nk: 100%% %%(x)s"), "100% %(x)s");
        assert_eq!(ok("[A]\nk:"), "");
    }

    #[test]
    fn faults_are_on_the_line_of_the_value_that_has_them() {
        for text in ["[A]\nk: 100%", "[A]\nk: %s", "[A]\nk: %(x", "[A]\nk: %(x)d", "[A]\nk: %()s", "[A]\nk: %(x)s"] {
            assert_eq!(line_of_fault(text), 2, "{text}");
        }
        assert_eq!(line_of_fault("[A]\nk: %(k)s"), 2);
        assert_eq!(line_of_fault("[A]\nk: %(l)s\nl: %(k)s"), 3);
        assert_eq!(line_of_fault("[A]\nk: %(l)s\nl: 5%"), 3);
        // Another section's keys are out of reach.
        assert_eq!(line_of_fault("[A]\nk: %(l)s\n[B]\nl: x"), 2);
    }

    /// `k` refers to `k1`, that to `k2`, and so on for `values` values with a reference, then a plain one.
    fn chain(values: usize) -> String {
        let mut text = String::from("[A]\nk: %(k1)s\n");
        for n in 1..values {
            writeln!(text, "k{n}: %(k{})s", n + 1).expect("a String takes everything");
        }
        writeln!(text, "k{values}: end").expect("a String takes everything");
        text
    }

    #[test]
    fn ten_values_deep_and_no_further() {
        assert_eq!(value_of_k(&chain(10)).as_deref(), Ok("end"));
        assert!(value_of_k(&chain(11)).is_err());
        assert!(value_of_k(&chain(20_000)).is_err());
    }

    #[test]
    fn depth_counts_the_same_for_a_value_that_was_filled_in_before() {
        let text = chain(11);
        let text = Text::parse(&text, &mut Vec::new());
        let section = &text.sections[0];
        let (mut scope, mut budget) = (Scope::new(section, &text.defaults), Budget::default());
        for entry in section.entries.iter().rev() {
            assert_eq!(scope.value(entry, &mut budget).is_err(), entry.key == "k", "{}", entry.key);
        }
    }

    #[test]
    fn doubling_values_do_not_fill_the_memory() {
        let mut text = format!("[A]\nk: {}\n", "%(a)s".repeat(100));
        for (key, next) in ["a", "b", "c", "d", "e"].iter().zip(["b", "c", "d", "e", "f"]) {
            writeln!(text, "{key}: {}", format!("%({next})s").repeat(100)).expect("a String takes everything");
        }
        text.push_str("f: 0123456789");
        assert!(value_of_k(&text).expect_err("10 to the 13th bytes").what.contains("too much"));
    }

    proptest! {
        #[test]
        fn a_doubled_percent_sign_brings_any_text_through(text in "[ -~]{0,40}") {
            let cfg = format!("[A]\nk: {}", text.replace('%', "%%"));
            let value = value_of_k(&cfg).expect("no fault");
            prop_assert_eq!(value, text.trim());
        }

        #[test]
        fn a_reference_is_the_text_it_refers_to(
            before in "[a-z/]{0,8}", inner in "[a-z0-9./:=#;-]{0,20}", after in "[a-z/]{0,8}",
        ) {
            let cfg = format!("[A]\nname = {inner}\nk = x{before}%(NAME)s{after}");
            prop_assert_eq!(value_of_k(&cfg), Ok(format!("x{before}{inner}{after}")));
        }
    }
}
