//! The emulator's own machine: sends canned pictures, and plays jobs in scaled time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tungstenite::Bytes;

use super::playback::Playback;
use super::{
    Camera, Capture, Controls, Job, Machine, MachineError, PlayEvent, PlayUpdate, StopReason, WakeReason, pictures,
};
use crate::Config;
use crate::config::{Button, Generation};
use crate::puls::Position;
use crate::system;

/// A picture of 8 megapixels has about 4 MiB.
const MAX_PICTURE_BYTES: u64 = 32 << 20;
const HOMING_PICTURES: u8 = 4;
const BED_PICTURE: &str = "LID_IMAGE.jpg";
/// Speed of the way home. Travel peaks at 202 mm/s, measured on hardware.
const PARK_SPEED_MM_S: f64 = 200.0;
/// Ticks of the way home in a second: the default of jobs. The machine's own way home was not measured.
const PARK_TICKS_PER_S: f64 = 10_000.0;

/// A machine without hardware: sends canned pictures, and plays jobs in scaled time.
///
/// # Pictures
///
/// Files in [`image_dir`](crate::config::Behaviour::image_dir):
///
/// | camera | picture |
/// |---|---|
/// | lid, first four pictures | `HOME_1.jpg` to `HOME_4.jpg` in this order (homing); skipped if `bypass_homing` is set (2.6) |
/// | lid, afterwards | `LID_IMAGE.jpg`, or `HOME_4.jpg` if that does not exist; a picture with [`Capture::begins_homing`] is `HOME_1.jpg` again, and the next three follow |
/// | head | `HEAD_LASER_<thickness>.jpg` or `HEAD_NO_LASER_<thickness>.jpg`, with the measurement laser on or off |
///
/// `<thickness>` is [`material_thickness`](crate::config::Behaviour::material_thickness), such as `.230`. A picture is
/// a regular file of up to 32 MiB. Its bytes are sent unchanged and are not checked to be a JPEG. A missing picture
/// fails the action. Names and homing order are those of the Glowforge-Utilities emulator.
///
/// # Generations
///
/// As a 2.6 machine, it also
///
/// - reports where a job was stopped, and at time scale 0 the start and the end of a job,
/// - ends a cool-down early only for a shutdown,
/// - refuses a print whose button is not pressed within
///   [`button_timeout`](crate::config::Behaviour::button_timeout).
///
/// ```
/// use gf_emulator_core::Config;
/// use gf_emulator_core::machine::CannedMachine;
///
/// let machine = CannedMachine::new(&Config::default());
/// assert_eq!(machine.pictures().len(), 7);
/// ```
#[derive(Debug)]
pub struct CannedMachine {
    generation: Generation,
    image_dir: PathBuf,
    thickness: String,
    time_scale: f64,
    button: Button,
    button_timeout: Duration,
    warm_up: Duration,
    cool_down: Duration,
    /// The homing picture to send next, 1 to 4; 0 if homed.
    homing: u8,
    /// The way back to where the last job started.
    way_home: WayHome,
}

/// The head's place relative to the start of a job.
#[derive(Debug, Clone, Copy, Default)]
struct WayHome {
    /// X, Y and Z in microsteps.
    position: [i64; 3],
    distance_mm: f64,
}

impl WayHome {
    fn new(job: &Job, position: [i64; 3]) -> Self {
        let header = &job.measured.header;
        let [x, y, _] = position;
        Self { position, distance_mm: header.x_mm(x).hypot(header.y_mm(y)) }
    }
}

