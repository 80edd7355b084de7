//! What the page has beside the report: a bar with the machine's controls, and the script that keeps the page up to date.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, PreEscaped, html};
use sha2::{Digest, Sha256};

use crate::report::Live;

pub(super) fn live() -> Live {
    let bar = html! {
        aside #live aria-label="The machine's controls" {
            p #state role="status" { "connecting" }
            button type="button" data-do="/button" { "Press the button" }
            button type="button" data-do="/lid" data-how="open" { "Open the lid" }
            button type="button" data-do="/lid" data-how="close" { "Close the lid" }
            details {
                summary { "Stop …" }
                p { "What is under way is withdrawn, and the program ends." }
                button.stop type="button" data-do="/stop" { "Stop the machine" }
            }
            noscript { p { "Scripts are off: this is how it was when the page was opened, and the buttons do nothing." } }
        }
    };
    Live { style: include_str!("follow.css"), script: include_str!("follow.js"), bar }
}

/// What somebody sees who comes without the token. A page that is opened again has it in its session storage: it leaves
/// the address bar once it has been used.
pub(super) fn entrance(words: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "A machine" }
            }
            body { p { (words) } script { (PreEscaped(ENTRANCE)) } }
        }
    };
    page.into_string()
}

/// What that page may do: run its own script.
pub(super) fn entrance_policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(ENTRANCE.as_bytes()));
    format!("default-src 'none'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

const ENTRANCE: &str = include_str!("entrance.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_can_stand_in_a_page() {
        let live = live();
        for text in [live.style, live.script, ENTRANCE] {
            assert!(!text.contains('\r') && !text.contains("</") && !text.contains("<!--"));
        }
        assert_eq!(live.policy().matches("sha256-").count(), 4);
    }
}
