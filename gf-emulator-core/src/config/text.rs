//! A `.cfg` file's text, as Python's `configparser` reads it: sections, keys, values, and the line of each.
//!
//! Owns the grammar and nothing of what the names mean. `[DEFAULT]` answers for every other section, names are equal in
//! any case, `:` and `=` both set a value, an indented line carries a value on, whole lines are comments after `#` or
//! `;`. What Python refuses is a problem here: a line that is none of these, a key or a section given twice.

use std::collections::HashMap;

use ini::configparser::ini::{Ini, IniDefault};

use super::Problem;

/// The name, in lower case, of the section that answers for all others.
const DEFAULT: &str = "default";

/// What the text says, every name in lower case.
#[derive(Default)]
pub(super) struct Text {
    /// In the order of the file; `[DEFAULT]` is not among them.
    pub(super) sections: Vec<Section>,
    /// `[DEFAULT]`.
    pub(super) defaults: Section,
    /// By name, where in `sections`.
    index: HashMap<String, usize>,
}

/// One `[section]`.
#[derive(Default)]
pub(super) struct Section {
    /// In lower case.
    pub(super) name: String,
    /// Of its header.
    pub(super) line: usize,
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
    /// By key, where in `entries`.
    index: HashMap<String, usize>,
}

/// One `key: value`.
pub(super) struct Entry {
    /// In lower case.
    pub(super) key: String,
    /// Where its key stands.
    pub(super) line: usize,
    /// Before interpolation.
    pub(super) value: String,
}

impl Section {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.index.get(key).map(|&index| &self.entries[index])
    }
}

impl Text {
    /// Where in `sections` the one with this name, in lower case, is.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Reads what can be read of `text` and adds what cannot to `problems`.
    ///
    /// The `ini` crate reads the values. It knows no lines and lets malformed ones and duplicates pass, so the lines are
    /// looked at here first, and it gets only the good ones.
    pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
        let mut scan = Scan { problems, found: Self::default(), at: At::Nowhere, open: None, good: String::new() };
        for (number, line) in (1..).zip(text.lines()) {
            scan.line(number, line);
            scan.good.push('\n');
        }
        let Scan { mut found, good, .. } = scan;

        let mut ini = Ini::new_from_defaults(grammar());
        if let Err(what) = ini.read(good) {
            // Only lines that it can read were kept; should that ever be wrong, it must not pass in silence.
            debug_assert!(false, "{what}");
            problems.push(Problem { line: None, what: "cannot be read as a configuration file".into() });
        }
        found.defaults.name = DEFAULT.into();
        for section in found.sections.iter_mut().chain([&mut found.defaults]) {
            for entry in &mut section.entries {
                // Lines of a value are joined with the platform's line ending.
                entry.value = ini.get(&section.name, &entry.key).unwrap_or_default().replace("\r\n", "\n");
            }
        }
        found
    }
}

/// Python's grammar, which inline comments are not part of.
fn grammar() -> IniDefault {
    let mut grammar = IniDefault::default();
    grammar.default_section = DEFAULT.into();
    grammar.delimiters = vec!['=', ':'];
    grammar.comment_symbols = vec!['#', ';'];
    grammar.enable_inline_comments = false;
    grammar.multiline = true;
    grammar
}

/// The section that a line belongs to.
#[derive(Clone, Copy)]
enum At {
    /// Before the first header.
    Nowhere,
    /// Below a header that names nothing: a problem already, and so its lines are passed over.
    Unnamed,
    Defaults,
    Section(usize),
}

/// The key that an indented line would carry on.
struct Open {
    indent: usize,
    /// Whether the key was good; what carries a bad one on is passed over with it.
    good: bool,
}

struct Scan<'p> {
    problems: &'p mut Vec<Problem>,
    found: Text,
    at: At,
    open: Option<Open>,
    /// The lines that `ini` gets, with nothing in place of the bad ones.
    good: String,
}

