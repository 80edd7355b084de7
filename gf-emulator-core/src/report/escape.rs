//! HTML escaping: all untrusted text gets into the page through one of these two types.

use maud::Render;

/// Escaped text. Control, invisible and bidirectional formatting characters become U+FFFD.
pub(super) struct Escaped<'a>(pub(super) &'a str);

/// Escaped text, cut after this many characters.
pub(super) struct Truncated<'a>(pub(super) &'a str, pub(super) usize);

impl Render for Escaped<'_> {
    fn render_to(&self, to: &mut String) {
        to.reserve(self.0.len());
        self.0.chars().for_each(|c| escape(c, to));
    }
}

impl Render for Truncated<'_> {
    fn render_to(&self, to: &mut String) {
        let mut chars = self.0.chars();
        chars.by_ref().take(self.1).for_each(|c| escape(c, to));
        if chars.next().is_some() {
            to.push('…');
        }
    }
}

fn escape(c: char, to: &mut String) {
    match c {
        '&' => to.push_str("&amp;"),
        '<' => to.push_str("&lt;"),
        '>' => to.push_str("&gt;"),
        '"' => to.push_str("&quot;"),
        '\'' => to.push_str("&#39;"),
        '\n' | '\t' => to.push(c),
        _ if is_invisible(c) => to.push('\u{fffd}'),
        _ => to.push(c),
    }
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_markup_and_replaces_invisible_characters() {
        let escaped = Escaped("<script>alert('1')</script> \"><img onerror=x> &amp; \0\u{202e}\u{7}\r\n").render();
        let expected = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &quot;&gt;&lt;img onerror=x&gt; &amp;amp; \
                        \u{fffd}\u{fffd}\u{fffd}\u{fffd}\n";
        assert_eq!(escaped.into_string(), expected);
    }

    #[test]
    fn marks_truncated_text() {
        assert_eq!(Truncated("<<<", 2).render().into_string(), "&lt;&lt;…");
        assert_eq!(Truncated("äö", 2).render().into_string(), "äö");
    }

    proptest! {
        #[test]
        fn output_has_no_markup_characters(text in any::<String>()) {
            let escaped = Escaped(&text).render().into_string();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'', '\0', '\r']));
            let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            let rest = entities.iter().fold(escaped, |text, entity| text.replace(entity, ""));
            prop_assert!(!rest.contains('&'));
        }
    }
}
