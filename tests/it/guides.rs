//! What the guides for developers say about the sources.

use std::path::Path;
use std::{fs, iter};

/// The paths of source files in a text: what ends with `.rs` and has a slash.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"_./-".contains(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| {
            let is_rust = Path::new(word).extension().is_some_and(|ext| ext == "rs");
            is_rust && word.contains('/')
        })
}

#[test]
fn every_source_file_that_the_guides_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for guide in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root.join(guide)).expect("a guide");
        assert!(paths(&text).count() > 20, "{guide} names its files");
        let lost: Vec<_> = paths(&text)
            .filter(|path| {
                let below = ["src", "tests/it"].map(|part| root.join(part).join(path));
                let mut places = below.into_iter().chain(iter::once(root.join(path)));
                !places.any(|place| place.is_file())
            })
            .collect();
        assert!(
            lost.is_empty(),
            "{guide} names files that do not exist: {lost:?}"
        );
    }
}
