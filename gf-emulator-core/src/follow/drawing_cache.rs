//! Draws each job once, on a thread of its own, so that neither a page nor shutdown waits for a drawing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::record::file_beside;
use crate::report::{DrawResult, JobDrawing, draw};
use crate::sync::lock;

/// The most drawings kept; later jobs are not drawn.
const MAX_DRAWINGS: usize = 500;
/// The most bytes of drawings kept: as much as a page embeds.
const MAX_BYTES: usize = 64 << 20;

/// Drawings by file name, and the queue of jobs to draw.
pub(super) struct DrawingCache {
    folder: PathBuf,
    drawings: Mutex<Drawings>,
    /// File names for the drawing thread; `None` after [`stop`](Self::stop).
    queue: Mutex<Option<Sender<String>>>,
    is_stopped: AtomicBool,
}

#[derive(Default)]
struct Drawings {
    /// `None` for a job that is queued or being drawn.
    by_name: HashMap<String, Option<Arc<DrawResult>>>,
    bytes: usize,
}

impl DrawingCache {
    /// Returns the cache, and the queue for [`run`](Self::run).
    pub(super) fn new(folder: PathBuf) -> (Arc<Self>, Receiver<String>) {
        let (sender, queue) = unbounded();
        let (drawings, sender, is_stopped) = (Mutex::default(), Mutex::new(Some(sender)), AtomicBool::new(false));
        (Arc::new(Self { folder, drawings, queue: sender, is_stopped }), queue)
    }

    /// Returns the drawing of a job. If there is none yet, queues it and returns `None`.
    pub(super) fn get(&self, name: &str) -> Option<Arc<DrawResult>> {
        let mut drawings = lock(&self.drawings);
        if let Some(drawing) = drawings.by_name.get(name) {
            return drawing.clone();
        }
        if drawings.by_name.len() >= MAX_DRAWINGS || drawings.bytes >= MAX_BYTES {
            let why = "not drawn: this session has too many drawings; use \"report\"".to_owned();
            return Some(Arc::new(Err(why)));
        }
        drawings.by_name.insert(name.to_owned(), None);
        drop(drawings);
        if let Some(queue) = &*lock(&self.queue) {
            // Fails only if the drawing thread has panicked.
            let _ = queue.send(name.to_owned());
        }
        None
    }

    /// Draws queued jobs until [`stop`](Self::stop), and calls `on_drawn` after each.
    pub(super) fn run(&self, queue: &Receiver<String>, on_drawn: impl Fn()) {
        for name in queue {
            if self.is_stopped() {
                return;
            }
            let drawing = match file_beside(&self.folder, &name) {
                Some(path) => draw(&path, &name, &mut || !self.is_stopped()),
                None => Err("not a valid file name".to_owned()),
            };
            let mut drawings = lock(&self.drawings);
            drawings.bytes += drawing.as_ref().map_or(0, JobDrawing::bytes);
            drawings.by_name.insert(name, Some(Arc::new(drawing)));
            drop(drawings);
            on_drawn();
        }
    }

    /// Ends [`run`](Self::run), interrupting a drawing in progress.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        *lock(&self.queue) = None;
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}
