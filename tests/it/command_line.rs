//! What the binary prints about itself.

use crate::support::binary::Binary;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

#[test]
fn the_help_names_chapters_and_settings_that_exist() {
    let printed = Binary::new().run(&["--help"], &[]);
    assert!(printed.succeeded && printed.error.is_empty());
    let (settings, chapters) = printed
        .out
        .split_once("README.md explains the rest, in these chapters:\n")
        .expect("chapters");
    let entries = |text: &str| -> Vec<String> {
        let entries = text.lines().filter_map(|line| line.strip_prefix("  "));
        entries
            .map(|entry| entry.split("  ").next().unwrap_or_default().to_owned())
            .collect()
    };
    let is_setting = |name: &&String| name.contains('_');
    let settings: Vec<_> = entries(settings);
    let settings: Vec<_> = settings.iter().filter(is_setting).collect();
    assert!(settings.len() > 8, "{settings:?}");
    for name in settings {
        assert!(README.contains(&format!("| `{name}`")), "{name}");
    }
    let chapters = entries(chapters);
    assert!(chapters.len() > 5, "{chapters:?}");
    for name in chapters.iter().flat_map(|names| names.split(", ")) {
        let heading = |line: &str| line.trim_start_matches('#') == format!(" {name}");
        assert!(README.lines().any(heading), "{name}");
    }
}
