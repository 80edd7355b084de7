//! Actions of an untrusted service, one in each line: each that is accepted ends once.

#![no_main]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use gf_emulator_core::config::Generation;
use gf_emulator_core::service::{FirmwareOffer, Uplink, Upload};
use gf_emulator_core::storage::{Download, DownloadEnd};
use gf_emulator_core::{Emulator, EmulatorEvent, Result, puls};
use gf_emulator_fuzz::{config, log_lines, world};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Has one job, whatever the URL.
struct OneJob;

impl Uplink for OneJob {
    fn upload(&self, _: &Upload<'_>) -> Result<()> {
        Ok(())
    }

    fn download(&self, url: &str) -> Result<Download> {
        let mut job = puls::Builder::new();
        job.cut_to(0.5, 0.2, 100.0, 0.5)?;
        let job = if url.contains("bad") { b"nope".to_vec() } else { job.to_bytes() };
        Ok(Download::new("memory", DownloadEnd::Length(job.len() as u64), Cursor::new(job)))
    }

    fn firmware(&self) -> Result<FirmwareOffer> {
        Ok(FirmwareOffer::new("2.6.0-2228"))
    }
}

fuzz_target!(init: log_lines(), |text: &str| {
    for generation in [Generation::V1, Generation::V2] {
        // One frame.
        let frame = text.split_inclusive('\n').take(16).collect();
        world::run(Vec::new(), usize::MAX, move || {
            let mut config = config(generation);
            config.emulator.button_timeout = std::time::Duration::from_secs(1);
            let (emulator, peer) = Emulator::offline(config, "/sim").expect("the configuration is valid");
            let mut emulator = emulator.with_uplink(OneJob);
            let open = Arc::new(Mutex::new(BTreeMap::<i64, i32>::new()));
            let messages = Arc::new(Mutex::new(Vec::new()));
            let (counted, sent, queue) = (Arc::clone(&open), Arc::clone(&messages), peer.rx.clone());
            emulator.on_event(move |event| {
                let _ = event.to_string();
                // The queue has room for the messages of two prints. It is emptied after each action.
                sent.lock().expect("no callback panics").extend(queue.try_iter());
                let mut open = counted.lock().expect("no callback panics");
                match event {
                    EmulatorEvent::ActionAccepted { action_id, .. } => *open.entry(*action_id).or_default() += 1,
                    EmulatorEvent::ActionEnded { action_id, .. } => *open.entry(*action_id).or_default() -= 1,
                    _ => {}
                }
            });
            peer.tx.send(frame).expect("the emulator has not stopped");
            drop(peer.tx);
            emulator.run().expect("it stops at the end of its input");
            let mut messages = messages.lock().expect("no callback panics");
            messages.extend(peer.rx.try_iter());
            for message in messages.iter() {
                assert!(serde_json::from_str::<Value>(message.text()).is_ok(), "{}", message.text());
            }
            let open = open.lock().expect("no callback panics");
            assert!(open.values().all(|count| *count == 0), "not each action ended once: {open:?}");
        });
    }
});
