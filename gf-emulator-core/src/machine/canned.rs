//! The emulator's own machine: sends canned pictures, and plays jobs in scaled time.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Camera, Capture, Controls, Job, Machine, MachineError, PlayEvent, PlayUpdate, StopReason, WakeReason};
use crate::Config;
use crate::config::{Button, Generation};
use crate::{files, puls};

/// A picture of 8 megapixels has about 4 MiB.
const MAX_PICTURE_BYTES: u64 = 32 << 20;
const HOMING_PICTURES: u8 = 4;
const BED_PICTURE: &str = "LID_IMAGE.jpg";
/// Interval of progress messages, measured on hardware (firmware 2.6).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// How far a paused head backs up, measured on hardware (firmware 2.6).
const PAUSE_BACKTRACK_TICKS: u64 = 2000;
/// Speed of the move back to the start. Travel peaks at 202 mm/s, measured on hardware.
const PARK_SPEED_MM_S: f64 = 200.0;

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
/// ```
/// use gf_emulator_core::Config;
/// use gf_emulator_core::machine::CannedMachine;
///
/// let machine = CannedMachine::new(&Config::default());
/// assert_eq!(machine.pictures().len(), 7);
/// ```
#[derive(Debug)]
pub struct CannedMachine {
    image_dir: PathBuf,
    thickness: String,
    time_scale: f64,
    button: Button,
    warm_up: Duration,
    cool_down: Duration,
    /// The homing picture to send next, 1 to 4; 0 if homed.
    homing: u8,
    /// X and Y of the head relative to where it parks.
    offset_mm: [f64; 2],
}

impl CannedMachine {
    /// Creates a machine from the `[EMULATOR]` settings.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let emulator = &config.emulator;
        let bypass = config.generation() == Generation::V2 && emulator.bypass_homing;
        Self {
            image_dir: emulator.image_dir.clone(),
            thickness: emulator.material_thickness.clone(),
            time_scale: emulator.time_scale,
            button: emulator.button,
            warm_up: emulator.warm_up,
            cool_down: emulator.cool_down,
            homing: u8::from(!bypass),
            offset_mm: [0.0; 2],
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
        let path = match request.camera {
            Camera::Lid => self.lid_picture(request.begins_homing),
            Camera::Head => self.image_dir.join(self.head_picture(request.laser)),
        };
        log::info!("picture {}", path.display());
        files::read(&path, MAX_PICTURE_BYTES).map_err(|e| MachineError::Failed(e.to_string()))
    }

    fn wait_for_button(&mut self, _: &Job, controls: &Controls) -> Result<(), MachineError> {
        let mut pressed = self.button == Button::Auto;
        if !pressed {
            log::info!("waiting for the button");
        }
        // No print starts while the lid is open.
        while !pressed || controls.lid_is_open() {
            match controls.wait(None)? {
                WakeReason::ButtonPressed if controls.lid_is_open() => {
                    log::info!("button press ignored: the lid is open");
                }
                WakeReason::ButtonPressed => pressed = true,
                WakeReason::LidClosed | WakeReason::Timeout => {}
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
            let outcome = playback.run(controls, on_update);
            let [x_mm, y_mm] = playback.moved_mm();
            self.offset_mm = [self.offset_mm[0] + x_mm, self.offset_mm[1] + y_mm];
            outcome
        } else {
            Ok(())
        }
    }

    fn park(&mut self, controls: &Controls) -> Result<(), MachineError> {
        let [x_mm, y_mm] = std::mem::take(&mut self.offset_mm);
        let travel = Duration::try_from_secs_f64(x_mm.hypot(y_mm) / PARK_SPEED_MM_S);
        if controls.sleep_unless_shutdown(self.scaled(travel.unwrap_or_default())) {
            Ok(())
        } else {
            Err(StopReason::Shutdown.into())
        }
    }

    fn rest(&mut self, controls: &Controls) -> Result<(), MachineError> {
        Ok(controls.sleep(self.scaled(self.cool_down))?)
    }
}

/// A job playing in real time.
struct Playback<'a> {
    job: &'a Job,
    ticks_per_s: f64,
    positions: PositionReader<'a>,
    /// The tick and time at which it last started or resumed.
    from_tick: u64,
    since: Instant,
}

impl<'a> Playback<'a> {
    fn new(job: &'a Job, time_scale: f64) -> Result<Self, MachineError> {
        let ticks_per_s = f64::from(job.measured.header.step_frequency_hz().unwrap_or(0)) / time_scale;
        if ticks_per_s <= 0.0 {
            return Err(MachineError::Refused("its header has no step frequency (STfr)".into()));
        }
        Ok(Self { job, ticks_per_s, positions: PositionReader::open(&job.path)?, from_tick: 0, since: Instant::now() })
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Not negative, and limited to the total.
    fn tick_now(&self) -> u64 {
        let elapsed = (self.since.elapsed().as_secs_f64() * self.ticks_per_s) as u64;
        self.from_tick.saturating_add(elapsed).min(self.job.measured.ticks)
    }

    fn time_to_end(&self) -> Duration {
        let left = self.job.measured.ticks.saturating_sub(self.from_tick) as f64 / self.ticks_per_s;
        Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)
    }

