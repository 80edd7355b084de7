//! What the page has beside the report: a bar with the machine's controls, and the script that keeps the page up to date.

use maud::html;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_can_stand_in_a_page() {
        let live = live();
        for text in [live.style, live.script] {
            assert!(!text.contains('\r') && !text.contains("</") && !text.contains("<!--"));
        }
        assert_eq!(live.policy().matches("sha256-").count(), 4);
    }
}
