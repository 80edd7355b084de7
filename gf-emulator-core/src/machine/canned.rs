//! The emulator's own machine: canned pictures, and jobs that take their time or none.
//!
//! | picture | sent for |
//! |---|---|
//! | `HOME_1.jpg` .. `HOME_4.jpg` | the lid camera while the service homes the head |
//! | `LID_IMAGE.jpg` | the lid camera otherwise; where absent, `HOME_4.jpg` |
//! | `HEAD_LASER_<thickness>.jpg`, `HEAD_NO_LASER_<thickness>.jpg` | the head camera, measure laser lit or not |
//!
//! `<thickness>` is the text of the configuration, such as `.230`. A picture is a regular file of 32 MiB at most.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Camera, Capture, Controls, End, Event, Halt, Job, Machine, Moment, Signal};
use crate::Config;
use crate::config::{Button, Generation};
use crate::{files, puls};

/// A picture of 8 megapixels has some 4 MiB.
const LARGEST_PICTURE_BYTES: u64 = 32 << 20;
const HOMING_PICTURES: u8 = 4;
const BED_PICTURE: &str = "LID_IMAGE.jpg";
/// How often a run says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// A paused head backs up this far, and plays it again when it goes on.
const BACK_UP_TICKS: u64 = 2000;
/// Travel back to the corner, at the machine's peak speed: 200 mm/s.
const PARK_SPEED_MM_S: f64 = 200.0;

/// A machine without hardware.
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
    /// 1 to 4: the homing picture to send next. 0: homed.
    homing: u8,
    /// Where the head is, from where it parks: X and Y.
    away_mm: [f64; 2],
}

impl CannedMachine {
    /// A machine that behaves as `[EMULATOR]` says.
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
            away_mm: [0.0; 2],
        }
    }

    /// The pictures that it will want, whether they are there or not.
    #[must_use]
    pub fn pictures(&self) -> Vec<PathBuf> {
        let names = (1..=HOMING_PICTURES).map(homing_picture).chain([
            BED_PICTURE.to_owned(),
            self.head_picture(true),
            self.head_picture(false),
        ]);
        names.map(|name| self.image_dir.join(name)).collect()
    }

    /// Those of its pictures without which an action fails, be it that they are not there or that they cannot be used. A
    /// bed picture has a stand-in.
    #[must_use]
    pub fn missing_pictures(&self) -> Vec<PathBuf> {
        let stand_in = is_picture(&self.image_dir.join(homing_picture(HOMING_PICTURES)));
        self.pictures()
            .into_iter()
            .filter(|path| !(is_picture(path) || (stand_in && path.ends_with(BED_PICTURE) && !path.exists())))
            .collect()
    }

    fn head_picture(&self, laser: bool) -> String {
        format!("HEAD_{}_{}.jpg", if laser { "LASER" } else { "NO_LASER" }, self.thickness)
    }

    /// The lid's picture, and the homing that it moves on.
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
    path.metadata().is_ok_and(|found| found.is_file() && found.len() <= LARGEST_PICTURE_BYTES)
}

impl Machine for CannedMachine {
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, Halt> {
        let path = match request.camera {
            Camera::Lid => self.lid_picture(request.begins_homing),
            Camera::Head => self.image_dir.join(self.head_picture(request.laser)),
        };
        log::info!("picture {}", path.display());
        files::read(&path, LARGEST_PICTURE_BYTES).map_err(|e| Halt::Failed(e.to_string()))
    }

    fn wait_for_button(&mut self, _: &Job, controls: &Controls) -> Result<(), Halt> {
        let mut pressed = self.button == Button::Auto;
        if !pressed {
            log::info!("waiting for the button");
        }
        // The interlock: no print starts under an open lid.
        while !pressed || controls.lid_is_open() {
            match controls.wait(None)? {
                Signal::Button if controls.lid_is_open() => log::info!("the lid is open: the button does nothing"),
                Signal::Button => pressed = true,
                Signal::LidClosed | Signal::Time => {}
            }
        }
        // One press begins it; what comes from here on is for the run.
        controls.forget_presses();
        Ok(())
    }

    fn warm_up(&mut self, _: &Job, controls: &Controls) -> Result<(), Halt> {
        Ok(controls.pause(self.scaled(self.warm_up))?)
    }