impl Scan<'_> {
    fn problem(&mut self, line: usize, what: impl Into<String>) {
        self.problems.push(Problem { line: Some(line), what: what.into() });
    }

    fn line(&mut self, number: usize, line: &str) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            return;
        }
        let indent = line.len() - line.trim_start().len();
        if let Some(open) = &self.open
            && indent > open.indent
        {
            // Python takes it for a part of the value, `ini` for a section: it is neither of what was meant.
            if trimmed.starts_with('[') {
                self.problem(number, "an indented line cannot begin with [: move it to the left if it is a section");
            } else if open.good {
                self.good.push_str(line);
            }
        } else if let Some(header) = trimmed.strip_prefix('[') {
            self.header(number, header);
        } else {
            self.key(number, line, indent);
        }
    }

    fn header(&mut self, number: usize, header: &str) {
        self.open = None;
        let name = if let Some((name, _)) = header.rsplit_once(']') {
            name.trim()
        } else {
            self.problem(number, "a section's name must end in ]");
            header.trim()
        };
        if name.is_empty() {
            self.problem(number, "a section needs a name between [ and ]");
            self.at = At::Unnamed;
            return;
        }
        let name = name.to_lowercase();
        self.good.extend(["[", &name, "]"]);
        self.at = if name == DEFAULT {
            // Python lets this one come again.
            At::Defaults
        } else if let Some(index) = self.found.position(&name) {
            let first = self.found.sections[index].line;
            self.problem(number, format!("[{}] is there already, on line {first}: join the two", shown(&name)));
            At::Section(index)
        } else {
            let index = self.found.sections.len();
            self.found.index.insert(name.clone(), index);
            self.found.sections.push(Section { name, line: number, ..Section::default() });
            At::Section(index)
        };
    }

    fn key(&mut self, number: usize, line: &str, indent: usize) {
        self.open = Some(Open { indent, good: false });
        // The line itself is not shown: it may be a password whose key was lost.
        let Some((key, _)) = line.split_once(['=', ':']) else {
            return self.problem(number, "neither a [section], a `key: value` nor a # comment");
        };
        let key = key.trim().to_lowercase();
        if key.is_empty() {
            return self.problem(number, "a value without a key");
        }
        let section = match self.at {
            At::Nowhere => return self.problem(number, "a key before the first [section]"),
            At::Unnamed => return,
            At::Defaults => &mut self.found.defaults,
            At::Section(index) => &mut self.found.sections[index],
        };
        if let Some(first) = section.entry(&key).map(|entry| entry.line) {
            return self.problem(number, format!("{} is there already, on line {first}: keep one", shown(&key)));
        }
        section.index.insert(key.clone(), section.entries.len());
        section.entries.push(Entry { key, line: number, value: String::new() });
        self.open = Some(Open { indent, good: true });
        self.good.push_str(line);
    }
}

/// A name from the file as problems and remarks show it: not where it may be something else, lost or misplaced.
pub(super) fn shown(name: &str) -> &str {
    const LONGEST_NAME: usize = 40;
    if name.len() > LONGEST_NAME || name.contains(char::is_control) { "a long name" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Text, Vec<(usize, String)>) {
        let mut problems = Vec::new();
        let text = Text::parse(text, &mut problems);
        (text, problems.into_iter().map(|p| (p.line.expect("every problem of the text has a line"), p.what)).collect())
    }

    fn value(text: &str, section: &str, key: &str) -> String {
        let (text, problems) = parse(text);
        assert_eq!(problems, []);
        text.sections[text.position(section).expect("the section")].entry(key).expect("the key").value.clone()
    }

    #[test]
    fn values_are_read_as_python_reads_them() {
        assert_eq!(value("[A]\nk: v", "a", "k"), "v");
        assert_eq!(value("[A]\nK=v", "a", "k"), "v");
        assert_eq!(value("[A]\nk : a=b : c", "a", "k"), "a=b : c");
        assert_eq!(value("[A]\nk = v # no comment ; here", "a", "k"), "v # no comment ; here");
        assert_eq!(value("[A]\nk =", "a", "k"), "");
        assert_eq!(value("[A]\nk = one\n   two\n\n\tthree\n# comment\nl = 4", "a", "k"), "one\ntwo\n\nthree");
        assert_eq!(value("\u{feff}[A]\r\nk = v\r\n", "a", "k"), "v");
        assert_eq!(value("[A]\rk = v\r", "a", "k"), "v");
        assert_eq!(value("  [ A ] trailing words\n  k = v", "a", "k"), "v");
    }

    #[test]
    fn each_oddity_is_found_with_its_line() {
        let line_of = |text: &str| parse(text).1.into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(line_of("k = v\n[A]"), [1]);
        assert_eq!(line_of("[A]\nno delimiter\n  carried on\nk = v"), [2]);
        assert_eq!(line_of("[A]\n= v"), [2]);
        assert_eq!(line_of("[A\nk = v"), [1]);
        assert_eq!(line_of("[]\nk = v\nk = w"), [1]);
        assert_eq!(line_of("[A]\nk = v\n[B]\n[a]\nK = w"), [4, 5]);
        assert_eq!(line_of("[A]\nk = v\n  [B]"), [3]);
        assert_eq!(line_of("[DEFAULT]\nk = v\n[DEFAULT]\nl = w"), [0_usize; 0]);
    }

    #[test]
    fn a_bad_line_takes_its_continuation_with_it_and_nothing_else() {
        let (text, problems) = parse("[A]\nk = v\nk = w\n   x\nl = y\n  z");
        assert_eq!(problems.len(), 1);
        let section = &text.sections[text.position("a").expect("the section")];
        assert_eq!(section.entry("k").expect("the key").value, "v");
        assert_eq!(section.entry("l").expect("the key").value, "y\nz");
    }
}
