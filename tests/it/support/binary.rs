//! The binary itself, run in a directory of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A command that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(10);

/// A working directory for the binary.
pub struct Binary {
    directory: TempDir,
}

/// What a command printed.
pub struct Printed {
    pub succeeded: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub error: String,
}

impl Binary {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.directory().join(name), text).expect("written");
    }

    /// Runs a command to its end, with these variables and no others.
    pub fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Printed {
        let (out, error) = (self.file("out"), self.file("error"));
        let mut child = self
            .command(arguments, variables)
            .stdout(fs::File::create(&out).expect("a file"))
            .stderr(fs::File::create(&error).expect("a file"))
            .spawn()
            .expect("the binary runs");
        let succeeded = ended(&mut child);
        let read = |path| fs::read_to_string(path).expect("text");
        Printed {
            succeeded,
            out: read(out),
            error: read(error),
        }
    }

    /// What `config check` prints of good settings.
    pub fn checked(&self, variables: &[(&str, &str)]) -> String {
        let printed = self.run(&["config", "check"], variables);
        assert!(printed.succeeded, "{}", printed.error);
        printed.out
    }

    /// What `config check` prints of bad settings.
    pub fn refused(&self, variables: &[(&str, &str)]) -> String {
        let printed = self.run(&["config", "check"], variables);
        assert!(!printed.succeeded, "{}", printed.out);
        printed.error
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory().join(format!("printed-{name}"))
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .args(arguments)
            .current_dir(self.directory())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        command
    }
}

/// Waits for the end of a process, and says whether it succeeded.
fn ended(child: &mut Child) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().expect("a process") {
            return status.success();
        }
        std::thread::sleep(PAUSE);
    }
    child.kill().expect("killed");
    panic!("the command did not end");
}
