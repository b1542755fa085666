//! The queue between whoever logs and the thread that writes, so that no call waits for the log, and a
//! log that cannot be written harms nobody.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// What waits to be written is bounded; lines beyond are lost and counted.
const MAX_LINES: usize = 8192;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long the end of the process waits for what is in the queue.
const END_WITHIN: Duration = Duration::from_secs(1);
/// How often a full queue is tried again at the end, within that time.
const TRIES: u32 = 100;

/// Takes lines without waiting and without failing. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    entries: SyncSender<Entry>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The bytes that wait.
    bytes: AtomicUsize,
    /// Lines that found no room or could not be written, since the start.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Tells when everything before it is written.
    Flush(SyncSender<()>),
}

impl Queue {
    /// A queue, and the thread that writes its lines.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (entries, waiting) = sync_channel(MAX_LINES);
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, &waiting, &shared))?;
        Ok(Self { entries, state })
    }

    /// The number of lost lines, which goes on to grow.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state.lost)
    }

    fn push(&self, line: &[u8]) {
        let waiting = self.state.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = waiting + line.len() <= MAX_BYTES;
        if !fits || self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.state.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was logged so far is written, but not for long; whether it was.
    pub(super) fn flush(&self) -> bool {
        let (written, is_written) = sync_channel(1);
        let mut entry = Entry::Flush(written);
        for _ in 0..TRIES {
            match self.entries.try_send(entry) {
                Ok(()) => return is_written.recv_timeout(END_WITHIN).is_ok(),
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                    entry = back;
                    thread::sleep(END_WITHIN / TRIES);
                }
            }
        }
        false
    }
}

impl Write for Queue {
    /// Takes a whole line, which the formatter gives at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Writes lines until all senders are gone. A line that cannot be written is lost, whatever the
/// cause: the reader is gone, or the device is full.
fn write(mut out: impl Write, waiting: &Receiver<Entry>, state: &State) {
    let (mut told, mut works) = (0, true);
    loop {
        let entry = waiting.try_recv().or_else(|_| {
            let lost = state.lost.load(Ordering::Relaxed);
            // While nothing can be written, this line would be lost too.
            if works && lost > told {
                told = lost;
                tracing::warn!(lost, "lines of the log were lost since the start");
            }
            waiting.recv()
        });
        match entry {
            Ok(Entry::Line(line)) => {
                works = out.write_all(&line).is_ok();
                state.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                state.lost.fetch_add(u64::from(!works), Ordering::Relaxed);
            }
            Ok(Entry::Flush(written)) => drop(written.send(())),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Fails, waits or keeps what is written, as a test wants.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Kept>>);

    #[derive(Default)]
    struct Kept {
        is_broken: bool,
        text: Vec<u8>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.is_broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            kept.text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lost(queue: &Queue) -> u64 {
        queue.lost().load(Ordering::Relaxed)
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_once_others_can() {
        let sink = Sink::default();
        let queue = Queue::start(sink.clone()).expect("a thread");
        let is_broken = |broken| sink.0.lock().expect("no panic").is_broken = broken;
        is_broken(true);
        for _ in 0..3 {
            queue.push(b"lost\n");
        }
        assert!(queue.flush());
        assert_eq!(lost(&queue), 3);
        is_broken(false);
        queue.push(b"kept\n");
        assert!(queue.flush());
        assert_eq!(sink.0.lock().expect("no panic").text, b"kept\n");
        assert_eq!(queue.state.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_sink_that_takes_nothing_holds_nobody_up() {
        let sink = Sink::default();
        let queue = Queue::start(sink.clone()).expect("a thread");
        let stuck = sink.0.lock().expect("no panic");
        let count = MAX_LINES + 100;
        for _ in 0..count {
            queue.push(b"line\n");
        }
        // One line more than fit may be with the thread.
        assert!((99..=100).contains(&lost(&queue)), "{}", lost(&queue));
        assert!(!queue.flush());
        drop(stuck);
        while !queue.flush() {}
        let text = sink.0.lock().expect("no panic").text.clone();
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        assert_eq!(lines.count() as u64, count as u64 - lost(&queue));
    }

    #[test]
    fn large_lines_are_bounded_by_their_bytes() {
        let sink = Sink::default();
        let queue = Queue::start(sink.clone()).expect("a thread");
        let _stuck = sink.0.lock().expect("no panic");
        for _ in 0..100 {
            queue.push(&vec![b'x'; MAX_BYTES / 10]);
        }
        assert_eq!(lost(&queue), 90);
        assert!(queue.state.bytes.load(Ordering::Relaxed) <= MAX_BYTES);
    }
}
