//! Page tokens (AIP-158): a position in a list, bound to the list by a MAC, so that it cannot be made up or used elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Result, Violations};
use crate::secret::{self, Keyring, MacKey, Purpose};

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 1000;
const MAX_TOKEN: usize = 512;

/// Makes and reads page tokens.
#[derive(Debug)]
pub struct PageTokens {
    writer: MacKey,
    readers: Vec<MacKey>,
}

/// A page as asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) size: usize,
    /// Where it begins: time and id of the last item of the page before.
    pub(super) after: Option<(i64, String)>,
}

impl PageTokens {
    /// Keys of the ring.
    #[must_use]
    pub fn new(keyring: &Keyring) -> Self {
        let key = |root| MacKey::derive(root, Purpose::PageTokens);
        Self {
            writer: key(keyring.writer()),
            readers: keyring.keys().map(key).collect(),
        }
    }

    /// Reads `page_size` and `page_token` of a list.
    ///
    /// # Errors
    /// [`Error::Invalid`] with both.
    pub(super) fn read(&self, list: &str, size: i32, token: &str) -> Result<Page> {
        let mut violations = Violations::default();
        let size = violations.check("page_size", read_size(size));
        let after = violations.check("page_token", self.position(list, token));
        violations
            .finish_with(size.zip(after))
            .map(|(size, after)| Page { size, after })
    }

    /// The token of the page after an item.
    pub(super) fn write(&self, list: &str, time: i64, id: &str) -> String {
        let position = format!("{time}.{id}");
        let mac = self
            .writer
            .sign(&[list.as_bytes(), b"\0", position.as_bytes()]);
        URL_SAFE_NO_PAD.encode([mac.as_slice(), position.as_bytes()].concat())
    }

    fn position(&self, list: &str, token: &str) -> Result<Option<(i64, String)>, &'static str> {
        if token.is_empty() {
            return Ok(None);
        }
        self.open(list, token)
            .map(Some)
            .ok_or("is not the next_page_token of this list")
    }

    fn open(&self, list: &str, token: &str) -> Option<(i64, String)> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (mac, position) = bytes.split_at_checked(32)?;
        if !self
            .readers
            .iter()
            .any(|key| secret::equal(&key.sign(&[list.as_bytes(), b"\0", position]), mac))
        {
            return None;
        }
        let (time, id) = std::str::from_utf8(position).ok()?.split_once('.')?;
        Some((time.parse().ok()?, id.to_owned()))
    }
}

impl Page {
    /// The position as a cursor of a list that runs upwards.
    pub(super) fn ascending(&self) -> (i64, &str) {
        self.after
            .as_ref()
            .map_or((i64::MIN, ""), |(time, id)| (*time, id))
    }

    /// The position as a cursor of a list that runs downwards.
    pub(super) fn descending(&self) -> (i64, &str) {
        self.after
            .as_ref()
            .map_or((i64::MAX, ""), |(time, id)| (*time, id))
    }
}

/// How many items are asked for.
pub(super) fn read_size(size: i32) -> Result<usize, &'static str> {
    match usize::try_from(size) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size.min(MAX_SIZE)),
        Err(_) => Err("must not be negative"),
    }
}

/// An id in a request.
pub(super) fn parse_id<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, &'static str> {
    parse(text).ok_or("must be an id as this service gives it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::secret::RootKey;
    use proptest::prelude::*;

    fn tokens() -> PageTokens {
        PageTokens::new(&Keyring::new(
            RootKey::new("a", [1; 32]).expect("a good id"),
            Vec::new(),
        ))
    }

    #[test]
    fn a_token_leads_back_to_its_place_in_its_own_list_only() {
        let tokens = tokens();
        let token = tokens.write("users", 17, "abc");
        assert_eq!(
            tokens.read("users", 5, &token).expect("good"),
            Page {
                size: 5,
                after: Some((17, "abc".into()))
            }
        );
        assert!(tokens.read("sessions", 5, &token).is_err());
    }

    #[test]
    fn sizes_are_bounded() {
        let size = |asked| tokens().read("users", asked, "").map(|page| page.size).ok();
        assert_eq!(
            [size(0), size(7), size(5000), size(-1)],
            [Some(50), Some(7), Some(1000), None]
        );
    }

    #[test]
    fn both_mistakes_are_named() {
        let Err(Error::Invalid(violations)) = tokens().read("users", -1, "x") else {
            panic!("must be refused")
        };
        assert_eq!(
            violations
                .iter()
                .map(|v| v.field.as_str())
                .collect::<Vec<_>>(),
            ["page_size", "page_token"]
        );
    }

    proptest! {
        #[test]
        fn no_made_up_token_is_taken(token in "[A-Za-z0-9_-]{1,120}") {
            prop_assert!(tokens().read("users", 0, &token).is_err());
        }
    }
}
