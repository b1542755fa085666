//! Sealing with AES-256-GCM.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::random::random;
use super::root_key::{Purpose, RootKey};

/// Each value's key and nonce are derived from its salt, so salts must never repeat: 256 random
/// bits.
const SALT_LEN: usize = 32;
/// The version of the layout of a sealed value, its first byte.
const FORMAT: u8 = 1;

/// The root keys: the first one seals, every one of them opens.
#[derive(Clone, Debug)]
pub struct Keyring {
    writer: RootKey,
    others: Vec<RootKey>,
}

/// Why a sealed value could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("it is not a sealed value")]
    Malformed,
    #[error("it was sealed with the key {0:?}, which is not configured")]
    KeyUnknown(String),
    #[error(
        "it was changed, belongs to another row or column, or was sealed with another key of the same id"
    )]
    Refused,
}

impl Keyring {
    /// A ring of `writer`, which seals and opens, and `others`, which only open.
    #[must_use]
    pub fn new(writer: RootKey, others: Vec<RootKey>) -> Self {
        Self { writer, others }
    }

    /// The key that seals.
    #[must_use]
    pub fn writer(&self) -> &RootKey {
        &self.writer
    }

    /// All keys, beginning with the one that seals.
    pub fn keys(&self) -> impl Iterator<Item = &RootKey> {
        std::iter::once(&self.writer).chain(&self.others)
    }

    /// Seals `plaintext` with AES-256-GCM under a key of its own; only the same purpose and context
    /// open it.
    ///
    /// The context names the row and column that the value belongs to, so a value that is copied to
    /// another row does not open there.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, context: &[&str], plaintext: &[u8]) -> Vec<u8> {
        seal_with(&self.writer, purpose, context, plaintext)
    }

    /// Whether the key that seals today sealed this value.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        Parts::read(sealed).is_some_and(|parts| parts.key_id == self.writer.id())
    }

    /// Seals anew what another key of the ring sealed; `None` if the key that seals today did.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub fn reseal(
        &self,
        purpose: Purpose,
        context: &[&str],
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, OpenError> {
        if self.is_current(sealed) {
            return Ok(None);
        }
        let value = self.open(purpose, context, sealed)?;
        Ok(Some(self.seal(purpose, context, &value)))
    }

    /// Opens a sealed value.
    ///
    /// # Errors
    /// [`OpenError`] if a key of this ring did not seal this value for this purpose and context.
    pub fn open(
        &self,
        purpose: Purpose,
        context: &[&str],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parts = Parts::read(sealed).ok_or(OpenError::Malformed)?;
        let root = self
            .keys()
            .find(|key| key.id() == parts.key_id)
            .ok_or_else(|| OpenError::KeyUnknown(parts.key_id.to_owned()))?;
        let (key, nonce) = cipher(root, purpose, parts.salt);
        let mut buffer = Zeroizing::new(parts.ciphertext.to_vec());
        let length = key
            .open_in_place(
                nonce,
                Aad::from(associated_data(root.id(), context)),
                &mut buffer,
            )
            .map_err(|_| OpenError::Refused)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

fn seal_with(root: &RootKey, purpose: Purpose, context: &[&str], plaintext: &[u8]) -> Vec<u8> {
    let salt = random::<SALT_LEN>();
    let (key, nonce) = cipher(root, purpose, &salt);
    let mut buffer = plaintext.to_vec();
    let sealed = key.seal_in_place_append_tag(
        nonce,
        Aad::from(associated_data(root.id(), context)),
        &mut buffer,
    );
    if sealed.is_err() {
        // Sealing fails only for plaintexts above 64 GiB. What is stored then never opens.
        buffer.zeroize();
    }
    let mut out = vec![FORMAT, u8::try_from(root.id().len()).unwrap_or(u8::MAX)];
    out.extend_from_slice(root.id().as_bytes());
    out.extend_from_slice(&salt);
    out.extend_from_slice(&buffer);
    out
}

/// Key and nonce are derived from a random salt, so no key is used for two values.
#[expect(clippy::expect_used, reason = "the key has the algorithm's length")]
fn cipher(root: &RootKey, purpose: Purpose, salt: &[u8]) -> (LessSafeKey, Nonce) {
    let material = root.derive::<{ 32 + NONCE_LEN }>(purpose, salt);
    let key = UnboundKey::new(&AES_256_GCM, &material[..32]).expect("a key of 32 bytes");
    let nonce = Nonce::try_assume_unique_for_key(&material[32..]).expect("a nonce of 12 bytes");
    (LessSafeKey::new(key), nonce)
}

/// The associated data. Each part has its length before it, so that different lists of parts never
/// have the same bytes.
fn associated_data(key_id: &str, context: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in std::iter::once(&key_id).chain(context) {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

struct Parts<'a> {
    key_id: &'a str,
    salt: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Layout: format, length of the key id, key id, salt, ciphertext with tag.
    fn read(sealed: &'a [u8]) -> Option<Self> {
        let (&[format, id_len], rest) = sealed.split_first_chunk::<2>()?;
        let (key_id, rest) = rest.split_at_checked(id_len.into())?;
        let (salt, ciphertext) = rest.split_at_checked(SALT_LEN)?;
        (format == FORMAT).then_some(Self {
            key_id: std::str::from_utf8(key_id).ok()?,
            salt,
            ciphertext,
        })
    }
}
