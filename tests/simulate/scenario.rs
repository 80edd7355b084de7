//! [`Scenario`]: what happens in the simulation of one seed, drawn from its random numbers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::{Config, Secret, puls};
use serde_json::{Value, json};

use crate::network::Dial;
use crate::service::{self, SECRET, SERVER, STATUS, STORAGE};
use crate::world::World;

pub(crate) const JOBS: &str = "/sim/motion";
pub(crate) const PICTURES: &str = "/sim/sent";
pub(crate) const RECORDING: &str = "/sim/record/session.jsonl";
/// The action that is sent when everything works again.
pub(crate) const LAST_ACTION: i64 = 9999;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
const HOURS_OF_A_DAY: u32 = 24;
const ACTIONS_OF_A_DAY: u64 = 1200;
/// After so many, the jobs, signatures of URLs and tokens of a day are repeated: a machine remembers hundreds of them.
const KINDS_OF_A_DAY: i64 = 3;
const SERIAL: u32 = 421_337;

/// How often something goes wrong, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Answers to requests.
    pub(crate) http: u64,
    /// Frames with actions, in unusual forms.
    pub(crate) frames: u64,
    /// Connections that break.
    pub(crate) cuts: u64,
    /// Pings that are not answered.
    pub(crate) pongs: u64,
    /// Answers that take long.
    pub(crate) slow: u64,
    /// Calls of the machine.
    pub(crate) machine: u64,
}

#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) generation: Generation,
    pub(crate) config: Config,
    /// When the faults end.
    pub(crate) faults_end: Duration,
    /// When the machine is stopped, if not after everything works again.
    pub(crate) stop: Option<Duration>,
    /// The actions that the service sends.
    pub(crate) actions: Vec<i64>,
    /// Nothing can keep the actions from the machine.
    pub(crate) all_arrive: bool,
}

/// Bodies of small jobs: a motion, one with fire, and one that this machine refuses.
static BODIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let moved = |builder: &mut puls::Builder| builder.move_to(3.0, 2.0).map(|builder| builder.to_bytes());
    let mut cut = puls::Builder::new();
    let cut = cut.cut_to(2.0, 1.0, 50.0, 0.5).map(|builder| builder.to_bytes());
    let motion = moved(&mut puls::Builder::new()).unwrap_or_default();
    let mut refused = motion.clone();
    // Not a pulse file at all.
    refused[..4].copy_from_slice(b"nope");
    vec![motion, cut.unwrap_or_default(), refused]
});

impl Scenario {
    /// Draws a scenario, and plans what happens in it.
    pub(crate) fn plan(world: &Rc<World>) -> Self {
        let generation = if world.chance(500) { Generation::V2 } else { Generation::V1 };
        let faults_end = Duration::from_secs(5) + world.time_below(Duration::from_secs(175));
        let config = config(world, generation);
        let faults = if world.chance(150) { Faults::default() } else { draw_faults(world) };
        world.service.borrow_mut().faults = faults;
        let has_outages = faults.cuts > 0 && world.chance(300);
        if has_outages {
            plan_outages(world, faults_end);
        }
        if world.chance(300) {
            plan_disk_failures(world, faults_end);
        }
        if world.chance(200) {
            let rate = if world.chance(300) { 1000 } else { world.pick(5..500) };
            world.after(world.time_below(faults_end), move |world| world.set_thread_failures(rate));
        }
        for _ in 0..world.pick(0..3) {
            world.after(world.time_below(faults_end), service::expire_tokens);
        }
        for _ in 0..world.pick(0..4) {
            world.after(world.time_below(faults_end + Duration::from_secs(20)), |world| {
                let files = world.disk.after_power_failure(|below| world.index(below));
                world.model.borrow_mut().on_power_failure(&files);
            });
        }
        let stops_reading = world.chance(150);
        if stops_reading {
            plan_stalls(world, faults_end);
        }
        let actions = plan_actions(world, generation, faults_end, world.pick(1..10), i64::MAX);
        world.after(faults_end, |world| {
            world.note(format_args!("everything works again"));
            world.service.borrow_mut().faults = Faults::default();
            world.network.end_faults();
            world.set_disk_failures(0);
            world.set_thread_failures(0);
        });
        let stop = world.chance(200).then(|| world.time_below(faults_end * 2));
        let all_arrive =
            stop.is_none() && faults.cuts + faults.pongs + faults.http + faults.frames == 0 && !stops_reading;
        Self { generation, config, faults_end, stop, actions, all_arrive }
    }

    /// Draws a day: in every hour, the connection is cut once and cannot be made again for up to a minute.
    pub(crate) fn plan_day(world: &Rc<World>) -> Self {
        let generation = if world.chance(500) { Generation::V2 } else { Generation::V1 };
        let faults_end = HOUR * HOURS_OF_A_DAY;
        let mut config = config(world, generation);
        // Otherwise a 1.x machine waits all day for it.
        config.emulator.button = Button::Auto;
        world.service.borrow_mut().token_kinds = KINDS_OF_A_DAY.unsigned_abs();
        for hour in 0..HOURS_OF_A_DAY {
            plan_outage(world, HOUR * hour + world.time_below(HOUR), Duration::from_secs(60));
        }
        let actions = plan_actions(world, generation, faults_end, ACTIONS_OF_A_DAY, KINDS_OF_A_DAY);
        world.after(faults_end, |world| world.network.set_dial(None));
        Self { generation, config, faults_end, stop: None, actions, all_arrive: false }
    }
}

