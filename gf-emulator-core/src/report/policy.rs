//! What the page may do: apply its own style, run its own script, show what is in it. Nothing else, and no network.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page's style.
pub(super) const STYLE: &str = include_str!("report.css");
/// The page's script: filter and search, and nothing that reading it needs.
pub(super) const SCRIPT: &str = include_str!("report.js");

/// The content security policy, for the page's `meta` element.
pub(super) fn policy() -> String {
    policy_with("", "", "")
}

/// The same, with one more style and script by their texts, and whom the page may talk to.
pub(super) fn policy_with(style: &str, script: &str, more: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    let hashes = |own, other| {
        if str::is_empty(other) { hash(own) } else { format!("{} {}", hash(own), hash(other)) }
    };
    format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {}; {more}base-uri 'none'; form-action 'none'",
        hashes(STYLE, style),
        hashes(SCRIPT, script)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_can_stand_in_a_page() {
        for text in [STYLE, SCRIPT] {
            // The hash is of what a browser reads: it knows no carriage returns, and ends at the first closing tag.
            assert!(!text.contains('\r') && !text.contains("</") && !text.contains("<!--"));
        }
        assert_eq!(policy().matches("sha256-").count(), 2);
    }
}