impl CannedMachine {
    /// Creates a machine from `config.emulator` and the generation.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let emulator = &config.emulator;
        let bypass = config.generation() == Generation::V2 && emulator.bypass_homing;
        Self {
            generation: config.generation(),
            image_dir: emulator.image_dir.clone(),
            thickness: emulator.material_thickness.clone(),
            time_scale: emulator.time_scale,
            button: emulator.button,
            button_timeout: emulator.button_timeout,
            warm_up: emulator.warm_up,
            cool_down: emulator.cool_down,
            homing: u8::from(!bypass),
            way_home: WayHome::default(),
        }
    }

    /// Returns the paths of all pictures that it may send, whether or not they exist.
    #[must_use]
    pub fn pictures(&self) -> Vec<PathBuf> {
        let names = (1..=HOMING_PICTURES).map(homing_picture).chain([
            BED_PICTURE.to_owned(),
            self.head_picture(true),
            self.head_picture(false),
        ]);
        names.map(|name| self.image_dir.join(name)).collect()
    }

    /// Returns the pictures that are missing or unusable, which makes an action fail. `LID_IMAGE.jpg` may be missing if
    /// `HOME_4.jpg` exists.
    #[must_use]
    pub fn missing_pictures(&self) -> Vec<PathBuf> {
        let fallback = is_picture(&self.image_dir.join(homing_picture(HOMING_PICTURES)));
        self.pictures()
            .into_iter()
            .filter(|path| !(is_picture(path) || (fallback && path.ends_with(BED_PICTURE) && !path.exists())))
            .collect()
    }

    fn head_picture(&self, laser: bool) -> String {
        format!("HEAD_{}_{}.jpg", if laser { "LASER" } else { "NO_LASER" }, self.thickness)
    }

    /// Returns the lid camera's next picture and advances homing.
    fn lid_picture(&mut self, begins_homing: bool) -> PathBuf {
        if self.homing == 0 && begins_homing {
            self.homing = 1;
        }
        if self.homing == 0 {
            let bed = self.image_dir.join(BED_PICTURE);
            return if bed.exists() { bed } else { self.image_dir.join(homing_picture(HOMING_PICTURES)) };
        }
        let picture = self.image_dir.join(homing_picture(self.homing));
        self.homing = if self.homing == HOMING_PICTURES { 0 } else { self.homing + 1 };
        picture
    }

    fn scaled(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() * self.time_scale).unwrap_or(Duration::MAX)
    }
}

fn homing_picture(n: u8) -> String {
    format!("HOME_{n}.jpg")
}

fn is_picture(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_PICTURE_BYTES)
}

