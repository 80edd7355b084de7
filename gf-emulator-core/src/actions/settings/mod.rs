//! The settings report: all setting codes that a machine reports to the service, with their values.
//!
//! The catalogues beside this file have the type and default of each code, and which configuration value replaces the
//! default. No clock: the time is an argument.

mod lamp;

use std::sync::LazyLock;

pub(crate) use lamp::lamp_level;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Config;
use crate::config::Generation;

/// A code of a catalogue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Entry {
    r#type: ValueType,
    default: Value,
    #[serde(default)]
    from: Option<ConfigValue>,
    #[serde(default = "default_reported")]
    reported: bool,
}

fn default_reported() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ValueType {
    Integer,
    Float,
    String,
}

/// A value that replaces the catalogue's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConfigValue {
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

// Constant data, parsed once.
static V1: LazyLock<Vec<(String, Entry)>> = LazyLock::new(|| parse(include_str!("1.x.json")));
static V2: LazyLock<Vec<(String, Entry)>> = LazyLock::new(|| parse(include_str!("2.6.json")));

fn parse(text: &str) -> Vec<(String, Entry)> {
    let catalogue: Catalogue = serde_json::from_str(text).expect("the built-in catalogues are tested");
    let entry = |value| serde_json::from_value(value).expect("the built-in catalogues are tested");
    catalogue.settings.into_iter().map(|(code, value)| (code, entry(value))).collect()
}

fn catalogue(generation: Generation) -> &'static [(String, Entry)] {
    match generation {
        Generation::V1 => &V1,
        Generation::V2 => &V2,
    }
}

/// Returns the machine's reading of a code, if it has the right type.
fn reading<'a>(code: &str, entry: &Entry, readings: &'a [(String, Value)]) -> Option<&'a Value> {
    readings.iter().find(|(read, value)| read == code && fits(value, entry.r#type)).map(|(_, value)| value)
}

/// Returns the reading of a code that no configuration value replaces, or else its default. `None` if it is unknown.
fn reading_or_default(code: &str, generation: Generation, readings: &[(String, Value)]) -> Option<Value> {
    let (_, entry) = catalogue(generation).iter().find(|(known, _)| known == code)?;
    Some(reading(code, entry, readings).unwrap_or(&entry.default).clone())
}

/// Returns the application version of the catalogue (`MCdv`), for configurations without one.
pub(crate) fn default_app_version(generation: Generation) -> String {
    let entry = catalogue(generation).iter().find(|(_, entry)| entry.from == Some(ConfigValue::AppVersion));
    entry.and_then(|(_, entry)| entry.default.as_str()).unwrap_or_default().to_owned()
}

/// Returns the full report in the order in which machines send it.
///
/// Readings of the machine take precedence over the configuration, and that over the catalogue.
pub(crate) fn report(config: &Config, readings: &[(String, Value)], action_id: i64, epoch_s: u64) -> Value {
    let machine = &config.machine;
    let configured = |value| match value {
        ConfigValue::Serial => Some(json!(machine.serial)),
        ConfigValue::Firmware => Some(json!(machine.firmware)),
        ConfigValue::AppVersion => machine.app_version.as_ref().map(|version| json!(version)),
        ConfigValue::HeadId => machine.head_id.map(Value::from),
        ConfigValue::HeadSerial => machine.head_serial.map(Value::from),
        ConfigValue::HeadFirmware => machine.head_firmware.map(Value::from),
        ConfigValue::IpAddress => Some(json!(machine.ip_address)),
        ConfigValue::Time => Some(json!(epoch_s)),
        ConfigValue::ActionId => Some(json!(action_id)),
    };
    let value_of = |code: &str, entry: &Entry| {
        reading(code, entry, readings)
            .cloned()
            .or_else(|| entry.from.and_then(configured))
            .unwrap_or_else(|| entry.default.clone())
    };
    let entries = catalogue(config.generation()).iter().filter(|(_, entry)| entry.reported);
    Value::Object(entries.map(|(code, entry)| (code.clone(), value_of(code, entry))).collect())
}

fn fits(value: &Value, value_type: ValueType) -> bool {
    match value_type {
        ValueType::Integer => value.is_i64() || value.is_u64(),
        ValueType::Float => value.is_number(),
        ValueType::String => value.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_has_its_type_and_is_in_range() {
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
                // Ranges are documentation: a machine may report other values, but the default must be in range.
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
    fn readings_override_the_configuration_and_that_the_defaults() {
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
    fn microsteps_are_reported_as_1() {
        // As the factory does, although its jobs have 8 (read from firmware 2.6 and measured on hardware).
        for generation in [Generation::V1, Generation::V2] {
            let mut config = Config::default();
            config.service.protocol = Some(generation);
            let report = report(&config, &[], 1, 1);
            assert_eq!((&report["XSmm"], &report["YSmm"]), (&json!(1), &json!(1)), "{generation}");
        }
    }

    #[test]
    fn formats_floats_as_the_machine_does() {
        let text = report(&Config::default(), &[], 1, 1).to_string();
        for pair in [r#""MCla":0.13574219"#, r#""NIrr":19.5"#, r#""PRcp":2.875"#, r#""BTin":-2147483648"#] {
            assert!(text.contains(pair), "{pair}");
        }
    }
}
