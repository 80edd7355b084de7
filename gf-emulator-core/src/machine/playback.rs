//! A job that plays in real time: where the head is, and what the button and a stop do to it.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Controls, Job, MachineError, PlayEvent, PlayUpdate, WakeReason};
use crate::config::Generation;
use crate::system;
use crate::{disk, puls};

/// Interval of progress messages, measured on hardware (firmware 2.6).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// How far a paused head backs up, measured on hardware (firmware 2.6).
const PAUSE_BACKTRACK_TICKS: u64 = 2000;
/// What the machine still has of the ticks that it has played: 32 KiB of its ring, one byte each, measured on hardware.
/// However often it is paused, a head cannot go back further from the last tick that it has reached.
const HISTORY_TICKS: u64 = 32_768;
/// The last ticks of the way back are burned a second time: of 2000, the first 1950 are dark on resuming, measured on
/// hardware (firmware 2.6).
const PAUSE_OVERLAP_TICKS: u64 = 50;

/// A job playing in real time.
pub(super) struct Playback<'a> {
    job: &'a Job,
    ticks_per_s: f64,
    positions: PositionReader<'a>,
    /// The tick and time at which it last started or resumed. No time while it is paused.
    from_tick: u64,
    since: Option<Instant>,
    /// All ticks played until then.
    played: u64,
    /// The last tick that was reached before a pause.
    furthest: u64,
}

impl<'a> Playback<'a> {
    pub(super) fn new(job: &'a Job, time_scale: f64) -> Result<Self, MachineError> {
        let ticks_per_s = f64::from(job.measured.header.step_frequency_hz().unwrap_or(0)) / time_scale;
        if ticks_per_s <= 0.0 {
            return Err(MachineError::Refused("its header has no step frequency (STfr)".into()));
        }
        let positions = PositionReader::open(&job.path)?;
        Ok(Self { job, ticks_per_s, positions, from_tick: 0, since: Some(system::now()), played: 0, furthest: 0 })
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Not negative, and limited to the total.
    fn tick_now(&self) -> u64 {
        let Some(since) = self.since else { return self.from_tick };
        let elapsed = system::now() - since;
        // Compared as times: at the end, the product may be a little less than the last tick.
        if elapsed >= self.time_to_end() {
            return self.job.measured.ticks;
        }
        let ticks = (elapsed.as_secs_f64() * self.ticks_per_s) as u64;
        self.from_tick.saturating_add(ticks).min(self.job.measured.ticks)
    }

    fn time_to_end(&self) -> Duration {
        let left = self.job.measured.ticks.saturating_sub(self.from_tick) as f64 / self.ticks_per_s;
        Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)
    }

    /// Plays the job. As 2.6, it also reports where it was stopped.
    pub(super) fn run(
        &mut self,
        controls: &Controls,
        generation: Generation,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> Result<(), MachineError> {
        let outcome = self.run_to_end(controls, on_update);
        if let Err(MachineError::Stopped(_)) = outcome {
            // Also reads the position at which it stopped: the way home starts there.
            let update = self.update_at(self.tick_now(), PlayEvent::Stopped)?;
            if generation == Generation::V2 {
                on_update(update);
            }
        }
        outcome
    }

    /// Returns where the head stands, in microsteps from the start of the job.
    pub(super) fn position(&self) -> [i64; 3] {
        self.positions.now()
    }

    fn run_to_end(&mut self, controls: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        on_update(self.update()?);
        loop {
            let end = self.since.and_then(|since| since.checked_add(self.time_to_end()));
            let next_update = system::now() + PROGRESS_INTERVAL;
            match controls.wait(Some(end.map_or(next_update, |end| end.min(next_update))))? {
                WakeReason::Timeout => {
                    let update = self.update()?;
                    on_update(update);
                    if update.tick >= self.job.measured.ticks {
                        return Ok(());
                    }
                }
                WakeReason::ButtonPressed => self.pause(controls, on_update)?,
                WakeReason::LidClosed => {}
            }
        }
    }

    fn pause(&mut self, controls: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        let reached = self.tick_now();
        self.furthest = self.furthest.max(reached);
        let oldest = self.furthest.saturating_sub(HISTORY_TICKS);
        let way_back = reached.saturating_sub(oldest).min(PAUSE_BACKTRACK_TICKS);
        self.played += reached - self.from_tick;
        self.from_tick = reached - way_back;
        self.since = None;
        on_update(self.update_at(self.from_tick, PlayEvent::Paused)?);
        while controls.wait(None)? != WakeReason::ButtonPressed {}
        self.since = Some(system::now());
        let update = self.update_at(self.from_tick, PlayEvent::Resumed)?;
        on_update(PlayUpdate { dark_ticks: dark_ticks(way_back), ..update });
        Ok(())
    }

    fn update(&mut self) -> Result<PlayUpdate, MachineError> {
        self.update_at(self.tick_now(), PlayEvent::Progress)
    }

    fn update_at(&mut self, tick: u64, event: PlayEvent) -> Result<PlayUpdate, MachineError> {
        let played = self.played + (tick - self.from_tick);
        Ok(PlayUpdate { played, ..PlayUpdate::new(event, tick, self.positions.at(tick)?) })
    }
}

/// Reads the position of the head at a tick from a job's file.
struct PositionReader<'a> {
    path: &'a Path,
    body: puls::Job<Box<dyn Read + Send>>,
    /// Step bytes read from the file and not counted yet.
    buffer: VecDeque<u8>,
    tick: u64,
    position: puls::Position,
}

