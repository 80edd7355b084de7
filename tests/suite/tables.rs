//! Actions tables of one's own, and what is said of those that are wrong.

use std::fmt::Write;
use std::path::Path;

use gf_emulator_core::config::Generation;
use gf_emulator_core::{Config, Emulator, Error};
use gf_emulator_tests::{Setup, config, endings_of, events_of, folder};
use serde_json::{Value, json};

/// A small table: one action, made of known steps, that no built-in table has.
fn table() -> Value {
    json!({
        "about": "what it is for",
        "generation": "mine",
        "line_end": "\n",
        "templates": {
            "event": {"channel": "ws", "message": {"id": "<ID>", "type": "event", "action_id": "<ACTION_ID>", "event": "<event>"}},
            "told": {"channel": "ws", "message": {"id": "<ID>", "event": "<event>", "by": "<MACHINE.HOSTNAME> S<MACHINE.SERIAL>", "serial": "<MACHINE.SERIAL>", "text": "<text>"}},
            "offer": {"channel": "ws", "message": {"id": "<ID>", "event": "offer", "version": "<AVAILABLE_FIRMWARE>", "from": "<MOTION_URL>"}},
            "web": {"channel": "web", "message": {"event": "web", "id": "<MILLI_EPOCH>"}}
        },
        "signals": {"lid_opened": [{"send": "told", "event": "lid", "text": "a \"quoted\" word\nand <ID>"}]},
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
fn a_new_action_of_known_steps_is_a_matter_of_a_table() {
    for generation in [Generation::V1, Generation::V2] {
        let own = folder();
        let path = write(own.path(), &table().to_string());
        let bench = Setup::new(generation).config(move |config| config.service.actions_file = Some(path)).start();
        bench.expect(5, "survey", "completed");
        // Nothing is left of the built-in one.
        bench.ask(6, "print");
        bench.expect(7, "survey", "completed");
        bench.handle.open_lid();
        let (service, folder, ended) = bench.stop();
        ended.unwrap();
        let seen = service.seen();
        assert_eq!(endings_of(&seen, 5, "survey"), ["survey:completed (5)"]);
        let events = events_of(&seen);
        assert!(!events.iter().any(|event| event.contains("print")), "{events:#?}");
        let message = |name: &str| {
            seen.iter().find_map(|seen| match seen {
                gf_emulator_core::local_service::Seen::WsMessage { message, .. } if message["event"] == name => {
                    Some(message.clone())
                }
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
            let of = |seen: &&gf_emulator_core::local_service::Seen| matches!(seen, gf_emulator_core::local_service::Seen::Http(r) if r.path == path && r.status == 200);
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
fn a_table_that_is_wrong_is_refused_with_the_place_and_the_reason() {
    let changes: [(&str, Change); 32] = [
        ("a placeholder that nothing has a value for", |t| t["templates"]["event"]["message"]["x"] = json!("<NOBODY>")),
        ("a word that the step does not give", |t| t["actions"]["survey"]["steps"][0] = json!({"send": "event"})),
        ("a value before it is known", |t| t["actions"]["survey"]["steps"][0] = json!({"send": "offer"})),
        ("an action's value in a signal", |t| {
            t["signals"]["lid_closed"] = json!([{"send": "event", "event": "x"}]);
        }),
        ("a word that leads to itself", |t| {
            t["actions"]["survey"]["steps"][0]["event"] = json!("<event>");
        }),
        ("no such template", |t| t["actions"]["survey"]["steps"][0]["send"] = json!("evnt")),
        ("no such thing to do", |t| t["actions"]["survey"]["steps"][1] = json!({"do": "dance"})),
        ("neither send nor do", |t| t["actions"]["survey"]["steps"][1] = json!({"camera": "lid"})),
        ("both", |t| t["actions"]["survey"]["steps"][1]["send"] = json!("event")),
        ("a step that is no object", |t| t["actions"]["survey"]["steps"][1] = json!("capture")),
        ("steps that are no list", |t| t["actions"]["survey"]["steps"] = json!({})),
        ("an unknown option", |t| t["actions"]["survey"]["steps"][1]["lens"] = json!(1)),
        ("no such camera", |t| t["actions"]["survey"]["steps"][1]["camera"] = json!("tail")),
        ("no such laser", |t| t["actions"]["survey"]["steps"][2]["laser"] = json!("maybe")),
        ("an upload's kind that is a path", |t| t["actions"]["survey"]["steps"][3]["kind"] = json!("../x")),
        ("an upload to nowhere", |t| t["actions"]["survey"]["steps"][3]["to"] = json!("moon")),
        ("a delay before now", |t| t["actions"]["survey"]["steps"][0]["delay_s"] = json!(-1)),
        ("a delay in words", |t| t["actions"]["survey"]["steps"][0]["delay_s"] = json!("1")),
        ("optional in words", |t| t["actions"]["survey"]["steps"][8]["optional"] = json!("yes")),
        ("no ending for the cancelled", |t| {
            t["actions"]["survey"].as_object_mut().unwrap().remove("cancelled");
        }),
        ("an ending that says nothing", |t| t["actions"]["survey"]["failed"] = json!([])),
        ("an ending twice", |t| {
            t["actions"]["survey"]["failed"] =
                json!([{"send": "event", "event": "survey:failed"}, {"send": "event", "event": "survey:failed"}]);
        }),
        ("another ending's event", |t| {
            t["actions"]["survey"]["failed"] =
                json!([{"send": "event", "event": "survey:failed"}, {"send": "event", "event": "survey:completed"}]);
        }),
        ("an ending among the steps", |t| t["actions"]["survey"]["steps"][0]["event"] = json!("survey:completed")),
        ("an ending that does something", |t| t["actions"]["survey"]["failed"][0] = json!({"do": "park"})),
        ("an ending over the web", |t| t["actions"]["survey"]["failed"][0] = json!({"send": "web"})),
        ("no such channel", |t| t["templates"]["web"]["channel"] = json!("pigeon")),
        ("a template without a message", |t| t["templates"]["web"] = json!({"channel": "web"})),
        ("an action whose name is a path", |t| {
            let row = t["actions"]["survey"].take();
            t["actions"] = json!({"../survey": row});
        }),
        ("no such signal", |t| t["signals"]["bell"] = json!([])),
        ("an unknown key", |t| t["acions"] = json!({})),
        ("no line end", |t| {
            t.as_object_mut().unwrap().remove("line_end");
        }),
    ];
    let folder = folder();
    let name = folder.path().join("actions.json").display().to_string();
    let mut text = String::new();
    let mut tell = |what: &str, table: &str| match Emulator::new(config_with(folder.path(), table)) {
        Err(error @ Error::Table { .. }) => {
            writeln!(text, "{what}\n  {}", error.to_string().replace(&name, "actions.json")).unwrap();
        }
        Err(error) => panic!("{what}: {error:?}"),
        Ok(_) => writeln!(text, "{what}\n  IS TAKEN").unwrap(),
    };
    for (what, change) in changes {
        let mut table = table();
        change(&mut table);
        tell(what, &table.to_string());
    }
    for (what, table) in [
        ("not JSON", "{\n  \"actions\": oops\n}"),
        ("nothing", ""),
        ("a list", "[]"),
        ("no actions", "{\"line_end\":\"\\n\",\"templates\":{}}"),
    ] {
        tell(what, table);
    }
    assert!(!text.contains("IS TAKEN"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_table_that_is_not_there_or_too_large_is_an_error_that_names_it() {
    let folder = folder();
    let mut config = config_with(folder.path(), &" ".repeat((4 << 20) + 1));
    let error = Emulator::new(config.clone()).err().unwrap();
    assert!(error.to_string().contains("actions.json") && matches!(error, Error::TooLarge { .. }), "{error}");
    config.service.actions_file = Some(folder.path().join("no-such.json"));
    let error = Emulator::new(config).err().unwrap();
    assert!(error.to_string().contains("no-such.json") && matches!(error, Error::File { .. }), "{error}");
}

#[test]
fn a_table_that_could_end_an_action_twice_or_leave_a_value_out_is_refused() {
    let changes: [(&str, &str, Change); 17] = [
        ("an ending on the way home", "would end the action a second time", |t| {
            t["actions"]["survey"]["steps"][5]["stopped"] = json!([{"send": "event", "event": "survey:cancelled"}]);
        }),
        ("an ending when it is paused", "would end the action a second time", |t| {
            t["actions"]["survey"]["steps"][5]["paused"] = json!([{"send": "event", "event": "survey:failed"}]);
        }),
        ("an ending when it is resumed", "would end the action a second time", |t| {
            t["actions"]["survey"]["steps"][5]["resumed"] = json!([{"send": "event", "event": "survey:completed"}]);
        }),
        ("an ending when an upload has failed", "would end the action a second time", |t| {
            t["actions"]["survey"]["steps"][3]["failed"] = json!([{"send": "event", "event": "survey:failed"}]);
        }),
        ("an ending as the progress of a run", "would end the action a second time", |t| {
            t["templates"]["far"] = json!({"channel": "progress", "message": {"event": "survey:completed"}});
            t["actions"]["survey"]["steps"][5]["progress"] = json!("far");
        }),
        ("an ending as the progress of a download", "would end the action a second time", |t| {
            t["templates"]["far"] = json!({"channel": "progress", "message": {"event": "survey:completed"}});
            t["actions"]["survey"]["steps"][4]["progress"] = json!("far");
        }),
        ("an ending over the web, on the way", "would end the action a second time", |t| {
            t["templates"]["web"]["message"]["event"] = json!("survey:failed");
        }),
        ("an ending of another action", "would end the action a second time", |t| {
            let ends = |which: &str| json!([{"send": "event", "event": format!("other:{which}")}]);
            t["actions"]["other"] = json!({
                "steps": [{"send": "event", "event": "survey:completed"}],
                "completed": ends("completed"), "cancelled": ends("cancelled"), "failed": ends("failed")
            });
        }),
        ("an ending as a signal", "would end the action a second time", |t| {
            t["signals"]["lid_opened"][0]["event"] = json!("survey:cancelled");
        }),
        ("an ending at the start", "would end the action a second time", |t| {
            t["start"] = json!([{"send": "told", "event": "survey:failed", "text": ""}]);
        }),
        ("an event whose name the service decides", "the name of an event cannot depend on the action", |t| {
            t["actions"]["survey"]["steps"][0]["event"] = json!("<MOTION_URL>");
        }),
        ("an ending that does not say whose it is", r#"needs "action_id": "<ACTION_ID>" to say what it ends"#, |t| {
            t["actions"]["survey"]["failed"][0] = json!({"send": "told", "event": "survey:failed", "text": ""});
        }),
        ("a message that is no object", "its message should be an object", |t| {
            t["templates"]["web"]["message"] = json!([{"event": "web"}]);
        }),
        ("a value of a step that may fail", "<AVAILABLE_FIRMWARE> has no value at this point", |t| {
            t["actions"]["survey"]["steps"][6]["optional"] = json!(true);
        }),
        ("a value that the start does not make", "start[0]: here one only sends, probes and downloads firmware", |t| {
            t["templates"]["set"] = json!({"channel": "web", "message": {"settings": "<SETTINGS>"}});
            t["start"] = json!([{"do": "report_settings"}, {"send": "set"}]);
        }),
        ("progress over the web", "wants a template of the channel progress", |t| {
            t["actions"]["survey"]["steps"][5]["progress"] = json!("web");
        }),
        ("a line end that says something", "line_end: has line ends alone", |t| {
            t["line_end"] = json!("{\"event\":\"survey:failed\"}\n");
        }),
    ];
    let folder = folder();
    assert!(Emulator::new(config_with(folder.path(), &table().to_string())).is_ok());
    for (what, reason, change) in changes {
        let mut table = table();
        change(&mut table);
        let error = Emulator::new(config_with(folder.path(), &table.to_string())).err();
        let error = error.unwrap_or_else(|| panic!("{what} is taken")).to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
}
