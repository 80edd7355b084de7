//! Parses the text of a `.cfg` file as Python's `configparser` does: sections, keys, values and their lines.
//!
//! `[DEFAULT]` provides defaults for all sections, names are case-insensitive, `:` and `=` are delimiters, indented
//! lines continue a value, and lines starting with `#` or `;` are comments. As in Python, any other line and duplicate
//! keys or sections are errors.

use std::collections::HashMap;

use ini::configparser::ini::{Ini, IniDefault};

use super::Problem;

/// The name, in lower case, of the section with defaults for all others.
const DEFAULT: &str = "default";

/// A parsed file. All names are in lower case.
#[derive(Default)]
pub(super) struct Text {
    /// In the order of the file, without `[DEFAULT]`.
    pub(super) sections: Vec<Section>,
    /// `[DEFAULT]`.
    pub(super) defaults: Section,
    /// Positions in `sections` by name.
    index: HashMap<String, usize>,
}

/// One `[section]`.
#[derive(Default)]
pub(super) struct Section {
    /// In lower case.
    pub(super) name: String,
    /// The line of its header.
    pub(super) line: usize,
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
    /// Positions in `entries` by key.
    index: HashMap<String, usize>,
}

/// One `key: value`.
pub(super) struct Entry {
    /// In lower case.
    pub(super) key: String,
    /// The line of its key.
    pub(super) line: usize,
    /// Before interpolation.
    pub(super) value: String,
}

impl Section {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.index.get(key).map(|&index| &self.entries[index])
    }

    /// Appends an entry, whose key must be new.
    fn push(&mut self, entry: Entry) {
        self.index.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
    }
}

impl Text {
    /// Returns the position in `sections` of the section with this name, in lower case.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Sets a key to a value, in which nothing is a reference. `section` and `key` are in lower case.
    pub(super) fn set(&mut self, section: &str, key: &str, value: &str) {
        let index = self.position(section).unwrap_or_else(|| self.push_section(section.to_owned(), 1));
        let section = &mut self.sections[index];
        let value = value.replace('%', "%%");
        match section.index.get(key) {
            Some(&index) => section.entries[index].value = value,
            None => section.push(Entry { key: key.into(), line: section.line, value }),
        }
    }

    /// Appends a section, whose name must be new. Returns its position.
    fn push_section(&mut self, name: String, line: usize) -> usize {
        let index = self.sections.len();
        self.index.insert(name.clone(), index);
        self.sections.push(Section { name, line, ..Section::default() });
        index
    }

    /// Parses `text`, and appends errors to `problems`.
    ///
    /// The `ini` crate parses the values. It has no line numbers and accepts malformed and duplicate lines, so lines
    /// are checked here first, and only the valid ones are passed on.
    pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
        let mut scan =
            Scan { problems, found: Self::default(), section: CurrentSection::None, open: None, valid: String::new() };
        for (number, line) in (1..).zip(text.lines()) {
            scan.line(number, line);
            scan.valid.push('\n');
        }
        let Scan { mut found, valid, .. } = scan;

        let mut ini = Ini::new_from_defaults(grammar());
        if let Err(what) = ini.read(valid) {
            // Cannot happen, since only valid lines were passed on; must not be ignored if it does.
            debug_assert!(false, "{what}");
            problems.push(Problem { line: None, what: "cannot be read as a configuration file".into() });
        }
        found.defaults.name = DEFAULT.into();
        for section in found.sections.iter_mut().chain([&mut found.defaults]) {
            for entry in &mut section.entries {
                // `ini` joins lines with the platform's line ending.
                entry.value = ini.get(&section.name, &entry.key).unwrap_or_default().replace("\r\n", "\n");
            }
        }
        found
    }
}

/// Returns Python's grammar, without inline comments.
fn grammar() -> IniDefault {
    let mut grammar = IniDefault::default();
    grammar.default_section = DEFAULT.into();
    grammar.delimiters = vec!['=', ':'];
    grammar.comment_symbols = vec!['#', ';'];
    grammar.enable_inline_comments = false;
    grammar.multiline = true;
    grammar
}

/// The section of the current line.
#[derive(Clone, Copy)]
enum CurrentSection {
    /// Before the first header.
    None,
    /// After a header without a name, which has been reported: its lines are ignored.
    Unnamed,
    Defaults,
    Section(usize),
}

/// The key that an indented line would continue.
struct OpenKey {
    indent: usize,
    /// Continuations of an invalid key are ignored.
    is_valid: bool,
}

struct Scan<'p> {
    problems: &'p mut Vec<Problem>,
    found: Text,
    section: CurrentSection,
    open: Option<OpenKey>,
    /// The text for `ini`: invalid lines are empty.
    valid: String,
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
            // Part of the value for Python, a section for `ini`.
            if trimmed.starts_with('[') {
                self.problem(number, "an indented line cannot start with [: remove the indentation if it is a section");
            } else if open.is_valid {
                self.valid.push_str(line);
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
            self.problem(number, "a section name must end with ]");
            header.trim()
        };
        if name.is_empty() {
            self.problem(number, "a section needs a name between [ and ]");
            self.section = CurrentSection::Unnamed;
            return;
        }
        let name = name.to_lowercase();
        self.valid.extend(["[", &name, "]"]);
        self.section = if name == DEFAULT {
            // Python allows duplicates of this one.
            CurrentSection::Defaults
        } else if let Some(index) = self.found.position(&name) {
            let first = self.found.sections[index].line;
            self.problem(number, format!("duplicate section [{}], first on line {first}: merge them", shown(&name)));
            CurrentSection::Section(index)
        } else {
            CurrentSection::Section(self.found.push_section(name, number))
        };
    }

    fn key(&mut self, number: usize, line: &str, indent: usize) {
        self.open = Some(OpenKey { indent, is_valid: false });
        // The line is not shown: it may be a password without its key.
        let Some((key, _)) = line.split_once(['=', ':']) else {
            return self.problem(number, "expected a [section], a `key: value` or a # comment");
        };
        let key = key.trim().to_lowercase();
        if key.is_empty() {
            return self.problem(number, "a value without a key");
        }
        let section = match self.section {
            CurrentSection::None => return self.problem(number, "a key before the first [section]"),
            CurrentSection::Unnamed => return,
            CurrentSection::Defaults => &mut self.found.defaults,
            CurrentSection::Section(index) => &mut self.found.sections[index],
        };
        if let Some(first) = section.entry(&key).map(|entry| entry.line) {
            return self.problem(number, format!("duplicate key {}, first on line {first}: remove one", shown(&key)));
        }
        section.push(Entry { key, line: number, value: String::new() });
        self.open = Some(OpenKey { indent, is_valid: true });
        self.valid.push_str(line);
    }
}

/// Returns a name from the file for use in messages, unless it may be something else, such as a misplaced value.
pub(super) fn shown(name: &str) -> &str {
    const MAX_NAME_BYTES: usize = 40;
    if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) { "a long name" } else { name }
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
    fn parses_values_as_python_does() {
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
    fn reports_errors_with_their_lines() {
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
    fn ignores_an_invalid_line_with_its_continuation() {
        let (text, problems) = parse("[A]\nk = v\nk = w\n   x\nl = y\n  z");
        assert_eq!(problems.len(), 1);
        let section = &text.sections[text.position("a").expect("the section")];
        assert_eq!(section.entry("k").expect("the key").value, "v");
        assert_eq!(section.entry("l").expect("the key").value, "y\nz");
    }
}