fn draw_faults(world: &World) -> Faults {
    let draw = |limit| if world.chance(450) { world.pick(10..limit) } else { 0 };
    Faults {
        http: draw(300),
        frames: draw(500),
        cuts: draw(250),
        pongs: draw(1000),
        slow: draw(300),
        machine: draw(300),
    }
}

fn config(world: &World, generation: Generation) -> Config {
    let mut config = Config::default();
    config.service.server_url = format!("https://{SERVER}");
    config.service.status_service_url = format!("wss://{STATUS}");
    config.machine.serial = SERIAL;
    config.machine.password = Secret::new(SECRET.repeat(4));
    config.machine.hostname = "SIM-421".into();
    config.service.protocol = Some(generation);
    config.firmware.check = world.chance(500);
    config.firmware.download = Some(false);
    config.motion.dir = JOBS.into();
    config.motion.keep = world.chance(800);
    config.logging.sent_images_dir = world.chance(500).then(|| PICTURES.into());
    config.emulator.time_scale = [0.0, 0.02, 1.0][world.index(3)];
    config.emulator.button = if world.chance(500) { Button::Auto } else { Button::Wait };
    config.emulator.button_timeout = Duration::from_secs(60);
    config
}

/// Times in which no connection can be made: seconds, seldom hours.
fn plan_outages(world: &Rc<World>, faults_end: Duration) {
    for _ in 0..world.pick(1..4) {
        let start = world.time_below(faults_end);
        let longest = if world.chance(20) { HOUR * 4 } else { Duration::from_secs(60) };
        plan_outage(world, start, longest);
    }
}

fn plan_outage(world: &Rc<World>, start: Duration, longest: Duration) {
    let length = world.time_below(longest);
    let dial = if world.chance(500) { Dial::Refused } else { Dial::TimesOut };
    world.after(start, move |world| {
        world.note(format_args!("an outage: {dial:?}"));
        world.network.set_dial(Some(dial));
        if let Some(link) = service::websocket(world) {
            link.cut(world);
        }
        world.after(length, |world| world.network.set_dial(None));
    });
}

fn plan_disk_failures(world: &Rc<World>, faults_end: Duration) {
    let rate = if world.chance(300) { 1000 } else { world.pick(5..300) };
    // The recording must begin.
    world.after(Duration::from_secs(1) + world.time_below(faults_end), move |world| world.set_disk_failures(rate));
}

/// The service does not read for a while.
fn plan_stalls(world: &Rc<World>, faults_end: Duration) {
    for _ in 0..world.pick(1..3) {
        let (room, length) = (world.index(2000), world.time_below(Duration::from_secs(60)));
        world.after(world.time_below(faults_end), move |world| {
            let Some(link) = service::websocket(world) else { return };
            world.note(format_args!("service: does not read, with room for {room} bytes"));
            link.stop_reading(room);
            world.after(length, move |_| link.read_again());
        });
    }
}

/// Plans `count` actions, with `kinds` different jobs and signatures.
fn plan_actions(world: &Rc<World>, generation: Generation, faults_end: Duration, count: u64, kinds: i64) -> Vec<i64> {
    let types: &[&str] = match generation {
        Generation::V1 => &["settings", "lid_image", "head_image", "lidar_image", "hunt", "motion", "print"],
        Generation::V2 => &[
            "settings",
            "lid_image",
            "user_image",
            "head_image",
            "hunt",
            "motion",
            "print",
            "update_check",
            "factory_reset",
        ],
    };
    let ids: Vec<_> = (1001..1001 + i64::try_from(count).unwrap_or(1)).collect();
    for &id in &ids {
        let action_type = types[world.index(types.len())];
        let mut action = json!({"id": id, "action_type": action_type, "status": "ready"});
        if matches!(action_type, "hunt" | "motion" | "print") {
            plan_job(world, id, kinds, &mut action);
        } else if action_type.ends_with("image") && (generation == Generation::V2 && world.chance(700)) {
            action["endpoint"] = json!(format!("https://{STORAGE}/{id}.jpg?X-Amz-Signature={SECRET}-{}", id % kinds));
        }
        let at = world.time_below(faults_end);
        world.after(at, move |world| service::send_line(world, &action.to_string()));
        if world.chance(250) {
            let cancel = json!({"id": id, "action_type": action_type, "status": "cancelled"});
            let later = at + world.time_below(Duration::from_secs(30));
            world.after(later, move |world| service::send_line(world, &cancel.to_string()));
        }
    }
    ids
}

/// Compresses a body. The same few come in many sessions.
fn gzip(body: Vec<u8>) -> Vec<u8> {
    thread_local! {
        static KNOWN: RefCell<HashMap<Vec<u8>, Vec<u8>>> = RefCell::default();
    }
    let compress = |body: &Vec<u8>| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(body).and_then(|()| gzip.finish()).unwrap_or_default()
    };
    KNOWN.with_borrow_mut(|known| known.entry(body).or_insert_with_key(compress).clone())
}

fn plan_job(world: &World, id: i64, kinds: i64, action: &mut Value) {
    let kind = if world.chance(100) { 2 } else { world.index(2) };
    let mut body = BODIES[kind].clone();
    // Ticks without a step: no two jobs of a few minutes are the same.
    body.resize(body.len() + usize::try_from(id % kinds % 1000).unwrap_or_default(), 0);
    if world.chance(300) {
        body = gzip(body);
    }
    let path = format!("/{id}.puls");
    action["motion_url"] = json!(format!("https://{STORAGE}{path}?X-Amz-Signature={SECRET}-{}", id % kinds));
    world.service.borrow_mut().jobs.insert(path, body);
}
