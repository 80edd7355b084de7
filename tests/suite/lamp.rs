//! What a machine is told about a picture: the camera, the action's settings, and how bright the lamp is to be.

use std::sync::{Arc, Mutex};

use gf_emulator_core::config::Generation;
use gf_emulator_core::machine::{Camera, Capture, Controls, Job, Machine, MachineError, PlayUpdate};
use gf_emulator_tests::Setup;
use serde_json::{Map, Value, json};

/// Camera, settings and lamp level of a picture.
type Picture = (Camera, Map<String, Value>, u8);

/// A machine that keeps what it is told about pictures.
struct Photographer {
    pictures: Arc<Mutex<Vec<Picture>>>,
    /// The brightness of its lamp, if it reports one.
    brightness: Option<u8>,
}

impl Machine for Photographer {
    fn readings(&mut self) -> Vec<(String, Value)> {
        self.brightness.map(|brightness| ("LLvl".to_owned(), json!(brightness))).into_iter().collect()
    }

    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        self.pictures.lock().unwrap().push((request.camera, request.settings.clone(), request.lamp_level));
        Ok(vec![0xff; 100])
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Ok(())
    }
}

/// Requests these pictures from a 2.6 machine, one after the other. Returns what the machine is told.
fn pictures(brightness: Option<u8>, actions: &[(&str, Value)]) -> Vec<Picture> {
    let pictures = Arc::default();
    let machine = Photographer { pictures: Arc::clone(&pictures), brightness };
    let harness = Setup::new(Generation::V2).machine(machine).start();
    let endpoint = format!("{}/up/picture", harness.service.http_url());
    for (id, (action, settings)) in (1..).zip(actions) {
        harness.send(id, action, "ready", &json!({"endpoint": endpoint, "settings": settings}));
        harness.wait_event(&format!("{action}:completed"), Some(id));
    }
    harness.stop().2.unwrap();
    let taken = pictures.lock().unwrap().clone();
    assert_eq!(taken.len(), actions.len(), "{taken:?}");
    taken
}

#[test]
fn a_user_image_carries_its_settings_to_the_lid_capture() {
    let taken = pictures(None, &[("user_image", json!({"LCfl": 0, "NRic": 2}))]);
    let settings = json!({"LCfl": 0, "NRic": 2}).as_object().unwrap().clone();
    assert_eq!(taken, [(Camera::Lid, settings, 0)]);
}

#[test]
fn every_camera_receives_the_settings_of_its_action() {
    let taken = pictures(
        None,
        &[
            ("lid_image", json!({"LCfl": 1})),
            ("head_image", json!({"HCil": 1, "HCex": 100})),
            ("lidar_image", json!([{"HCil": 1}, {"HCil": 0}])),
            ("head_image", json!([])),
            ("lid_image", Value::Null),
        ],
    );
    let settings: Vec<_> = taken.into_iter().map(|(_, settings, _)| Value::Object(settings)).collect();
    assert_eq!(
        settings,
        [json!({"LCfl": 1}), json!({"HCil": 1, "HCex": 100}), json!({"HCil": 1}), json!({}), json!({})]
    );
}

#[test]
fn the_lamp_follows_the_action_and_is_off_for_the_head() {
    let actions = [
        ("lid_image", json!({"LCfl": 1})),
        ("lid_image", json!({"LCfl": 0})),
        ("user_image", json!({})),
        ("lid_image", Value::Null),
        ("head_image", json!({"LCfl": 1, "HCil": 1})),
        ("lidar_image", json!([{"HCil": 0}])),
    ];
    let levels = |brightness| pictures(brightness, &actions).into_iter().map(|taken| taken.2).collect::<Vec<_>>();
    assert_eq!(levels(None), [132, 0, 132, 132, 0, 0]);
    assert_eq!(levels(Some(200)), [200, 0, 200, 200, 0, 0]);
}