impl Machine for CannedMachine {
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        self.capture_shared(request).map(Vec::from)
    }

    fn capture_shared(&mut self, request: &Capture<'_>) -> Result<Bytes, MachineError> {
        let path = match request.camera {
            Camera::Lid => self.lid_picture(request.begins_homing),
            Camera::Head => self.image_dir.join(self.head_picture(request.laser)),
        };
        log::info!("picture {}", path.display());
        pictures::read(&path, MAX_PICTURE_BYTES).map_err(|e| MachineError::Failed(e.to_string()))
    }

    fn load(&mut self, _: &Job) -> Result<(), MachineError> {
        self.way_home = WayHome::default();
        Ok(())
    }

    fn wait_for_button(&mut self, _: &Job, controls: &Controls) -> Result<(), MachineError> {
        let timeout = (self.generation == Generation::V2).then_some(self.button_timeout);
        let deadline = timeout.and_then(|timeout| system::now().checked_add(timeout));
        let mut pressed = self.button == Button::Auto;
        if !pressed {
            log::info!("waiting for the button");
        }
        // No print starts while the lid is open. In 2.6 it is cancelled: the controls end the wait.
        while !pressed || controls.lid_is_open() {
            match controls.wait(deadline)? {
                WakeReason::ButtonPressed => pressed = true,
                WakeReason::LidClosed => {}
                WakeReason::Timeout => {
                    let waited_s = self.button_timeout.as_secs_f64();
                    return Err(MachineError::Refused(format!("the button was not pressed within {waited_s} s")));
                }
            }
        }
        // One press starts the print; later ones pause it.
        controls.clear_presses();
        Ok(())
    }

    fn warm_up(&mut self, _: &Job, controls: &Controls) -> Result<(), MachineError> {
        Ok(controls.sleep(self.scaled(self.warm_up))?)
    }

    fn play(
        &mut self,
        job: &Job,
        controls: &Controls,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> Result<(), MachineError> {
        if let Some(reason) = controls.stop_reason() {
            return Err(reason.into());
        }
        if self.time_scale > 0.0 {
            let mut playback = Playback::new(job, self.time_scale)?;
            let outcome = playback.run(controls, self.generation, on_update);
            self.way_home = WayHome::new(job, playback.position());
            return outcome;
        }
        let Position { x, y, z, .. } = job.measured.counts.end();
        let end = [x, y, z];
        if self.generation == Generation::V2 {
            on_update(PlayUpdate::new(PlayEvent::Progress, 0, [0; 3]));
            on_update(PlayUpdate::new(PlayEvent::Progress, job.measured.ticks, end));
        }
        self.way_home = WayHome::new(job, end);
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Not negative, and limited by the bed.
    fn park(&mut self, controls: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        let WayHome { position: [x, y, z], distance_mm } = std::mem::take(&mut self.way_home);
        if (x, y) == (0, 0) {
            return Ok(());
        }
        let seconds = distance_mm / PARK_SPEED_MM_S;
        let total = ((seconds * PARK_TICKS_PER_S).ceil() as u64).max(1);
        let mut report = |event, tick, position| {
            on_update(PlayUpdate { total: Some(total), ..PlayUpdate::new(event, tick, position) });
        };
        report(PlayEvent::Progress, 0, [x, y, z]);
        let duration = self.scaled(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let start = system::now();
        if controls.sleep_unless_shutdown(duration) {
            report(PlayEvent::Progress, total, [0, 0, z]);
            return Ok(());
        }
        let done = if duration.is_zero() { 0.0 } else { (system::now() - start).div_duration_f64(duration).min(1.0) };
        let left = |steps: i64| (steps as f64 * (1.0 - done)) as i64;
        report(PlayEvent::Stopped, (total as f64 * done) as u64, [left(x), left(y), z]);
        Err(StopReason::Shutdown.into())
    }

    fn rest(&mut self, controls: &Controls) -> Result<(), MachineError> {
        let duration = self.scaled(self.cool_down);
        if self.generation == Generation::V1 {
            return Ok(controls.sleep(duration)?);
        }
        if controls.sleep_unless_shutdown(duration) { Ok(()) } else { Err(StopReason::Shutdown.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::File;

    use super::*;
    use crate::puls::{self, Builder};

    #[test]
    fn the_way_home_has_its_own_total_and_ends_at_the_start_of_the_last_job() {
        let folder = tempfile::tempdir().unwrap();
        let mut made = Builder::new();
        made.move_to(30.0, 40.0).unwrap();
        let path = folder.path().join("away.puls");
        fs::write(&path, made.to_bytes()).unwrap();
        let measured = puls::measure(File::open(&path).unwrap(), puls::Limits::default()).unwrap();
        let away = Job::new(1, "print", &path, measured);
        for time_scale in [0.0, 0.001] {
            let mut config = Config::default();
            config.emulator.time_scale = time_scale;
            let mut machine = CannedMachine::new(&config);
            let controls = Controls::default();
            for _ in 0..2 {
                // Each job starts where the head is: the way home does not add up.
                machine.load(&away).unwrap();
                machine.play(&away, &controls, &mut |_| ()).unwrap();
            }
            let mut updates = Vec::new();
            machine.park(&controls, &mut |update| updates.push(update)).unwrap();
            let seen: Vec<_> = updates.iter().map(|u| (u.tick, u.total, u.position)).collect();
            // 50 mm at 200 mm/s and 10 kHz.
            assert_eq!(seen, [(0, Some(2500), [1600, 2133, 0]), (2500, Some(2500), [0, 0, 0])]);
            machine.park(&controls, &mut |_| panic!("it is already there")).unwrap();
            machine.play(&away, &controls, &mut |_| ()).unwrap();
            machine.load(&away).unwrap();
            machine.park(&controls, &mut |_| panic!("the next job starts there")).unwrap();
        }
    }

    #[test]
    fn homing_sends_four_pictures_and_starts_again_after_a_motion() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.emulator.image_dir = folder.path().into();
        let mut machine = CannedMachine::new(&config);
        let mut next = |begins| machine.lid_picture(begins).file_name().unwrap().to_str().unwrap().to_owned();
        let homing = ["HOME_1.jpg", "HOME_2.jpg", "HOME_3.jpg", "HOME_4.jpg"];
        assert_eq!([false, true, true, true].map(&mut next), homing);
        assert_eq!(next(false), "HOME_4.jpg", "fallback for the missing bed picture");
        fs::write(folder.path().join(BED_PICTURE), b"").unwrap();
        assert_eq!(next(false), BED_PICTURE);
        assert_eq!([true, false, true, false].map(&mut next), homing);
        assert_eq!(next(false), BED_PICTURE);
    }
}