impl<'a> PositionReader<'a> {
    fn open(path: &'a Path) -> Result<Self, MachineError> {
        let file = disk::open(path).map_err(|e| read_error(path, &e))?;
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
        Ok(self.now())
    }

    /// Returns the position at the last tick.
    fn now(&self) -> [i64; 3] {
        [self.position.x, self.position.y, self.position.z]
    }
}

fn read_error(path: &Path, e: &dyn std::fmt::Display) -> MachineError {
    MachineError::Failed(format!("cannot read the job {}: {e}", path.display()))
}

/// Returns for how many ticks the laser stays off on resuming, after the head has gone back this far. It shrinks with
/// the way back, but never to 0, as in the open-source clients; that the overlap stays the same is assumed.
fn dark_ticks(way_back: u64) -> u64 {
    way_back.saturating_sub(PAUSE_OVERLAP_TICKS).max(1)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::machine::StopReason;
    use crate::puls::Builder;

    /// Writes a job that moves 60 mm along X and back.
    fn job(folder: &Path) -> Job {
        let mut made = Builder::new();
        made.move_to(60.0, 0.0).and_then(|made| made.move_to(0.0, 0.0)).unwrap();
        written(folder, &made)
    }

    fn written(folder: &Path, made: &Builder) -> Job {
        let path = folder.join("job.puls");
        fs::write(&path, made.to_bytes()).unwrap();
        let measured = puls::measure(File::open(&path).unwrap(), puls::Limits::default()).unwrap();
        Job::new(1, "print", path, measured)
    }

    /// A time scale at which no tick passes during a test.
    const FROZEN: f64 = 1e12;

    #[test]
    fn a_pause_goes_back_what_was_played_at_most_and_resumes_in_the_dark() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        for (reached, expected, dark) in
            [(5000, 3000, 1950), (2000, 0, 1950), (1999, 0, 1949), (51, 0, 1), (50, 0, 1), (0, 0, 1)]
        {
            let mut playback = Playback::new(&job, FROZEN).unwrap();
            playback.from_tick = reached;
            playback.played = reached;
            let before = playback.update().unwrap();
            let controls = Controls::default();
            controls.press_button();
            let mut updates = Vec::new();
            playback.pause(&controls, &mut |update| updates.push(update)).unwrap();
            let events: Vec<_> = updates.iter().map(|u| (u.event, u.tick, u.played, u.dark_ticks)).collect();
            assert_eq!(
                events,
                [(PlayEvent::Paused, expected, reached, 0), (PlayEvent::Resumed, expected, reached, dark)]
            );
            assert_eq!(updates[0].position, updates[1].position);
            assert!(updates[0].position[0] <= before.position[0]);
        }
    }

    #[test]
    fn repeated_pauses_go_back_no_further_than_the_history() {
        let folder = tempfile::tempdir().unwrap();
        // 50,000 ticks.
        let job = written(folder.path(), Builder::new().dwell(5.0).unwrap());
        let mut playback = Playback::new(&job, FROZEN).unwrap();
        let reached = HISTORY_TICKS + 7000;
        playback.from_tick = reached;
        playback.played = reached;
        let controls = Controls::default();
        let mut dark = Vec::new();
        for _ in 0..18 {
            controls.press_button();
            playback.pause(&controls, &mut |update| dark.push(update.dark_ticks)).unwrap();
        }
        assert_eq!(playback.from_tick, 7000);
        // 16 times 2000 ticks, then the other 768, then none. The first of the two updates of a pause has none.
        dark.retain(|&ticks| ticks != 0);
        assert_eq!(dark, [[1950; 16].as_slice(), &[718, 1]].concat());
    }

    #[test]
    fn repeated_ticks_count_as_played_again() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        let mut playback = Playback::new(&job, FROZEN).unwrap();
        playback.from_tick = 5000;
        playback.played = 5000;
        let controls = Controls::default();
        controls.press_button();
        playback.pause(&controls, &mut |_| ()).unwrap();
        let end = playback.update_at(job.measured.ticks, PlayEvent::Progress).unwrap();
        assert_eq!(end.played, job.measured.ticks + PAUSE_BACKTRACK_TICKS);
    }

    #[test]
    fn a_stop_while_paused_reports_where_the_head_stands() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        for (generation, last) in [(Generation::V1, PlayEvent::Paused), (Generation::V2, PlayEvent::Stopped)] {
            let mut playback = Playback::new(&job, FROZEN).unwrap();
            playback.from_tick = 5000;
            let controls = Controls::default();
            controls.press_button();
            let mut updates = Vec::new();
            let outcome = playback.run(&controls, generation, &mut |update| {
                if update.event == PlayEvent::Paused {
                    controls.cancel();
                }
                updates.push(update);
            });
            assert_eq!(outcome, Err(MachineError::Stopped(StopReason::Cancelled)));
            let stopped = updates.last().unwrap();
            assert_eq!((stopped.event, stopped.tick), (last, 3000), "{generation}");
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
}
