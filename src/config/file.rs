//! Reads the small files that settings name.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const MAX_BYTES: u64 = 1024 * 1024;

/// The text of a small regular file. Anything else is refused, because reading it may never end: a
/// pipe without a writer, for example, keeps its reader waiting.
///
/// # Errors
/// If the file is missing, is not regular, is too large or cannot be read.
pub fn read_text(path: &Path) -> io::Result<String> {
    // Opening a pipe without a writer, which may stand here since a moment ago, would never end.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // With room for all of it no part of a secret is copied, and left behind, as the text grows.
    let room = metadata.len().min(MAX_BYTES) + 1;
    let mut text = String::with_capacity(usize::try_from(room).unwrap_or(0));
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(text)
    } else {
        Err(io::Error::other("it has more than 1 MiB"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_small_regular_file_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let refusal = |path: &Path| read_text(path).expect_err("refused").to_string();

        fs::write(&path, "text").expect("written");
        assert_eq!(read_text(&path).expect("read"), "text");
        fs::write(&path, vec![b'a'; 1024 * 1024 + 1]).expect("written");
        assert_eq!(refusal(&path), "it has more than 1 MiB");
        assert_eq!(refusal(directory.path()), "it is not a regular file");
        let pipe = directory.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        assert_eq!(refusal(&pipe), "it is not a regular file");
    }
}
