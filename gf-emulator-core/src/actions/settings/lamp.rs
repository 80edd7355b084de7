//! How bright the lid's lamp is while a picture is taken.

use serde_json::{Map, Value};

use super::reading_or_default;
use crate::config::Generation;
use crate::machine::Camera;

/// Whether a picture is taken with the lamp: 0 is without.
const FLASH: &str = "LCfl";
/// The brightness of the lamp.
const BRIGHTNESS: &str = "LLvl";

/// Returns the level of the lid's lamp for a picture, 0 (off) to 255, the range of the lamp in the open-source client.
///
/// Off for the head's camera, and if the action's settings say so. Otherwise the lamp's brightness: of the settings, of
/// the machine's readings, or the default of the catalogue. Services have been seen to send the flash only; that one may
/// send a brightness as well is assumed. Neither is trusted: other types count as missing, and numbers are clamped.
///
/// `readings` is called only if the level depends on it.
pub(crate) fn lamp_level(
    camera: Camera,
    settings: &Map<String, Value>,
    generation: Generation,
    readings: impl FnOnce() -> Vec<(String, Value)>,
) -> u8 {
    let is_off = settings.get(FLASH).is_some_and(|flash| flash.as_f64() == Some(0.0) || *flash == Value::Bool(false));
    if camera == Camera::Head || is_off {
        return 0;
    }
    let level = settings
        .get(BRIGHTNESS)
        .and_then(Value::as_f64)
        .or_else(|| reading_or_default(BRIGHTNESS, generation, &readings())?.as_f64())
        .unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let level = level.round().clamp(0.0, f64::from(u8::MAX)) as u8;
    level
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn level(camera: Camera, settings: &Value, readings: &[(&str, i64)]) -> u8 {
        let readings = readings.iter().map(|&(code, value)| (code.to_owned(), json!(value))).collect();
        lamp_level(camera, settings.as_object().unwrap(), Generation::V2, || readings)
    }

    #[test]
    fn the_flash_is_on_when_the_action_asks_for_it() {
        for on in [json!(1), json!(1.0), json!(true), json!(2), json!(-1)] {
            assert_eq!(level(Camera::Lid, &json!({ "LCfl": on }), &[]), 132, "{on}");
        }
    }

    #[test]
    fn the_flash_is_off_when_the_action_says_so() {
        for off in [json!(0), json!(0.0), json!(-0.0), json!(false)] {
            assert_eq!(level(Camera::Lid, &json!({ "LCfl": off }), &[]), 0, "{off}");
        }
    }

    #[test]
    fn an_action_that_says_nothing_still_gets_a_flash() {
        for settings in [json!({}), json!({"HCil": 0, "NRic": 1}), json!({"LCfl": "nonsense"})] {
            assert_eq!(level(Camera::Lid, &settings, &[]), 132, "{settings}");
        }
        assert_eq!(lamp_level(Camera::Lid, &Map::new(), Generation::V1, Vec::new), 101);
    }

    #[test]
    fn the_flash_follows_the_lamps_own_brightness() {
        let bright = [("LLvl", 200)];
        assert_eq!(level(Camera::Lid, &json!({}), &bright), 200);
        assert_eq!(level(Camera::Lid, &json!({"LCfl": 1}), &bright), 200);
        assert_eq!(level(Camera::Lid, &json!({"LCfl": 0}), &bright), 0);
        // That of the action comes first.
        assert_eq!(level(Camera::Lid, &json!({"LLvl": 30}), &bright), 30);
        assert_eq!(level(Camera::Lid, &json!({"LLvl": 200, "LCfl": 0}), &[]), 0);
    }

    #[test]
    fn brightness_is_clamped_to_the_lamps_range() {
        for (brightness, expected) in [
            (json!(0), 0),
            (json!(-1), 0),
            (json!(255), 255),
            (json!(256), 255),
            (json!(i64::MIN), 0),
            (json!(u64::MAX), 255),
            (json!(1e308), 255),
            (json!(131.6), 132),
            (json!("200"), 132),
            (json!(true), 132),
        ] {
            assert_eq!(level(Camera::Lid, &json!({ "LLvl": brightness }), &[]), expected, "{brightness}");
        }
        assert_eq!(level(Camera::Lid, &json!({}), &[("LLvl", -5)]), 0);
    }

    #[test]
    fn the_lamp_is_off_for_the_heads_camera() {
        assert_eq!(level(Camera::Head, &json!({"LCfl": 1, "LLvl": 200}), &[("LLvl", 200)]), 0);
    }
}
