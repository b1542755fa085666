//! Child processes, and the memory and CPU time that they use.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use crate::Result;

/// A running child process; dropping it ends it.
pub struct Process(Child);

impl Process {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn()?))
    }

    /// Starts this program in another role.
    pub fn role(name: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(name);
        Ok(command)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Memory in use (VmRSS), in MiB.
    pub fn memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: f64 = line.trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time of a process's threads that still run, from the first field of their `schedstat`.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += schedstat
            .split(' ')
            .next()
            .unwrap_or_default()
            .parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