    fn play(&mut self, job: &Job, controls: &Controls, watch: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
        if let Some(end) = controls.end() {
            return Err(end.into());
        }
        if self.time_scale > 0.0 {
            let mut playing = Playing::new(job, self.time_scale)?;
            let outcome = playing.run(controls, watch);
            let moved = playing.moved_mm();
            self.away_mm = [self.away_mm[0] + moved[0], self.away_mm[1] + moved[1]];
            outcome
        } else {
            Ok(())
        }
    }

    fn park(&mut self, controls: &Controls) -> Result<(), Halt> {
        let [x_mm, y_mm] = std::mem::take(&mut self.away_mm);
        let travel = Duration::try_from_secs_f64(x_mm.hypot(y_mm) / PARK_SPEED_MM_S);
        if controls.pause_unless_stopped(self.scaled(travel.unwrap_or_default())) {
            Ok(())
        } else {
            Err(Halt::Ended(End::Stopped))
        }
    }

    fn rest(&mut self, controls: &Controls) -> Result<(), Halt> {
        Ok(controls.pause(self.scaled(self.cool_down))?)
    }
}

/// A job under way, against the clock.
struct Playing<'a> {
    job: &'a Job,
    ticks_per_s: f64,
    tape: Tape,
    /// The tick from which, and the time since which it has run without a pause.
    from_tick: u64,
    since: Instant,
}

impl<'a> Playing<'a> {
    fn new(job: &'a Job, time_scale: f64) -> Result<Self, Halt> {
        let ticks_per_s = f64::from(job.measured.header.step_frequency_hz().unwrap_or(0)) / time_scale;
        if ticks_per_s <= 0.0 {
            return Err(Halt::Refused("its header has no step frequency (STfr)".into()));
        }
        Ok(Self { job, ticks_per_s, tape: Tape::open(&job.path)?, from_tick: 0, since: Instant::now() })
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Both are positive, and bounded by the total.
    fn tick_now(&self) -> u64 {
        let passed = (self.since.elapsed().as_secs_f64() * self.ticks_per_s) as u64;
        self.from_tick.saturating_add(passed).min(self.job.measured.ticks)
    }

    fn time_to_end(&self) -> Duration {
        let left = self.job.measured.ticks.saturating_sub(self.from_tick) as f64 / self.ticks_per_s;
        Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)
    }

    fn run(&mut self, controls: &Controls, watch: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
        watch(self.moment(Event::Progress)?);
        loop {
            let end = self.since.checked_add(self.time_to_end());
            let next_report = Instant::now() + PROGRESS_EVERY;
            let until = end.map_or(next_report, |end| end.min(next_report));
            match controls.wait(Some(until)) {
                Ok(Signal::Time) => {
                    let moment = self.moment(Event::Progress)?;
                    watch(moment);
                    if moment.tick >= self.job.measured.ticks {
                        return Ok(());
                    }
                }
                Ok(Signal::Button) => self.pause(controls, watch)?,
                Ok(Signal::LidClosed) => {}
                Err(end) => {
                    // Where it came to a stand is where the way home begins.
                    self.moment(Event::Progress)?;
                    return Err(end.into());
                }
            }
        }
    }

    fn pause(&mut self, controls: &Controls, watch: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
        let reached = self.tick_now();
        self.from_tick = reached.saturating_sub(BACK_UP_TICKS);
        self.since = Instant::now();
        watch(self.moment_at(self.from_tick, Event::Paused)?);
        while controls.wait(None)? != Signal::Button {}
        self.since = Instant::now();
        watch(self.moment_at(self.from_tick, Event::Resumed)?);
        Ok(())
    }

    fn moment(&mut self, event: Event) -> Result<Moment, Halt> {
        self.moment_at(self.tick_now(), event)
    }

    fn moment_at(&mut self, tick: u64, event: Event) -> Result<Moment, Halt> {
        Ok(Moment { event, tick, position: self.tape.position_at(tick, &self.job.path)? })
    }

    fn moved_mm(&self) -> [f64; 2] {
        let header = &self.job.measured.header;
        let [x, y, _] = self.tape.position();
        [header.x_mm(x), header.y_mm(y)]
    }
}

/// The job's file, read as far as it has been played: where the head is at a tick.
struct Tape {
    body: puls::Job<File>,
    /// Read from the file and not played yet.
    ahead: VecDeque<u8>,
    tick: u64,
    position: puls::Position,
}

