//! Identifiers: opaque text, with a type for each kind.

use std::fmt;

use crate::clock::Timestamp;
use crate::secret;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text form, lower-case hexadecimal.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// For ids that are read from requests or from the store.
macro_rules! parse {
    ($($name:ident of $bytes:literal bytes,)*) => {$(
        impl $name {
            /// From text; `None` if it does not have the length or the characters of such an id.
            pub fn parse(text: &str) -> Option<Self> {
                let well_formed = text.len() == 2 * $bytes
                    && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                well_formed.then(|| Self(text.to_owned()))
            }
        }
    )*};
}

id!(
    /// A user: 24 hexadecimal digits in the layout of a MongoDB ObjectId, so that LibreChat can
    /// look them up.
    UserId
);
id!(
    /// A session (`sid`): 128 random bits.
    SessionId
);
id!(
    /// A link between a user and an account at a provider.
    IdentityId
);
id!(
    /// A ban. Ids sort by creation.
    BanId
);
id!(
    /// A recorded violation. Ids sort by creation.
    ViolationId
);

parse! {
    UserId of 12 bytes,
    SessionId of 16 bytes,
    IdentityId of 16 bytes,
    BanId of 16 bytes,
}

impl UserId {
    /// A new id: seconds since the epoch, then 64 random bits.
    pub fn new(now: Timestamp) -> Self {
        let seconds = u32::try_from(now.secs()).unwrap_or(u32::MAX);
        Self(hex::encode(seconds.to_be_bytes()) + &hex::encode(secret::random::<8>()))
    }
}

impl SessionId {
    /// A new random id.
    pub fn new() -> Self {
        Self(hex::encode(secret::random::<16>()))
    }

    /// From its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(hex::encode(bytes))
    }

    /// Its 16 bytes.
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // This cannot fail: every constructor ensures 32 hexadecimal digits.
        hex::decode_to_slice(&self.0, &mut bytes).unwrap_or_default();
        bytes
    }
}

impl Default for SessionId {
    fn default() -> Self {
        Self::new()
    }
}

impl IdentityId {
    /// A new random id.
    pub fn new() -> Self {
        Self(hex::encode(secret::random::<16>()))
    }
}

impl Default for IdentityId {
    fn default() -> Self {
        Self::new()
    }
}

impl BanId {
    /// A new id: milliseconds since the epoch, then 64 random bits.
    pub fn new(now: Timestamp) -> Self {
        Self(sortable(now))
    }
}

impl ViolationId {
    /// A new id: milliseconds since the epoch, then 64 random bits.
    pub fn new(now: Timestamp) -> Self {
        Self(sortable(now))
    }
}

fn sortable(now: Timestamp) -> String {
    hex::encode(now.millis().to_be_bytes()) + &hex::encode(secret::random::<8>())
}
