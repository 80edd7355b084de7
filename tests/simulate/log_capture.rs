//! The log of the simulated machine, through the binary's filter.

use std::cell::RefCell;

use gf_emulator_core::{SafeLogger, Secrets};
use gf_simulated_system::outside;
use log::{Log, Metadata, Record};

use crate::session;

thread_local! {
    static LOGGER: RefCell<Option<std::rc::Rc<SafeLogger>>> = const { RefCell::new(None) };
}

/// Logs through the filter of a machine's secrets from now on, in this thread.
pub(crate) fn set_secrets(secrets: Option<Secrets>) {
    LOGGER.set(
        secrets
            .map(|secrets| std::rc::Rc::new(SafeLogger::new(vec![Box::new(ToModel)], &["gf_emulator_core"], secrets))),
    );
}

/// The process's logger: passes lines on to the logger of the thread.
pub(crate) struct ThreadLogger;

impl Log for ThreadLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = LOGGER.with_borrow(Clone::clone) {
            logger.log(record);
        }
    }

    fn flush(&self) {}
}

struct ToModel;

impl Log for ToModel {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(world) = session::current() {
            let _outside = outside();
            let line = record.args().to_string();
            world.note(format_args!("log: {} {line}", record.level()));
            world.model.borrow_mut().on_log(&line);
        }
    }

    fn flush(&self) {}
}
