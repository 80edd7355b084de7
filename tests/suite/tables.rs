//! Custom actions tables, and the errors of invalid ones.

use std::fmt::Write;
use std::path::Path;

use gf_emulator_core::actions::Table;
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::Seen;
use gf_emulator_core::machine::{CannedMachine, Capture, Controls, CustomStep, Job, Machine, MachineError, PlayUpdate};
use gf_emulator_core::{Config, Emulator, Error};
use gf_emulator_tests::{LIMIT, Setup, config, endings_of, events_of, folder};
use serde_json::{Value, json};

/// Returns a table whose only action is in no built-in table.
fn table() -> Value {
    json!({
        "about": "what it is for",
        "generation": "mine",
        "line_end": "\n",
        "templates": {
            "event": {"channel": "ws", "message": {"id": "<ID>", "type": "event", "action_id": "<ACTION_ID>", "event": "<event>"}},
            "note": {"channel": "ws", "message": {"id": "<ID>", "event": "<event>", "by": "<MACHINE.HOSTNAME> S<MACHINE.SERIAL>", "serial": "<MACHINE.SERIAL>", "text": "<text>"}},
            "offer": {"channel": "ws", "message": {"id": "<ID>", "event": "offer", "version": "<AVAILABLE_FIRMWARE>", "from": "<MOTION_URL>"}},
            "web": {"channel": "web", "message": {"event": "web", "id": "<MILLI_EPOCH>"}}
        },
        "signals": {"lid_opened": [{"send": "note", "event": "lid", "text": "a \"quoted\" word\nand <ID>"}]},
        "actions": {
            "survey": {
                "steps": [
                    {"send": "event", "event": "survey:starting"},
                    {"do": "capture", "camera": "lid"},
                    {"do": "capture", "camera": "head", "laser": "on"},
                    {"do": "upload", "kind": "survey", "to": "service"},
                    {"do": "download"},
                    {"do": "play"},
                    {"do": "probe_firmware"},
                    {"send": "offer"},
                    {"send": "web", "optional": true}
                ],
                "completed": [{"send": "event", "event": "survey:completed"}],
                "cancelled": [{"send": "event", "event": "survey:cancelled"}],
                "failed": [{"send": "event", "event": "survey:failed"}]
            }
        }
    })
}

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("actions.json");
    std::fs::write(&path, text).unwrap();
    path
}

fn config_with(folder: &Path, table: &str) -> Config {
    let mut config = config(folder, Generation::V2);
    config.service.actions_file = Some(write(folder, table));
    config
}

#[test]
fn a_table_can_define_a_new_action() {
    for generation in [Generation::V1, Generation::V2] {
        let own = folder();
        let path = write(own.path(), &table().to_string());
        let harness = Setup::new(generation).config(move |config| config.service.actions_file = Some(path)).start();
        harness.expect(5, "survey", "completed");
        // The built-in table is not used.
        harness.start_action(6, "print");
        harness.expect(7, "survey", "completed");
        harness.handle.open_lid();
        let (service, folder, ended) = harness.stop();
        ended.unwrap();
        let seen = service.seen();
        assert_eq!(endings_of(&seen, 5, "survey"), ["survey:completed (5)"]);
        let events = events_of(&seen);
        assert!(!events.iter().any(|event| event.contains("print")), "{events:#?}");
        let message = |name: &str| {
            seen.iter().find_map(|seen| match seen {
                Seen::WsMessage { message, .. } if message["event"] == name => Some(message.clone()),
                _ => None,
            })
        };
        let lid = message("lid").unwrap();
        assert_eq!(lid["by"], "test-machine S12345678");
        assert_eq!(lid["serial"], 12_345_678);
        assert_eq!(lid["text"], format!("a \"quoted\" word\nand {}", lid["id"]));
        let offer = message("offer").unwrap();
        assert_eq!(offer["version"], "2.6.0-2228");
        assert_eq!(offer["from"], service.puls_url());
        let posted = |path: &str| {
            let of = |seen: &&Seen| matches!(seen, Seen::Http(r) if r.path == path && r.status == 200);
            seen.iter().filter(of).count()
        };
        assert_eq!(posted("/api/machines/survey/5"), 2, "both pictures");
        assert_eq!(posted("/api/event"), 2);
        let jobs = std::fs::read_dir(folder.path().join("motion")).unwrap().count();
        assert_eq!(jobs, 4, "two jobs and their descriptions");
    }
}

