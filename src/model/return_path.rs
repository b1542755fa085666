//! The path of the application that a login at a provider comes back to.

const MAX_LEN: usize = 2048;

/// A path of the application, or empty; never anything that a browser would read as another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnPath(String);

impl ReturnPath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(path: String) -> Result<Self, &'static str> {
        let plain =
            path.len() <= MAX_LEN && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        let lower = path.to_ascii_lowercase();
        let local = path.starts_with('/')
            && !path.starts_with("//")
            && !lower.starts_with("/%2f")
            && !lower.starts_with("/%5c");
        if path.is_empty() || (plain && local) {
            Ok(Self(path))
        } else {
            Err("must be a path such as /c/new, not a URL")
        }
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_the_application_is_returned_to() {
        for good in [
            "",
            "/",
            "/c/new",
            "/c/new?x=1#y",
            "/a//b",
            "/login?next=https://example.com",
        ] {
            assert!(ReturnPath::parse(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "//evil.com",
            "/\\evil.com",
            "\\evil",
            "https:evil",
            "https://evil.com",
            "javascript:alert(1)",
            "%2f%2fevil",
            "/%2fevil.com",
            "/%5Cevil",
            "/a\r\nb",
            "/a b",
            "c/new",
            "/é",
            "\t//evil",
        ] {
            assert!(ReturnPath::parse(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
