//! Full queues, and disks that are slow, blocked or full.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::bounded;
use serde_json::json;

use super::super::disk_calls::{DiskCall, DiskCalls};
use super::super::entry::About;
use super::super::file_writer::{BodyKind, FileJob, FileWriter};
use super::super::line_writer::LineWriter;
use super::super::queue::{Queue, Stamp};
use super::super::redactor::Redactor;
use super::super::unredacted::{Body, Unredacted};
use super::super::{Entry, Event, Recorder, Side};
use super::{SERIAL, exchange};
use crate::Secrets;

/// A disk whose writes block until `unblock` is signalled or disconnected, or for `limit`.
pub(super) struct BlockedDisk {
    unblock: Receiver<()>,
    limit: Duration,
    written: Arc<Mutex<Vec<u8>>>,
    /// The first line is written before the threads start, and does not block.
    has_first_line: bool,
}

impl BlockedDisk {
    /// Returns a disk that never blocks, and what is written to it.
    pub(super) fn unblocked() -> (Self, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let disk =
            Self { unblock: channel().1, limit: Duration::MAX, written: Arc::clone(&written), has_first_line: false };
        (disk, written)
    }
}

impl Write for BlockedDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.has_first_line, true) {
            let _ = self.unblock.recv_timeout(self.limit);
        }
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_recording_that_cannot_begin_is_an_error_and_leaves_nothing() {
    struct FullDisk;
    impl Write for FullDisk {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (about, redactor) = (About::new(Side::Machine), Redactor::default());
    let started = Recorder::write_to(FullDisk, Path::new("rec"), about, redactor, crate::puls::Limits::default());
    assert_eq!(started.unwrap_err().to_string(), "cannot begin a recording in rec: no storage space");
}

fn blocked_recorder(folder: &Path) -> (Recorder, Sender<()>, Arc<Mutex<Vec<u8>>>) {
    recorder_on_disk(folder, Duration::MAX)
}

fn recorder_on_disk(folder: &Path, limit: Duration) -> (Recorder, Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let (unblock_disk, unblock) = channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let disk = BlockedDisk { unblock, limit, written: Arc::clone(&written), has_first_line: false };
    let recorder = Recorder::write_to(
        disk,
        folder,
        About::new(Side::Machine),
        Redactor::default(),
        crate::puls::Limits::default(),
    )
    .unwrap();
    (recorder, unblock_disk, written)
}

#[test]
fn counts_dropped_events_and_bodies_in_place() {
    let queue = Arc::<Queue>::default();
    let stamp = || Stamp { elapsed: Duration::ZERO, at: SystemTime::UNIX_EPOCH, machine: None };
    // Five times the capacity, and nothing is taken.
    for n in 0..5000 {
        let frame = json!({"n": n, "x": "x".repeat(8000)}).to_string();
        queue.push(Unredacted::In(frame), Duration::ZERO, stamp);
    }
    let picture = [b"\xff\xd8\xff".to_vec(), vec![0; 7 << 20]].concat();
    (0..3).for_each(|_| queue.push(exchange("http://h/x", None, ("a", "b"), &picture), Duration::ZERO, stamp));
    queue.close();
    let (disk, written) = BlockedDisk::unblocked();
    let writer = LineWriter::new(Box::new(disk), Redactor::default(), Arc::default(), None);
    writer.run(&queue, Path::new("."), &stamp);
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let entries: Vec<Entry> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.iter().zip(0..).all(|(entry, n)| entry.n == n), "numbered without a gap");
    let (mut seen, mut bodies) = (0, 0);
    for entry in &entries {
        match &entry.event {
            Event::In(message) => {
                assert_eq!(message.json.as_ref().unwrap()["n"], seen, "in order");
                seen += 1;
            }
            Event::State { state, detail: Some(detail), .. } if state == "dropped" => {
                let (count, what) = detail.split_once(' ').unwrap();
                let count: u64 = count.parse().unwrap();
                if what.starts_with("events") {
                    seen += count;
                } else {
                    bodies += count;
                }
            }
            Event::Http(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((seen, bodies), (5000, 2), "each is written or counted as dropped");
    assert!(entries.len() > 900 && text.len() < 9 << 20, "{} entries, {} bytes", entries.len(), text.len());
}

#[test]
fn try_record_never_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, unblock_disk, written) = blocked_recorder(folder.path());
    // Would hang if it waited.
    for _ in 0..5000 {
        recorder.try_record(Unredacted::In("x".repeat(8000)));
    }
    assert_eq!(String::from_utf8_lossy(&written.lock().unwrap()).lines().count(), 1, "nothing but the first line");
    drop(unblock_disk);
    drop(recorder);
}

#[test]
fn drop_gives_up_on_a_blocked_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, unblock_disk, _) = blocked_recorder(folder.path());
    recorder.state("x", None);
    let since = Instant::now();
    drop(recorder);
    // The limit is 1.5 s; the rest allows for a busy computer.
    assert!(since.elapsed().as_secs() < 15, "{:?}", since.elapsed());
    drop(unblock_disk);
}

