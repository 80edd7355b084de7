//! Text that somebody else wrote, on its way into the page: the one place where it is escaped.

use maud::Render;

/// Recorded text. What would end an element or an attribute is escaped; what cannot be seen, or turns the line around,
/// shows as U+FFFD.
pub(super) struct Said<'a>(pub(super) &'a str);

/// The same, at most so many characters of it.
pub(super) struct Brief<'a>(pub(super) &'a str, pub(super) usize);

impl Render for Said<'_> {
    fn render_to(&self, to: &mut String) {
        to.reserve(self.0.len());
        self.0.chars().for_each(|c| escape(c, to));
    }
}

impl Render for Brief<'_> {
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
        _ if is_odd(c) => to.push('\u{fffd}'),
        _ => to.push(c),
    }
}

fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_be_markup_is_text() {
        let said = Said("<script>alert('1')</script> \"><img onerror=x> &amp; \0\u{202e}\u{7}\r\n").render();
        let shown = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &quot;&gt;&lt;img onerror=x&gt; &amp;amp; \
                     \u{fffd}\u{fffd}\u{fffd}\u{fffd}\n";
        assert_eq!(said.into_string(), shown);
    }

    #[test]
    fn what_is_long_is_cut_where_it_says_so() {
        assert_eq!(Brief("<<<", 2).render().into_string(), "&lt;&lt;…");
        assert_eq!(Brief("äö", 2).render().into_string(), "äö");
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_markup_is_made_of(text in any::<String>()) {
            let said = Said(&text).render().into_string();
            prop_assert!(!said.contains(['<', '>', '"', '\'', '\0', '\r']));
            let rest: Vec<_> = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().fold(said, |t, e| t.replace(e, "")).chars().collect();
            prop_assert!(!rest.contains(&'&'));
        }
    }
}