impl Tape {
    fn open(path: &Path) -> Result<Self, Halt> {
        let failed = |e: &dyn std::fmt::Display| Halt::Failed(format!("cannot read the job {}: {e}", path.display()));
        let file = File::open(path).map_err(|e| failed(&e))?;
        // Within the limit, as it was measured when it came, and read only as far as it is played.
        let body = puls::Job::with_limits(file, puls::Limits { body_bytes: None }).map_err(|e| failed(&e))?;
        Ok(Self { body, ahead: VecDeque::new(), tick: 0, position: puls::Position::default() })
    }

    fn position(&self) -> [i64; 3] {
        [self.position.x, self.position.y, self.position.z]
    }

    /// Walks on to `tick`; from the start, where that lies behind.
    fn position_at(&mut self, tick: u64, path: &Path) -> Result<[i64; 3], Halt> {
        if tick < self.tick {
            *self = Self::open(path)?;
        }
        while self.tick < tick {
            let Some(byte) = self.ahead.pop_front() else {
                let chunk = self.body.next_chunk().map_err(|e| Halt::Failed(format!("cannot read the job: {e}")))?;
                match chunk {
                    Some(chunk) => self.ahead.extend(chunk),
                    None => break,
                }
                continue;
            };
            self.position.advance(byte);
            self.tick += 1;
        }
        Ok(self.position())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::puls::Builder;

    /// A job of 60 mm there and back, on the disk for as long as the folder lives.
    fn job(folder: &Path) -> Job {
        let mut made = Builder::new();
        made.move_to(60.0, 0.0).and_then(|made| made.move_to(0.0, 0.0)).unwrap();
        let path = folder.join("job.puls");
        fs::write(&path, made.to_bytes()).unwrap();
        let measured = puls::measure(File::open(&path).unwrap(), puls::Limits::default()).unwrap();
        Job { action_id: 1, action: "print".into(), path, measured }
    }

    /// Ticks last so long here that none passes while a test runs.
    const STANDSTILL: f64 = 1e12;

    #[test]
    fn a_pause_backs_up_and_resumes_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        for (reached, back) in [(5000, 3000), (2000, 0), (1999, 0), (0, 0)] {
            let mut playing = Playing::new(&job, STANDSTILL).unwrap();
            playing.from_tick = reached;
            let there = playing.moment(Event::Progress).unwrap();
            let controls = Controls::default();
            controls.press_button();
            let mut told = Vec::new();
            playing.pause(&controls, &mut |moment| told.push(moment)).unwrap();
            let events: Vec<_> = told.iter().map(|moment| (moment.event, moment.tick)).collect();
            assert_eq!(events, [(Event::Paused, back), (Event::Resumed, back)], "from {reached}");
            assert_eq!(told[0].position, told[1].position);
            assert!(told[0].position[0] <= there.position[0]);
        }
    }

    #[test]
    fn the_head_is_where_the_steps_have_taken_it() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        let mut tape = Tape::open(&job.path).unwrap();
        let half = job.measured.ticks / 2;
        assert_eq!(tape.position_at(half, &job.path).unwrap(), [3200, 0, 0], "60 mm of 53.333 microsteps");
        assert_eq!(tape.position_at(u64::MAX, &job.path).unwrap(), [0, 0, 0], "and home again");
        assert_eq!(tape.position_at(half, &job.path).unwrap(), [3200, 0, 0], "and back on the tape");
    }

    #[test]
    fn homes_through_four_pictures_and_again_after_a_motion() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.emulator.image_dir = folder.path().into();
        let mut machine = CannedMachine::new(&config);
        let mut next = |begins| machine.lid_picture(begins).file_name().unwrap().to_str().unwrap().to_owned();
        let homing = ["HOME_1.jpg", "HOME_2.jpg", "HOME_3.jpg", "HOME_4.jpg"];
        assert_eq!([false, true, true, true].map(&mut next), homing);
        assert_eq!(next(false), "HOME_4.jpg", "in place of a bed picture that is not there");
        fs::write(folder.path().join(BED_PICTURE), b"").unwrap();
        assert_eq!(next(false), BED_PICTURE);
        assert_eq!([true, false, true, false].map(&mut next), homing);
        assert_eq!(next(false), BED_PICTURE);
    }
}