#[test]
fn built_in_tables_load_for_every_configuration() {
    for generation in [Generation::V1, Generation::V2] {
        for firmware in ["1.6.0-35", "2.6.0-2228", "3.0"] {
            let folder = folder();
            let mut config = config(folder.path(), generation);
            config.machine.firmware = firmware.into();
            config.service.protocol = Some(generation);
            config.machine.app_version = None;
            let emulator = Emulator::new(config);
            assert!(emulator.is_ok(), "{generation} {firmware}: {:?}", emulator.err());
        }
    }
}

type Change = fn(&mut Value);

#[test]
fn an_invalid_table_is_rejected_with_the_place_and_the_reason() {
    let changes: [(&str, Change); 36] = [
        ("an unknown placeholder", |t| t["templates"]["event"]["message"]["x"] = json!("<NOBODY>")),
        ("a placeholder whose key the step lacks", |t| t["actions"]["survey"]["steps"][0] = json!({"send": "event"})),
        ("a variable before it has a value", |t| t["actions"]["survey"]["steps"][0] = json!({"send": "offer"})),
        ("an action's variable in a signal", |t| {
            t["signals"]["lid_closed"] = json!([{"send": "event", "event": "x"}]);
        }),
        ("a placeholder that refers to itself", |t| {
            t["actions"]["survey"]["steps"][0]["event"] = json!("<event>");
        }),
        ("an unknown template", |t| t["actions"]["survey"]["steps"][0]["send"] = json!("evnt")),
        ("an unknown option of a nested step", |t| {
            t["actions"]["survey"]["steps"][5]["stopped"] = json!([{"do": "park", "speed": 1}]);
        }),
        ("an option that a step without options has", |t| {
            t["actions"]["survey"]["steps"][6]["once"] = json!(true);
        }),
        ("a custom step without a name", |t| t["actions"]["survey"]["steps"][1] = json!({"do": "custom"})),
        ("the result of a custom step before it", |t| {
            t["actions"]["survey"]["steps"][0]["event"] = json!("x");
            t["templates"]["event"]["message"]["result"] = json!("<RESULT.probe>");
        }),
        ("an unknown kind of step", |t| t["actions"]["survey"]["steps"][1] = json!({"do": "dance"})),
        ("a step with neither send nor do", |t| t["actions"]["survey"]["steps"][1] = json!({"camera": "lid"})),
        ("a step with both send and do", |t| t["actions"]["survey"]["steps"][1]["send"] = json!("event")),
        ("a step that is not an object", |t| t["actions"]["survey"]["steps"][1] = json!("capture")),
        ("steps that are not a list", |t| t["actions"]["survey"]["steps"] = json!({})),
        ("an unknown option", |t| t["actions"]["survey"]["steps"][1]["lens"] = json!(1)),
        ("an unknown camera", |t| t["actions"]["survey"]["steps"][1]["camera"] = json!("tail")),
        ("an unknown laser mode", |t| t["actions"]["survey"]["steps"][2]["laser"] = json!("maybe")),
        ("an upload's kind that is a path", |t| t["actions"]["survey"]["steps"][3]["kind"] = json!("../x")),
        ("an unknown upload destination", |t| t["actions"]["survey"]["steps"][3]["to"] = json!("moon")),
        ("a negative delay", |t| t["actions"]["survey"]["steps"][0]["delay_s"] = json!(-1)),
        ("a delay that is a string", |t| t["actions"]["survey"]["steps"][0]["delay_s"] = json!("1")),
        ("optional that is a string", |t| t["actions"]["survey"]["steps"][8]["optional"] = json!("yes")),
        ("no ending for cancelled", |t| {
            t["actions"]["survey"].as_object_mut().unwrap().remove("cancelled");
        }),
        ("an ending without its terminal event", |t| t["actions"]["survey"]["failed"] = json!([])),
        ("a terminal event twice", |t| {
            t["actions"]["survey"]["failed"] =
                json!([{"send": "event", "event": "survey:failed"}, {"send": "event", "event": "survey:failed"}]);
        }),
        ("the terminal event of another ending", |t| {
            t["actions"]["survey"]["failed"] =
                json!([{"send": "event", "event": "survey:failed"}, {"send": "event", "event": "survey:completed"}]);
        }),
        ("a terminal event among the steps", |t| {
            t["actions"]["survey"]["steps"][0]["event"] = json!("survey:completed");
        }),
        ("an ending that moves the head", |t| t["actions"]["survey"]["failed"][0] = json!({"do": "park"})),
        ("an ending sent to the channel web", |t| t["actions"]["survey"]["failed"][0] = json!({"send": "web"})),
        ("an unknown channel", |t| t["templates"]["web"]["channel"] = json!("pigeon")),
        ("a template without a message", |t| t["templates"]["web"] = json!({"channel": "web"})),
        ("an action type that is a path", |t| {
            let row = t["actions"]["survey"].take();
            t["actions"] = json!({"../survey": row});
        }),
        ("an unknown signal", |t| t["signals"]["bell"] = json!([])),
        ("an unknown top-level key", |t| t["acions"] = json!({})),
        ("no line end", |t| {
            t.as_object_mut().unwrap().remove("line_end");
        }),
    ];
    let folder = folder();
    let name = folder.path().join("actions.json").display().to_string();
    let mut text = String::new();
    let mut check = |what: &str, table: &str| match Emulator::new(config_with(folder.path(), table)) {
        Err(error @ Error::Table { .. }) => {
            writeln!(text, "{what}\n  {}", error.to_string().replace(&name, "actions.json")).unwrap();
        }
        Err(error) => panic!("{what}: {error:?}"),
        Ok(_) => writeln!(text, "{what}\n  IS ACCEPTED").unwrap(),
    };
    for (what, change) in changes {
        let mut table = table();
        change(&mut table);
        check(what, &table.to_string());
    }
    for (what, table) in [
        ("not JSON", "{\n  \"actions\": oops\n}"),
        ("an empty file", ""),
        ("a list", "[]"),
        ("no actions", "{\"line_end\":\"\\n\",\"templates\":{}}"),
        ("text after the table", "{\"line_end\":\"\\n\",\"templates\":{},\"actions\":{}} x"),
    ] {
        check(what, table);
    }
    assert!(!text.contains("IS ACCEPTED"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_missing_or_too_large_table_is_an_error_that_names_the_file() {
    let folder = folder();
    let mut config = config_with(folder.path(), &" ".repeat((4 << 20) + 1));
    let error = Emulator::new(config.clone()).err().unwrap();
    assert!(error.to_string().contains("actions.json") && matches!(error, Error::TooLarge { .. }), "{error}");
    config.service.actions_file = Some(folder.path().join("no-such.json"));
    let error = Emulator::new(config).err().unwrap();
    assert!(error.to_string().contains("no-such.json") && matches!(error, Error::File { .. }), "{error}");
}

#[test]
fn a_table_that_could_send_a_terminal_event_twice_or_lack_a_value_is_rejected() {
    let changes: [(&str, &str, Change); 17] = [
        ("a terminal event in the cleanup", "is only allowed in the ending of its own action", |t| {
            t["actions"]["survey"]["steps"][5]["stopped"] = json!([{"send": "event", "event": "survey:cancelled"}]);
        }),
        ("a terminal event on pause", "is only allowed in the ending of its own action", |t| {
            t["actions"]["survey"]["steps"][5]["paused"] = json!([{"send": "event", "event": "survey:failed"}]);
        }),
        ("a terminal event on resume", "is only allowed in the ending of its own action", |t| {
            t["actions"]["survey"]["steps"][5]["resumed"] = json!([{"send": "event", "event": "survey:completed"}]);
        }),
        ("a terminal event when an upload fails", "is only allowed in the ending of its own action", |t| {
            t["actions"]["survey"]["steps"][3]["failed"] = json!([{"send": "event", "event": "survey:failed"}]);
        }),
        ("a terminal event as the progress of a job", "is only allowed in the ending of its own action", |t| {
            t["templates"]["far"] = json!({"channel": "progress", "message": {"event": "survey:completed"}});
            t["actions"]["survey"]["steps"][5]["progress"] = json!("far");
        }),
        ("a terminal event as the progress of a download", "is only allowed in the ending of its own action", |t| {
            t["templates"]["far"] = json!({"channel": "progress", "message": {"event": "survey:completed"}});
            t["actions"]["survey"]["steps"][4]["progress"] = json!("far");
        }),
        ("a terminal event on the channel web", "is only allowed in the ending of its own action", |t| {
            t["templates"]["web"]["message"]["event"] = json!("survey:failed");
        }),
        ("a terminal event of another action", "is only allowed in the ending of its own action", |t| {
            let ending = |which: &str| json!([{"send": "event", "event": format!("other:{which}")}]);
            t["actions"]["other"] = json!({
                "steps": [{"send": "event", "event": "survey:completed"}],
                "completed": ending("completed"), "cancelled": ending("cancelled"), "failed": ending("failed")
            });
        }),
        ("a terminal event as a signal", "is only allowed in the ending of its own action", |t| {
            t["signals"]["lid_opened"][0]["event"] = json!("survey:cancelled");
        }),
        ("a terminal event among the start steps", "is only allowed in the ending of its own action", |t| {
            t["start"] = json!([{"send": "note", "event": "survey:failed", "text": ""}]);
        }),
        ("an event name that depends on the action", "the name of an event cannot depend on the action", |t| {
            t["actions"]["survey"]["steps"][0]["event"] = json!("<MOTION_URL>");
        }),
        ("a terminal event without an action id", r#"must have "action_id": "<ACTION_ID>""#, |t| {
            t["actions"]["survey"]["failed"][0] = json!({"send": "note", "event": "survey:failed", "text": ""});
        }),
        ("a message that is not an object", "templates.web.message: invalid type: sequence, expected a map", |t| {
            t["templates"]["web"]["message"] = json!([{"event": "web"}]);
        }),
        ("a variable of an optional step", "<AVAILABLE_FIRMWARE> has no value at this point", |t| {
            t["actions"]["survey"]["steps"][6]["optional"] = json!(true);
        }),
        (
            "a settings report among the start steps",
            "start[0]: not allowed here; allowed: send, probe_firmware and download_firmware",
            |t| {
                t["templates"]["set"] = json!({"channel": "web", "message": {"settings": "<SETTINGS>"}});
                t["start"] = json!([{"do": "report_settings"}, {"send": "set"}]);
            },
        ),
        ("progress on the channel web", "must be a template of the channel progress", |t| {
            t["actions"]["survey"]["steps"][5]["progress"] = json!("web");
        }),
        ("a line end with text in it", "line_end: must be a line end", |t| {
            t["line_end"] = json!("{\"event\":\"survey:failed\"}\n");
        }),
    ];
    let folder = folder();
    assert!(Emulator::new(config_with(folder.path(), &table().to_string())).is_ok());
    for (what, reason, change) in changes {
        let mut table = table();
        change(&mut table);
        let error = Emulator::new(config_with(folder.path(), &table.to_string())).err();
        let error = error.unwrap_or_else(|| panic!("{what} is accepted")).to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
}

#[test]
fn a_table_given_to_the_emulator_replaces_the_configured_one() {
    let folder = folder();
    let config = config(folder.path(), Generation::V1);
    let mut text = table();
    text["signals"]["lid_opened"] = json!([{"send": "note", "event": "lid", "text": ""}]);
    let table = Table::from_reader("own", text.to_string().as_bytes()).unwrap();
    let (emulator, peer) = Emulator::offline(config, folder.path()).unwrap();
    // Created before the table is replaced; it nevertheless sends the signals of the new table.
    let handle = emulator.handle();
    let mut emulator = emulator.with_table(table);
    handle.open_lid();
    peer.tx.send(r#"{"id": 1, "action_type": "settings", "status": "ready"}"#.into()).unwrap();
    drop(peer.tx);
    emulator.run().unwrap();
    let texts: Vec<_> = peer.rx.iter().map(|message| message.text().to_owned()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains(r#""event":"lid""#) && texts[0].ends_with("}\n"), "{texts:?}");
}

#[test]
fn built_in_tables_can_be_read_changed_and_loaded() {
    for generation in [Generation::V1, Generation::V2] {
        Table::builtin(generation).unwrap();
        let mut text: Value = serde_json::from_str(Table::builtin_text(generation)).unwrap();
        assert_eq!(text["generation"], generation.to_string());
        text["actions"]["print"].as_object_mut().unwrap().remove("failed");
        let error = Table::from_text("changed", &text.to_string()).unwrap_err().to_string();
        assert!(error.starts_with("actions table changed: actions.print: missing field `failed`"), "{error}");
    }
}

#[test]
fn a_reader_that_fails_or_is_too_long_is_an_error_that_names_the_table() {
    let long = std::io::repeat(b' ');
    let error = Table::from_reader("endless", long).unwrap_err();
    assert!(error.to_string().contains("endless") && matches!(error, Error::TooLarge { .. }), "{error}");
    let invalid = Table::from_reader("latin-1", &b"{\"about\": \"\xe9\"}"[..]).unwrap_err();
    assert!(invalid.to_string().contains("UTF-8") && matches!(invalid, Error::File { .. }), "{invalid}");
}

/// A machine whose custom step fails, waits or panics, depending on the action's setting `MODE`.
struct Probe;

impl Machine for Probe {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Ok(vec![0; 10])
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Ok(())
    }

    fn custom(&mut self, step: &CustomStep<'_>, controls: &Controls) -> Result<Value, MachineError> {
        match step.settings.get("MODE").and_then(Value::as_str) {
            Some("fail") => Err(MachineError::Failed("injected fault".into())),
            Some("wait") => Err(controls.sleep(LIMIT).unwrap_err().into()),
            Some("panic") => panic!("injected fault"),
            _ => Ok(json!({"name": step.name, "arguments": step.arguments, "action_id": step.action_id})),
        }
    }
}

/// Runs actions offline with a custom step in the table, and returns all messages.
fn run_custom_steps(generation: Generation, machine: impl Machine + 'static, actions: &[Value]) -> Vec<Value> {
    let folder = folder();
    let config = config(folder.path(), generation);
    let mut text = table();
    text["templates"]["result"] = json!({"channel": "ws", "message": {
        "event": "result", "whole": "<RESULT.probe>", "text": "for <RESULT.probe.action_id>"
    }});
    text["actions"]["survey"]["steps"] = json!([
        {"do": "custom", "name": "probe", "arguments": [{"at": 1.5}], "fields": ["action_id"]},
        {"send": "result"}
    ]);
    let table = Table::from_text("custom", &text.to_string()).unwrap();
    let (emulator, peer) = Emulator::offline(config, folder.path()).unwrap();
    let mut emulator = emulator.with_table(table).with_machine(machine);
    for action in actions {
        peer.tx.send(action.to_string()).unwrap();
    }
    drop(peer.tx);
    emulator.run().unwrap();
    peer.rx.iter().map(|message| serde_json::from_str(message.text()).unwrap()).collect()
}

#[test]
fn a_custom_step_runs_on_the_machine_and_returns_its_result() {
    for generation in [Generation::V1, Generation::V2] {
        let survey = json!({"id": 5, "action_type": "survey", "status": "ready"});
        let messages = run_custom_steps(generation, Probe, &[survey]);
        let whole = json!({"name": "probe", "arguments": [{"at": 1.5}], "action_id": 5});
        assert_eq!(messages[0], json!({"event": "result", "whole": whole, "text": "for 5"}));
        assert_eq!((&messages[1]["event"], messages.len()), (&json!("survey:completed"), 2));
    }
}

#[test]
fn a_custom_step_that_fails_panics_or_is_cancelled_ends_its_action_once() {
    let survey = |id: i64, status: &str, mode: &str| json!({"id": id, "action_type": "survey", "status": status, "settings": {"MODE": mode}});
    let actions = [
        survey(5, "ready", "fail"),
        survey(6, "ready", "panic"),
        survey(7, "ready", "wait"),
        survey(7, "cancelled", ""),
        survey(8, "ready", ""),
    ];
    let messages = run_custom_steps(Generation::V2, Probe, &actions);
    for (id, ending) in [(5, "failed"), (6, "failed"), (7, "cancelled"), (8, "completed")] {
        let events: Vec<_> = messages.iter().filter(|m| m["action_id"] == id).map(|m| &m["event"]).collect();
        assert_eq!(events, [&json!(format!("survey:{ending}"))], "{messages:#?}");
    }
}

#[test]
fn the_canned_machine_refuses_custom_steps() {
    let survey = json!({"id": 5, "action_type": "survey", "status": "ready"});
    let messages = run_custom_steps(Generation::V2, CannedMachine::new(&Config::default()), &[survey]);
    assert_eq!((&messages[0]["event"], messages.len()), (&json!("survey:cancelled"), 1));
}
