//! Randomness, secrets that cannot be printed, and sealing.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

pub use secrecy::{ExposeSecret, SecretString};

const SALT_LEN: usize = 32;
const FORMAT: u8 = 1;

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// Where the generator fails: nothing secret can be made then.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "a service without randomness must not go on"
)]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the random generator failed");
    bytes
}

/// 256 random bits as unpadded base64url text.
#[must_use]
pub fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// SHA-256.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, data).as_ref());
    out
}

/// Equality in time that does not depend on where the inputs differ.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

/// What a derived key is for; keys of different purposes have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sealed provider tokens and claims.
    FederatedTokens,
    /// Private halves of signing keys.
    SigningKeys,
    /// MACs of refresh tokens.
    RefreshTokens,
    /// Secrets of a login in progress.
    LoginFlow,
    /// MACs of page tokens.
    PageTokens,
    /// The row that shows whether the root key is the right one.
    Canary,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::FederatedTokens => "countersign federated tokens v1",
            Self::SigningKeys => "countersign signing keys v1",
            Self::RefreshTokens => "countersign refresh tokens v1",
            Self::LoginFlow => "countersign login flow v1",
            Self::PageTokens => "countersign page tokens v1",
            Self::Canary => "countersign canary v1",
        }
    }
}

/// A root key; everything else is derived from it.
#[derive(Clone)]
pub struct RootKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl RootKey {
    /// A key with its id: 1 to 32 of a-z, A-Z, 0-9, `-` and `_`, which stands in each sealed value.
    #[must_use]
    pub fn new(id: &str, bytes: [u8; 32]) -> Option<Self> {
        let shaped = (1..=32).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        shaped.then(|| Self {
            id: id.to_owned(),
            bytes: Zeroizing::new(bytes),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn derive<const N: usize>(&self, purpose: Purpose, salt: &[u8]) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0; N]);
        let info = [purpose.label().as_bytes()];
        let filled = Salt::new(HKDF_SHA256, salt)
            .extract(self.bytes.as_slice())
            .expand(&info, Length(N))
            .and_then(|okm| okm.fill(out.as_mut_slice()));
        debug_assert!(filled.is_ok(), "HKDF gives up to 8,160 bytes");
        out
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

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
            .find(|key| key.id == parts.key_id)
            .ok_or_else(|| OpenError::KeyUnknown(parts.key_id.to_owned()))?;
        let (key, nonce) = cipher(root, purpose, parts.salt);
        let mut buffer = Zeroizing::new(parts.ciphertext.to_vec());
        let length = key
            .open_in_place(nonce, Aad::from(associated(&root.id, context)), &mut buffer)
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
    let sealed =
        key.seal_in_place_append_tag(nonce, Aad::from(associated(&root.id, context)), &mut buffer);
    if sealed.is_err() {
        // Only for plaintexts beyond 64 GiB; an empty value never opens.
        buffer.zeroize();
    }
    let mut out = vec![FORMAT, u8::try_from(root.id.len()).unwrap_or(u8::MAX)];
    out.extend_from_slice(root.id.as_bytes());
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

/// An HMAC-SHA256 key, with a short id that shows which root key it came from.
pub struct MacKey {
    id: [u8; 4],
    key: hmac::Key,
}

impl MacKey {
    /// The key of a root key for a purpose.
    #[must_use]
    pub fn derive(root: &RootKey, purpose: Purpose) -> Self {
        let bytes = root.derive::<32>(purpose, &[]);
        let mut id = [0; 4];
        id.copy_from_slice(&sha256(root.id.as_bytes())[..4]);
        Self {
            id,
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()),
        }
    }

    /// The first four bytes of the SHA-256 of the root key's id.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The MAC over the parts, which have fixed lengths or are last.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(id: &str, byte: u8) -> Keyring {
        Keyring::new(RootKey::new(id, [byte; 32]).expect("a good id"), Vec::new())
    }

    #[test]
    fn a_sealed_value_opens_only_where_it_belongs() {
        let ring = ring("a", 1);
        let sealed = ring.seal(Purpose::FederatedTokens, &["tokens", "s1"], b"secret");
        assert_eq!(
            ring.open(Purpose::FederatedTokens, &["tokens", "s1"], &sealed)
                .expect("opens")
                .as_slice(),
            b"secret"
        );
        for (purpose, context) in [
            (Purpose::FederatedTokens, ["tokens", "s2"]),
            (Purpose::FederatedTokens, ["tokenss", "1"]),
            (Purpose::SigningKeys, ["tokens", "s1"]),
        ] {
            assert!(matches!(
                ring.open(purpose, &context, &sealed),
                Err(OpenError::Refused)
            ));
        }
    }

    #[test]
    fn a_changed_byte_is_refused_at_every_position() {
        let ring = ring("a", 1);
        let sealed = ring.seal(Purpose::Canary, &[], b"secret");
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(
                ring.open(Purpose::Canary, &[], &changed).is_err(),
                "byte {position}"
            );
        }
    }

    #[test]
    fn a_retired_key_reads_and_an_unknown_one_is_named() {
        let old = ring("old", 1);
        let sealed = old.seal(Purpose::Canary, &[], b"x");
        let new = RootKey::new("new", [2; 32]).expect("a good id");
        let both = Keyring::new(new.clone(), vec![old.writer().clone()]);
        assert!(both.open(Purpose::Canary, &[], &sealed).is_ok());
        let error = Keyring::new(new, Vec::new())
            .open(Purpose::Canary, &[], &sealed)
            .expect_err("unknown key");
        assert!(matches!(error, OpenError::KeyUnknown(id) if id == "old"));
    }

    #[test]
    fn nothing_of_a_key_shows_in_debug() {
        assert_eq!(
            format!("{:?}", ring("a", 7)),
            "Keyring { writer: RootKey { id: \"a\", .. }, others: [] }"
        );
    }
}