    fn run(&mut self, controls: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        on_update(self.update()?);
        loop {
            let end = self.since.checked_add(self.time_to_end());
            let next_update = Instant::now() + PROGRESS_INTERVAL;
            match controls.wait(Some(end.map_or(next_update, |end| end.min(next_update)))) {
                Ok(WakeReason::Timeout) => {
                    let update = self.update()?;
                    on_update(update);
                    if update.tick >= self.job.measured.ticks {
                        return Ok(());
                    }
                }
                Ok(WakeReason::ButtonPressed) => self.pause(controls, on_update)?,
                Ok(WakeReason::LidClosed) => {}
                Err(reason) => {
                    // Reads the position at which it stopped: parking starts there.
                    self.update()?;
                    return Err(reason.into());
                }
            }
        }
    }

    fn pause(&mut self, controls: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        self.from_tick = self.tick_now().saturating_sub(PAUSE_BACKTRACK_TICKS);
        self.since = Instant::now();
        on_update(self.update_at(self.from_tick, PlayEvent::Paused)?);
        while controls.wait(None)? != WakeReason::ButtonPressed {}
        self.since = Instant::now();
        on_update(self.update_at(self.from_tick, PlayEvent::Resumed)?);
        Ok(())
    }

    fn update(&mut self) -> Result<PlayUpdate, MachineError> {
        self.update_at(self.tick_now(), PlayEvent::Progress)
    }

    fn update_at(&mut self, tick: u64, event: PlayEvent) -> Result<PlayUpdate, MachineError> {
        Ok(PlayUpdate { event, tick, position: self.positions.at(tick)? })
    }

    fn moved_mm(&self) -> [f64; 2] {
        let header = &self.job.measured.header;
        let puls::Position { x, y, .. } = self.positions.position;
        [header.x_mm(x), header.y_mm(y)]
    }
}

/// Reads the position of the head at a tick from a job's file.
struct PositionReader<'a> {
    path: &'a Path,
    body: puls::Job<File>,
    /// Step bytes read from the file and not counted yet.
    buffer: VecDeque<u8>,
    tick: u64,
    position: puls::Position,
}

impl<'a> PositionReader<'a> {
    fn open(path: &'a Path) -> Result<Self, MachineError> {
        let file = File::open(path).map_err(|e| read_error(path, &e))?;
        // The limit was checked after the download.
        let body = puls::Job::with_limits(file, puls::Limits { body_bytes: None }).map_err(|e| read_error(path, &e))?;
        Ok(Self { path, body, buffer: VecDeque::new(), tick: 0, position: puls::Position::default() })
    }

    /// Returns the position at `tick`, or at the end of the job if that comes first. Reads on from the last tick, or
    /// from the start if `tick` is before it.
    fn at(&mut self, tick: u64) -> Result<[i64; 3], MachineError> {
        if tick < self.tick {
            *self = Self::open(self.path)?;
        }
        while self.tick < tick {
            if let Some(byte) = self.buffer.pop_front() {
                self.position.advance(byte);
                self.tick += 1;
                continue;
            }
            match self.body.next_chunk().map_err(|e| read_error(self.path, &e))? {
                Some(chunk) => self.buffer.extend(chunk),
                None => break,
            }
        }
        Ok([self.position.x, self.position.y, self.position.z])
    }
}

fn read_error(path: &Path, e: &dyn std::fmt::Display) -> MachineError {
    MachineError::Failed(format!("cannot read the job {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::puls::Builder;

    /// Writes a job that moves 60 mm along X and back.
    fn job(folder: &Path) -> Job {
        let mut made = Builder::new();
        made.move_to(60.0, 0.0).and_then(|made| made.move_to(0.0, 0.0)).unwrap();
        let path = folder.join("job.puls");
        fs::write(&path, made.to_bytes()).unwrap();
        let measured = puls::measure(File::open(&path).unwrap(), puls::Limits::default()).unwrap();
        Job::new(1, "print", path, measured)
    }

    /// A time scale at which no tick passes during a test.
    const FROZEN: f64 = 1e12;

    #[test]
    fn pause_backs_up_2000_ticks_and_resumes_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        for (reached, expected) in [(5000, 3000), (2000, 0), (1999, 0), (0, 0)] {
            let mut playback = Playback::new(&job, FROZEN).unwrap();
            playback.from_tick = reached;
            let before = playback.update().unwrap();
            let controls = Controls::default();
            controls.press_button();
            let mut updates = Vec::new();
            playback.pause(&controls, &mut |update| updates.push(update)).unwrap();
            let events: Vec<_> = updates.iter().map(|update| (update.event, update.tick)).collect();
            assert_eq!(events, [(PlayEvent::Paused, expected), (PlayEvent::Resumed, expected)], "from {reached}");
            assert_eq!(updates[0].position, updates[1].position);
            assert!(updates[0].position[0] <= before.position[0]);
        }
    }

    #[test]
    fn position_reader_reads_forwards_and_backwards() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        let mut positions = PositionReader::open(&job.path).unwrap();
        let half = job.measured.ticks / 2;
        assert_eq!(positions.at(half).unwrap(), [3200, 0, 0], "60 mm of 53.333 microsteps");
        assert_eq!(positions.at(u64::MAX).unwrap(), [0, 0, 0], "back at the start");
        assert_eq!(positions.at(half).unwrap(), [3200, 0, 0], "earlier in the file");
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
