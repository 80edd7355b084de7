//! Jobs, drawn once each by a thread of their own: neither a page nor a stop waits for a drawing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::record::file_beside;
use crate::report::{Drawing, Drawn, draw};

/// Drawings that are kept; further jobs are not drawn.
const MOST: usize = 500;
/// The same in bytes: as much as a page embeds.
const MOST_BYTES: usize = 64 << 20;

/// What is drawn, and what is to be.
pub(super) struct Drawings {
    folder: PathBuf,
    known: Mutex<Known>,
    /// Names of files, for the thread that draws. None once it is to end.
    wanted: Mutex<Option<Sender<String>>>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Known {
    /// By the file's name; nothing for one that is waiting or being drawn.
    drawings: HashMap<String, Option<Arc<Drawing>>>,
    bytes: usize,
}

impl Drawings {
    /// Also what [`draw`](Self::draw) reads.
    pub(super) fn new(folder: PathBuf) -> (Arc<Self>, Receiver<String>) {
        let (wanted, names) = unbounded();
        let drawings =
            Self { folder, known: Mutex::default(), wanted: Mutex::new(Some(wanted)), stopped: AtomicBool::new(false) };
        (Arc::new(drawings), names)
    }

    /// The drawing of a job; nothing while there is none yet. Asking has it drawn.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Drawing>> {
        let mut known = self.known();
        if let Some(drawing) = known.drawings.get(name) {
            return drawing.clone();
        }
        if known.drawings.len() >= MOST || known.bytes >= MOST_BYTES {
            let why = "not drawn: there are very many drawings already; \"report\" draws it".to_owned();
            return Some(Arc::new(Err(why)));
        }
        known.drawings.insert(name.to_owned(), None);
        drop(known);
        if let Some(wanted) = &*self.wanted.lock().unwrap_or_else(PoisonError::into_inner) {
            // Its receiver is there for as long as the thread is.
            let _ = wanted.send(name.to_owned());
        }
        None
    }

    /// Draws what is asked for, and calls `drawn` after each. Runs on a thread of its own until [`stop`](Self::stop).
    pub(super) fn draw(&self, names: &Receiver<String>, drawn: impl Fn()) {
        for name in names {
            if self.stopped() {
                return;
            }
            let drawing = match file_beside(&self.folder, &name) {
                Some(path) => draw(&path, &name, &mut || !self.stopped()),
                None => Err("no file of a recording is called that".to_owned()),
            };
            let mut known = self.known();
            known.bytes += drawing.as_ref().map_or(0, Drawn::bytes);
            known.drawings.insert(name, Some(Arc::new(drawing)));
            drop(known);
            drawn();
        }
    }

    /// Ends the thread that draws, and what it is drawing.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
