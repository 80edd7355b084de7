//! The settings report: every setting code that a machine tells the service, with its value.
//!
//! The catalogues of both generations are data beside this file: type, default, and the configuration's key where it
//! supplies the value. Pure: the time is an argument.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Config;
use crate::config::Generation;

/// One code of a catalogue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Entry {
    r#type: Kind,
    default: Value,
    #[serde(default)]
    from: Option<Origin>,
    #[serde(default = "yes")]
    reported: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Integer,
    Float,
    String,
}

/// Who supplies a value in place of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    Serial,
    Firmware,
    AppVersion,
    HeadId,
    HeadSerial,
    HeadFirmware,
    IpAddress,
    Time,
    ActionId,
}

#[derive(Deserialize)]
struct Catalogue {
    settings: Map<String, Value>,
}

/// Parsed once a process: constant data, no state of a machine.
static V1: LazyLock<Vec<(String, Entry)>> = LazyLock::new(|| parse(include_str!("1.x.json")));
static V2: LazyLock<Vec<(String, Entry)>> = LazyLock::new(|| parse(include_str!("2.6.json")));

fn parse(text: &str) -> Vec<(String, Entry)> {
    let catalogue: Catalogue = serde_json::from_str(text).expect("the catalogue is part of this crate and tested");
    let entry = |value| serde_json::from_value(value).expect("the catalogue is part of this crate and tested");
    catalogue.settings.into_iter().map(|(code, value)| (code, entry(value))).collect()
}

fn catalogue(generation: Generation) -> &'static [(String, Entry)] {
    match generation {
        Generation::V1 => &V1,
        Generation::V2 => &V2,
    }
}

/// What a machine says that it runs where the configuration does not: `MCdv` of the catalogue.
pub(crate) fn default_app_version(generation: Generation) -> String {
    let entry = catalogue(generation).iter().find(|(_, entry)| entry.from == Some(Origin::AppVersion));
    entry.and_then(|(_, entry)| entry.default.as_str()).unwrap_or_default().to_owned()
}

/// The whole report, in the order in which a machine sends it.
///
/// A reading of the machine wins over the configuration, which wins over the catalogue.
pub(crate) fn report(config: &Config, readings: &[(String, Value)], action_id: i64, epoch_s: i64) -> Value {
    let machine = &config.machine;
    let configured = |origin| match origin {
        Origin::Serial => Some(json!(machine.serial)),
        Origin::Firmware => Some(json!(machine.firmware)),
        Origin::AppVersion => machine.app_version.as_ref().map(|version| json!(version)),
        Origin::HeadId => machine.head_id.map(Value::from),
        Origin::HeadSerial => machine.head_serial.map(Value::from),
        Origin::HeadFirmware => machine.head_firmware.map(Value::from),
        Origin::IpAddress => Some(json!(machine.ip_address)),
        Origin::Time => Some(json!(epoch_s)),
        Origin::ActionId => Some(json!(action_id)),
    };
    let value_of = |code: &str, entry: &Entry| {
        let reading = readings.iter().find(|(read, value)| read == code && fits(value, entry.r#type));
        reading
            .map(|(_, value)| value.clone())
            .or_else(|| entry.from.and_then(configured))
            .unwrap_or_else(|| entry.default.clone())
    };
    let entries = catalogue(config.generation()).iter().filter(|(_, entry)| entry.reported);
    Value::Object(entries.map(|(code, entry)| (code.clone(), value_of(code, entry))).collect())
}

fn fits(value: &Value, kind: Kind) -> bool {
    match kind {
        Kind::Integer => value.is_i64() || value.is_u64(),
        Kind::Float => value.is_number(),
        Kind::String => value.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_both_catalogues_is_sound() {
        let texts = [include_str!("1.x.json"), include_str!("2.6.json")];
        let counts = [(Generation::V1, 344, 344), (Generation::V2, 549, 547)];
        for ((generation, codes, reported), text) in counts.into_iter().zip(texts) {
            let raw: Value = serde_json::from_str(text).unwrap();
            let all = catalogue(generation);
            assert_eq!(all.len(), codes);
            assert_eq!(all.iter().filter(|(_, entry)| entry.reported).count(), reported);
            for (code, entry) in all {
                assert_eq!(code.len(), 4, "{code}");
                assert!(fits(&entry.default, entry.r#type), "{code}: {entry:?}");
                // The range is for people, for a machine may report what it likes; the default has to be in it.
                let fields = raw["settings"][code].as_object().unwrap();
                for field in fields.keys() {
                    assert!(["type", "default", "from", "reported", "min", "max"].contains(&field.as_str()), "{code}");
                }
                if let (Some(min), Some(max)) = (fields.get("min"), fields.get("max")) {
                    let default = entry.default.as_i64().unwrap();
                    assert!((min.as_i64().unwrap()..=max.as_i64().unwrap()).contains(&default), "{code}: {entry:?}");
                }
            }
            assert!(!default_app_version(generation).is_empty());
        }
    }

    #[test]
    fn a_configured_value_wins_over_the_default_and_a_reading_over_both() {
        let mut config = Config::default();
        config.machine.serial = 12_345_678;
        let plain = report(&config, &[], 1001, 1_700_000_000);
        assert_eq!(plain["MCsn"], 12_345_678);
        assert_eq!(plain["HEsn"], 123_456_789);
        assert_eq!(plain["SAid"], 1001);
        assert_eq!(plain["MCdt"], 1_700_000_000);
        assert!(plain.get("HCil").is_none(), "not reported");
        config.machine.head_serial = Some(5);
        assert_eq!(report(&config, &[], 1, 1)["HEsn"], 5);
        let readings =
            [("HEsn".to_owned(), json!(6)), ("AAdc".to_owned(), json!("not a number")), ("XXXX".into(), json!(1))];
        let read = report(&config, &readings, 1, 1);
        assert_eq!(read["HEsn"], 6);
        assert_eq!(read["AAdc"], 204);
        assert_eq!(read.as_object().unwrap().len(), 547);
    }

    #[test]
    fn sends_floats_as_the_machine_does() {
        let text = report(&Config::default(), &[], 1, 1).to_string();
        for pair in [r#""MCla":0.13574219"#, r#""NIrr":19.5"#, r#""PRcp":2.875"#, r#""BTin":-2147483648"#] {
            assert!(text.contains(pair), "{pair}");
        }
    }
}
