//! Measures a job while it is read. A long gzip-compressed body is measured on a second thread, while the caller's
//! thread decompresses it: each takes about the same time.

use std::io::Read;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use super::{Job, Limits, Measured, Meter, Result};

/// The least length of a body, after decompression, for which a second thread is worth its start.
const LONG_BODY_BYTES: u64 = 512 * 1024;
/// How many chunks may wait to be measured.
const WAITING_CHUNKS: usize = 4;

/// Reads a file to its end and measures it. A job that [`Measured::check`] rejects is measured as well.
///
/// # Errors
/// Those of [`Job::with_limits`] and [`Job::next_chunk`].
pub fn measure<R: Read>(reader: R, limits: Limits) -> Result<Measured> {
    Job::with_limits(reader, limits)?.measure()
}

impl<R: Read> Job<R> {
    /// Measures the ticks that have not been read yet. Ticks and positions start at 0.
    ///
    /// If the file is gzip-compressed, more than 512 KiB long, and there is a second processor, a thread measures the body
    /// while this one decompresses it. The thread has ended when this method returns.
    ///
    /// # Errors
    /// Those of [`Job::next_chunk`].
    pub fn measure(&mut self) -> Result<Measured> {
        let mut meter = Meter::new(self.header());
        let mut may_start = self.is_gzip();
        while let Some(chunk) = self.next_chunk()? {
            meter.add_ticks(chunk);
            if may_start && self.body_bytes_read() >= LONG_BODY_BYTES {
                may_start = false;
                if thread::available_parallelism().is_ok_and(|processors| processors.get() > 1) {
                    self.measure_on_a_thread(&mut meter)?;
                }
            }
        }
        Ok(meter.finish(&mut |_| ()))
    }

    /// Measures the rest on a thread; nothing if none can be started.
    fn measure_on_a_thread(&mut self, meter: &mut Meter) -> Result<()> {
        thread::scope(|scope| {
            let (to_meter, chunks) = sync_channel::<Vec<u8>>(WAITING_CHUNKS);
            let (to_reader, measured_chunks) = channel();
            let started = thread::Builder::new().name("gf-meter".to_owned()).spawn_scoped(scope, move || {
                for chunk in chunks {
                    meter.add_ticks(&chunk);
                    // The reader may have failed.
                    let _ = to_reader.send(chunk);
                }
            });
            if started.is_err() {
                return Ok(());
            }
            while self.next_chunk()?.is_some() {
                let chunk = self.replace_chunk(measured_chunks.try_recv().unwrap_or_default());
                if to_meter.send(chunk).is_err() {
                    // The thread has panicked, and so will the scope.
                    break;
                }
            }
            Ok(())
        })
    }
}