#[test]
fn a_slow_disk_is_waited_for_as_long_as_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, _unblock_disk, written) = recorder_on_disk(folder.path(), Duration::from_millis(130));
    let lines = || String::from_utf8_lossy(&written.lock().unwrap()).lines().count();
    // Each is written by itself, and all of them take longer than a disk may take that does not respond.
    let record = || (0..14).for_each(|_| recorder.state("x", Some("y".repeat(260 << 10))));
    record();
    recorder.flush();
    assert_eq!(lines(), 15);
    record();
    drop(recorder);
    assert_eq!(lines(), 29);
}

#[test]
fn a_slow_processor_is_not_a_disk_that_does_not_respond() {
    let disk_calls = DiskCalls::default();
    let attempts_until_some = |call: Option<DiskCall<'_>>, ends_in_attempt: u32| {
        let (mut call, mut attempts) = (call, 0);
        let result = disk_calls.wait(|| {
            attempts += 1;
            if attempts == ends_in_attempt {
                call = None;
            }
            (attempts == 5).then_some(())
        });
        (result.is_some(), attempts)
    };
    assert_eq!(attempts_until_some(None, 0), (true, 5), "no call is in progress");
    assert_eq!(attempts_until_some(Some(disk_calls.begin()), 2), (false, 1), "a call takes the whole first attempt");
    assert_eq!(attempts_until_some(Some(disk_calls.begin()), 1), (true, 5), "a call ends in the first attempt");
}

fn picture_job(n: usize) -> FileJob {
    FileJob {
        body: Body::Bytes(b"\xff\xd8\xff".to_vec().into()),
        name: format!("{n}.jpg"),
        kind: BodyKind::Picture,
        secrets: Secrets::default(),
        serials: Arc::default(),
        reservation: None,
    }
}

#[test]
fn a_file_waits_for_a_slow_processor() {
    let (jobs, queue) = bounded(1);
    let mut writer = FileWriter::new(Some(jobs), Arc::default());
    writer.push(picture_job(0));
    let slow = std::thread::spawn(move || {
        // Nothing comes here: it is the time for which a disk would be waited for, and a little more.
        let (_never, nothing) = bounded::<()>(0);
        assert!(nothing.recv_timeout(Duration::from_millis(1300)).is_err());
        queue.iter().count()
    });
    writer.push(picture_job(1));
    assert_eq!(writer.next_failure(), None);
    drop(writer);
    assert_eq!(slow.join().unwrap(), 2);
}

#[test]
fn files_wait_for_a_blocked_disk_only_once() {
    let disk_calls = Arc::<DiskCalls>::default();
    let (jobs, queue) = bounded(1);
    let mut writer = FileWriter::new(Some(jobs), Arc::clone(&disk_calls));
    let blocked = disk_calls.begin();
    let since = Instant::now();
    (0..40).for_each(|n| writer.push(picture_job(n)));
    // One second, where each would wait for one.
    assert!(since.elapsed().as_secs() < 20, "{:?}", since.elapsed());
    assert_eq!(std::iter::from_fn(|| writer.next_failure()).count(), 39);
    drop((blocked, queue.recv()));
    writer.push(picture_job(40));
    drop(queue);
    writer.push(picture_job(41));
    assert_eq!(writer.next_failure().unwrap(), ("41.jpg".into(), "its thread has ended".into()));
    assert_eq!(writer.next_failure(), None);
}

#[test]
fn a_writer_that_panics_is_not_waited_for() {
    struct PanickingDisk(bool);
    impl Write for PanickingDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(!std::mem::replace(&mut self.0, true), "the second write panics, as the test wants it");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (about, limits) = (About::new(Side::Machine), crate::puls::Limits::default());
    let disk = PanickingDisk(false);
    let recorder = Recorder::write_to(disk, folder.path(), about, Redactor::default(), limits).unwrap();
    for _ in 0..3 {
        recorder.state("x", None);
        // Would hang if it waited.
        recorder.flush();
    }
    drop(recorder);
}

#[test]
fn record_waits_for_a_blocked_disk_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, unblock_disk, _) = blocked_recorder(folder.path());
    let since = Instant::now();
    // The queue fills up long before the last event; each would wait for a second.
    for _ in 0..200 {
        recorder.state("x", Some("y".repeat(100 << 10)));
    }
    assert!(since.elapsed().as_secs() < 60, "{:?}", since.elapsed());
    drop((recorder, unblock_disk));
}

#[test]
fn reports_a_locked_job_that_exceeds_the_inflated_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = crate::puls::Builder::new();
    job.set(crate::puls::code::SERIAL_LOCK, SERIAL).unwrap().dwell(1.0).unwrap();
    let limits = crate::puls::Limits { body_bytes: Some(9_999) };
    let mut writer = FileWriter::start(folder.path(), limits, Arc::default()).unwrap();
    for (name, serials) in [("open.puls", Vec::new()), ("locked.puls", vec![SERIAL])] {
        writer.push(FileJob {
            body: Body::Bytes(job.to_gzip().into()),
            name: name.into(),
            kind: BodyKind::Job,
            secrets: Secrets::default(),
            serials: serials.into(),
            reservation: None,
        });
    }
    writer.finish();
    let (name, why) = writer.next_failure().unwrap();
    assert_eq!(name, "locked.puls");
    assert!(why.contains("9999"), "{why}");
    assert_eq!(writer.next_failure(), None);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["open.puls"], "no temp file is left");
}
