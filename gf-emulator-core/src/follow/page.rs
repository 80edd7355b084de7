//! What the live page adds to the report (buttons, and its script), and the page for a request
//! without token.

use maud::{DOCTYPE, PreEscaped, html};

use crate::report::{LiveParts, csp};

const TOKEN_SCRIPT: &str = include_str!("token.js");

pub(super) fn live_parts(lid_is_open: bool) -> LiveParts {
    // The script shows only one of the lid's buttons.
    let controls = html! {
        p #status role="status" { "connecting" }
        button type="button" data-path="/button" data-answer="The button was pressed." { "Press the button" }
        button type="button" data-path="/lid" data-body="open" data-answer="The lid was opened." { "Open the lid" }
        button type="button" data-path="/lid" data-body="close" data-answer="The lid was closed." { "Close the lid" }
        details {
            summary { "Stop …" }
            p { "Running actions are cancelled, and the program exits." }
            button.stop type="button" data-path="/stop" data-answer="" { "Stop the machine" }
        }
        output #answer aria-live="polite" {}
        noscript { p { "Scripts are disabled: this page does not update, and the buttons do not work." } }
    };
    LiveParts { style: include_str!("follow.css"), script: include_str!("follow.js"), controls, lid_is_open }
}

/// Returns the page for a request without token. Its script looks for the token in the tab's session storage: the live
/// page removes it from the address bar, so a reload comes without.
pub(super) fn token_page(message: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "Machine" }
            }
            body { p { (message) } script { (PreEscaped(TOKEN_SCRIPT)) } }
        }
    };
    page.into_string()
}

/// Returns the Content Security Policy of [`token_page`].
pub(super) fn token_page_policy() -> String {
    csp::policy(&[], &[TOKEN_SCRIPT], &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_and_scripts_can_be_inlined() {
        let live = live_parts(false);
        assert!([live.style, live.script, TOKEN_SCRIPT].into_iter().all(csp::is_inlinable));
        assert_eq!(live.policy().matches("sha256-").count(), 4);
    }
}
