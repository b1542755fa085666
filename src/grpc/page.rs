//! Page tokens (AIP-158): a position in a list, bound to the list by a MAC, so that it cannot be
//! made up or used elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::field_errors::FieldErrors;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::page::{Cursor, PageRequest};
use crate::secret::{self, Keyring, MacKey, Purpose};

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 1000;
const MAX_TOKEN: usize = 512;

/// Makes and reads page tokens.
#[derive(Debug)]
pub(super) struct PageTokens {
    writer: MacKey,
    readers: Vec<MacKey>,
}

impl PageTokens {
    /// Keys of the ring.
    pub(super) fn new(keyring: &Keyring) -> Self {
        let key = |root| MacKey::derive(root, Purpose::PageTokens);
        Self {
            writer: key(keyring.writer()),
            readers: keyring.keys().map(key).collect(),
        }
    }

    /// Reads `page_size` and `page_token` of a list.
    ///
    /// # Errors
    /// [`crate::error::Error::Invalid`] with both.
    pub(super) fn read(&self, list: &str, size: i32, token: &str) -> Result<PageRequest> {
        let mut errors = FieldErrors::default();
        let size = errors.check("page_size", read_size(size));
        let after = errors.check("page_token", self.position(list, token));
        errors.build(|| {
            Some(PageRequest {
                size: size?,
                after: after?,
            })
        })
    }

    /// The token of the page after a position; empty if there is none.
    pub(super) fn write(&self, list: &str, next: Option<Cursor>) -> String {
        let Some(Cursor { time, id }) = next else {
            return String::new();
        };
        let position = format!("{}.{id}", time.millis());
        let mac = self
            .writer
            .sign(&[list.as_bytes(), b"\0", position.as_bytes()]);
        URL_SAFE_NO_PAD.encode([mac.as_slice(), position.as_bytes()].concat())
    }

    fn position(&self, list: &str, token: &str) -> Result<Option<Cursor>, &'static str> {
        if token.is_empty() {
            return Ok(None);
        }
        self.open(list, token)
            .map(Some)
            .ok_or("is not the next_page_token of this list")
    }

    fn open(&self, list: &str, token: &str) -> Option<Cursor> {
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
        Some(Cursor {
            time: Timestamp::from_millis(time.parse().ok()?),
            id: id.to_owned(),
        })
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
        let cursor = Cursor {
            time: Timestamp::from_millis(17),
            id: "abc".into(),
        };
        let token = tokens.write("users", Some(cursor.clone()));
        assert_eq!(
            tokens.read("users", 5, &token).expect("good"),
            PageRequest {
                size: 5,
                after: Some(cursor)
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
