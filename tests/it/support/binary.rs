//! The binary itself, run in a directory of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A command that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(10);

/// The user and group `nobody`.
const NOBODY: u32 = 65534;
/// Many services run at once.
const NO_OPS: (&str, &str) = ("COUNTERSIGN_OPS_LISTEN", "off");
const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");

/// A working directory for the binary.
pub struct Binary {
    directory: TempDir,
    /// Where its output and copies of it go.
    aside: TempDir,
    program: PathBuf,
    user: Option<u32>,
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
        let directory = || tempfile::tempdir().expect("a directory");
        Self {
            directory: directory(),
            aside: directory(),
            program: PathBuf::from(PROGRAM),
            user: None,
        }
    }

    /// The binary as a user who is not root: root may read and write files of any mode.
    pub fn for_nobody() -> Self {
        let mut binary = Self::new();
        let metadata = binary.directory().metadata().expect("metadata");
        if metadata.uid() == 0 {
            for directory in [binary.directory(), binary.aside.path()] {
                fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("set");
            }
            let program = binary.aside.path().join("countersign");
            fs::copy(PROGRAM, &program).expect("copied");
            binary.program = program;
            binary.user = Some(NOBODY);
        }
        binary
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

    /// Starts a command whose standard output the test reads, and which it may kill.
    pub fn begin(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        self.command(arguments, variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs")
    }

    /// What `config check` prints of good settings.
    pub fn checked(&self, variables: &[(&str, &str)]) -> String {
        let printed = self.run(&["config", "check"], variables);
        assert!(printed.succeeded, "{}", printed.error);
        printed.out
    }

    /// What `config check` says is wrong with bad settings. It warns of some others after that.
    pub fn refused(&self, variables: &[(&str, &str)]) -> String {
        let printed = self.run(&["config", "check"], variables);
        assert!(!printed.succeeded, "{}", printed.out);
        without_warnings(&printed.error)
    }

    /// What `serve` logs until it serves; then it is killed.
    pub fn served(&self, variables: &[(&str, &str)]) -> String {
        let log = self.file("log");
        let mut child = self
            .command(&["serve"], variables)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("the binary runs");
        let begin = Instant::now();
        let logged = loop {
            let logged = fs::read_to_string(&log).expect("text");
            if logged.contains("serving") || begin.elapsed() > DEADLINE {
                break logged;
            }
            std::thread::sleep(PAUSE);
        };
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(logged.contains("serving"), "{logged}");
        logged
    }

    fn file(&self, name: &str) -> PathBuf {
        self.aside.path().join(name)
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
            .args(arguments)
            .current_dir(self.directory())
            .env_clear()
            .envs(arguments.contains(&"serve").then_some(NO_OPS))
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

/// The lines before the first warning.
pub fn without_warnings(error: &str) -> String {
    let lines = error.split_inclusive('\n');
    lines
        .take_while(|line| !line.starts_with("warning: "))
        .collect()
}
