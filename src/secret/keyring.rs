//! Sealing with AES-256-GCM.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::random::random;
use super::root_key::{Purpose, RootKey};

const SALT_LEN: usize = 32;
const FORMAT: u8 = 1;

/// The root keys: the first one writes, all of them read.
#[derive(Clone, Debug)]
pub struct Keyring {
    writer: RootKey,
    others: Vec<RootKey>,
}

/// A sealed value could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("it is not a sealed value")]
    Malformed,
    #[error("it was sealed with the key {0:?}, which is not in the ring")]
    KeyUnknown(String),
    #[error("it was changed, moved, or sealed with another key of the same id")]
    Refused,
}

impl Keyring {
    /// A ring of `writer` and keys that only read.
    #[must_use]
    pub fn new(writer: RootKey, others: Vec<RootKey>) -> Self {
        Self { writer, others }
    }

    /// The key that writes.
    #[must_use]
    pub fn writer(&self) -> &RootKey {
        &self.writer
    }

    /// All keys, the writer first.
    pub fn keys(&self) -> impl Iterator<Item = &RootKey> {
        std::iter::once(&self.writer).chain(&self.others)
    }

    /// Seals `plaintext` with AES-256-GCM under a key of its own; it opens only with the same purpose and context.
    ///
    /// The context says which row and column the value belongs to, so that rows cannot be exchanged.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, context: &[&str], plaintext: &[u8]) -> Vec<u8> {
        seal_with(&self.writer, purpose, context, plaintext)
    }

    /// Opens a sealed value.
    ///
    /// # Errors
    /// [`OpenError`] where it is not the value that was sealed for this purpose and context by a key of this ring.
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
                Aad::from(associated(root.id(), context)),
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
        Aad::from(associated(root.id(), context)),
        &mut buffer,
    );
    if sealed.is_err() {
        // Only for plaintexts beyond 64 GiB; an empty value never opens.
        buffer.zeroize();
    }
    let mut out = vec![FORMAT, u8::try_from(root.id().len()).unwrap_or(u8::MAX)];
    out.extend_from_slice(root.id().as_bytes());
    out.extend_from_slice(&salt);
    out.extend_from_slice(&buffer);
    out
}

/// Key and nonce come from the random salt, so no key is ever used twice.
#[expect(clippy::expect_used, reason = "the key has the algorithm's length")]
fn cipher(root: &RootKey, purpose: Purpose, salt: &[u8]) -> (LessSafeKey, Nonce) {
    let material = root.derive::<{ 32 + NONCE_LEN }>(purpose, salt);
    let key = UnboundKey::new(&AES_256_GCM, &material[..32]).expect("a key of 32 bytes");
    let nonce = Nonce::try_assume_unique_for_key(&material[32..]).expect("a nonce of 12 bytes");
    (LessSafeKey::new(key), nonce)
}

fn associated(key_id: &str, context: &[&str]) -> Vec<u8> {
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
