//! Content Security Policies: inline styles and scripts are allowed by hash, everything else has to be listed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Returns a policy that allows inline styles and scripts of exactly these texts, and the directives in `more`.
pub(crate) fn policy(styles: &[&str], scripts: &[&str], more: &[&str]) -> String {
    let mut directives = vec!["default-src 'none'".to_owned()];
    for (name, texts) in [("style-src", styles), ("script-src", scripts)] {
        if !texts.is_empty() {
            let hashes = texts.iter().map(|text| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(text))));
            directives.push(name.to_owned() + &hashes.collect::<String>());
        }
    }
    directives.extend(more.iter().chain(&["base-uri 'none'", "form-action 'none'"]).map(ToString::to_string));
    directives.join("; ")
}

/// Checks that a browser hashes exactly this text: it normalizes line ends, and ends the element at a closing tag.
#[cfg(test)]
pub(crate) fn is_inlinable(text: &str) -> bool {
    !text.contains('\r') && !text.contains("</") && !text.contains("<!--")
}
