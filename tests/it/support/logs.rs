//! Keeps everything that the tests' services log, down to debug, to look for secrets in it.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static INSTALL: Once = Once::new();

struct Keep;

impl io::Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the log from now on.
pub fn keep() {
    INSTALL.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            // A test's thread has its name, and its service runs there too.
            .with_thread_names(true)
            .with_writer(|| Keep)
            .init();
    });
}

/// What was logged so far, by all tests.
pub fn kept() -> Vec<u8> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// How many lines were logged that hold all of these texts.
pub fn count(texts: &[&str]) -> usize {
    let log = kept();
    String::from_utf8_lossy(&log)
        .lines()
        .filter(|line| texts.iter().all(|text| line.contains(text)))
        .count()
}
