//! How much memory the process may use.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The memory that the process may use, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub bytes: u64,
    pub source: Source,
}

/// Who bounds the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The limit of a control group that the process is in.
    ControlGroup,
    /// There is no limit but what the machine has.
    Machine,
}

/// The directory of a kind of control groups below the root, and the file that holds the limit.
struct Hierarchy {
    mount: &'static str,
    limit: &'static str,
}

const VERSION_2: Hierarchy = Hierarchy {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
};
const VERSION_1: Hierarchy = Hierarchy {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
};

impl Memory {
    /// Reads the smallest limit of the control groups that the process is in; without one, the
    /// memory of the machine. `root` is `/` but in tests. `None` if neither can be read.
    #[must_use]
    pub fn read(root: &Path) -> Option<Self> {
        let machine = machine(root).map(|bytes| Self {
            bytes,
            source: Source::Machine,
        });
        let limit = limit(root).map(|bytes| Self {
            bytes,
            source: Source::ControlGroup,
        });
        // Version 1 says that there is no limit by a number that no machine has.
        limit
            .into_iter()
            .chain(machine)
            .min_by_key(|memory| memory.bytes)
    }
}

impl Source {
    /// As the log names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlGroup => "control group",
            Self::Machine => "machine",
        }
    }
}

fn machine(root: &Path) -> Option<u64> {
    let text = read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn limit(root: &Path) -> Option<u64> {
    let text = read_to_string(root.join("proc/self/cgroup")).ok()?;
    text.lines().filter_map(|line| group(root, line)).min()
}

/// The smallest limit of the group that a line of `/proc/self/cgroup` names (`id:controllers:path`)
/// and of those above it.
///
/// In a container the path may be one of the host, which is not seen there. The mount itself then is
/// the container's group, so it is looked at in any case.
fn group(root: &Path, line: &str) -> Option<u64> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let hierarchy = match controllers {
        "" => VERSION_2,
        _ if controllers.split(',').any(|name| name == "memory") => VERSION_1,
        _ => return None,
    };
    let own = Path::new(path.trim_start_matches('/'));
    let groups = own.ancestors().map(|group| {
        let mount: PathBuf = root.join(hierarchy.mount);
        mount.join(group).join(hierarchy.limit)
    });
    groups
        .filter_map(|file| u64::from_str(read_to_string(file).ok()?.trim()).ok())
        .min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    /// What version 1 says if there is no limit.
    const NONE: &str = "9223372036854771712\n";

    /// What is read from these files.
    fn read(files: &[(&str, &str)]) -> Option<Memory> {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs::write(file, text).expect("a file");
        }
        Memory::read(root.path())
    }

    fn memory(mib: u64, source: Source) -> Memory {
        let bytes = mib * MIB;
        Memory { bytes, source }
    }

    const MACHINE: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:        1048576 kB\nMemFree:            1000 kB\n",
    );

    #[test]
    fn the_smallest_limit_of_the_groups_above_counts() {
        let found = read(&[
            MACHINE,
            ("proc/self/cgroup", "0::/pods/one/service\n"),
            ("sys/fs/cgroup/pods/memory.max", "536870912\n"),
            ("sys/fs/cgroup/pods/one/memory.max", "268435456\n"),
            ("sys/fs/cgroup/pods/one/service/memory.max", "max\n"),
        ]);
        assert_eq!(found, Some(memory(256, Source::ControlGroup)));
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_mount() {
        let version_2 = read(&[
            MACHINE,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "536870912\n"),
        ]);
        assert_eq!(version_2, Some(memory(512, Source::ControlGroup)));
        let version_1 = read(&[
            MACHINE,
            (
                "proc/self/cgroup",
                "5:cpu:/pod\n4:memory:/pod/of/the/host\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
        ]);
        assert_eq!(version_1, Some(memory(128, Source::ControlGroup)));
    }

    #[test]
    fn without_a_limit_it_is_the_memory_of_the_machine() {
        let machine = Some(memory(1024, Source::Machine));
        assert_eq!(read(&[MACHINE]), machine);
        let version_2 = [
            MACHINE,
            ("proc/self/cgroup", "0::/own\n"),
            ("sys/fs/cgroup/own/memory.max", "max\n"),
        ];
        assert_eq!(read(&version_2), machine);
        let version_1 = [
            MACHINE,
            ("proc/self/cgroup", "4:memory:/own\n"),
            ("sys/fs/cgroup/memory/own/memory.limit_in_bytes", NONE),
        ];
        assert_eq!(read(&version_1), machine);
    }

    #[test]
    fn nothing_is_known_if_nothing_can_be_read() {
        assert_eq!(read(&[]), None);
    }
}
