//! Files as Kubernetes mounts them.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

/// The files of a Secret or a ConfigMap: the names are symbolic links into a directory that is itself
/// one, and changes as a whole.
pub struct Mount {
    directory: TempDir,
    version: AtomicUsize,
}

impl Mount {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let mount = Self {
            directory: tempfile::tempdir().expect("a directory"),
            version: AtomicUsize::new(0),
        };
        for (name, _) in files {
            let target = format!("..data/{name}");
            symlink(target, mount.directory.path().join(name)).expect("a link");
        }
        mount.swap(files);
        mount
    }

    /// Replaces all files at once.
    pub fn swap(&self, files: &[(&str, &str)]) {
        let version = self.version.fetch_add(1, Ordering::SeqCst).to_string();
        let root = self.directory.path();
        fs::create_dir(root.join(&version)).expect("made");
        for (name, text) in files {
            fs::write(root.join(&version).join(name), text).expect("written");
        }
        symlink(&version, root.join("..new")).expect("a link");
        fs::rename(root.join("..new"), root.join("..data")).expect("swapped");
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}
