//! A caller's name for its request.

const MAX_LEN: usize = 128;

/// A name that a caller gives its request, so that a repeated one is answered as the first was: 1
/// to 128 visible ASCII characters. (The id that `x-request-id` carries is another thing: it names
/// a call in the log.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Reads a request id; empty text means that there is none.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: String) -> Result<Option<Self>, &'static str> {
        if text.len() > MAX_LEN || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("at most 128 visible ASCII characters are expected");
        }
        Ok((!text.is_empty()).then_some(Self(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}
