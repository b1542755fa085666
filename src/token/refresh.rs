//! Refresh tokens. They are not stored: each carries a MAC over its session, its generation and the
//! session's salt.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::secret::{self, Keyring, MacKey, Purpose};

const PREFIX: &str = "csr_";
/// Session id, generation, key id, MAC.
const BODY: usize = 16 + 8 + 4 + 32;
/// A CRC-32, so that a damaged token is refused without reading the store.
const CHECKSUM: usize = 4;
/// For this long after a rotation the previous token gets the same successor again, because the
/// answer may have been lost. It is longer than any call takes, so that the retry of a call that
/// the store was slow to answer never counts as reuse.
const GRACE: Duration = Duration::from_secs(20);
/// How much the clocks of replicas may differ.
const SKEW: Duration = Duration::from_secs(5);

/// Issues and recognises refresh tokens.
#[derive(Debug)]
pub(super) struct RefreshTokens {
    writer: MacKey,
    /// The keys derived from all root keys, `writer` included.
    readers: Vec<MacKey>,
}

/// A token as presented; its MAC is not checked yet, because that needs the session's salt.
pub(super) struct Presented {
    pub session: SessionId,
    pub generation: i64,
    key: [u8; 4],
    mac: [u8; 32],
}

/// What a genuine token means for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the current one: the session moves to its next generation.
    Rotate,
    /// The session stays at its generation.
    Stay(Stay),
}

/// Why a session stays at its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// The token is the one before the current one, within the grace time, or its rotation was in
    /// doubt: its holder gets the same successor again.
    Repeat,
    /// The token was used before: somebody holds a copy.
    Reused,
    /// The session has not reached the token's generation: the store was set back.
    Ahead,
}

impl RefreshTokens {
    pub(super) fn new(keyring: &Keyring) -> Self {
        let key = |root| MacKey::derive(root, Purpose::RefreshTokens);
        Self {
            writer: key(keyring.writer()),
            readers: keyring.keys().map(key).collect(),
        }
    }

    /// The token of a session at a generation; always the same one.
    pub(super) fn issue(&self, session: &SessionId, generation: i64, salt: &[u8]) -> String {
        let mut bytes = Vec::with_capacity(BODY + CHECKSUM);
        bytes.extend_from_slice(&session.to_bytes());
        bytes.extend_from_slice(&generation.to_be_bytes());
        bytes.extend_from_slice(&self.writer.id());
        bytes.extend_from_slice(&mac(&self.writer, session, generation, salt));
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether a token was made by one of the keys for a session with this salt.
    pub(super) fn is_genuine(&self, token: &Presented, salt: &[u8]) -> bool {
        let mut keys = self.readers.iter().filter(|key| key.id() == token.key);
        keys.any(|key| {
            secret::equal(
                &mac(key, &token.session, token.generation, salt),
                &token.mac,
            )
        })
    }
}

fn mac(key: &MacKey, session: &SessionId, generation: i64, salt: &[u8]) -> [u8; 32] {
    key.sign(&[&session.to_bytes(), &generation.to_be_bytes(), salt])
}

impl Presented {
    #[cfg(test)]
    pub(super) const fn of(session: SessionId, generation: i64) -> Self {
        Self {
            session,
            generation,
            key: [0; 4],
            mac: [0; 32],
        }
    }

    /// Reads a token's text; `None` if it does not have the format of our tokens.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (body, checksum) = bytes.split_at_checked(BODY)?;
        if checksum != crc32fast::hash(body).to_be_bytes() {
            return None;
        }
        let (session, rest) = body.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (key, mac) = rest.split_first_chunk::<4>()?;
        Some(Self {
            session: SessionId::from_bytes(*session),
            generation: i64::from_be_bytes(*generation),
            key: *key,
            mac: mac.try_into().ok()?,
        })
    }
}

/// What a genuine token of generation `presented` means for a session that has been at generation
/// `current` since `rotated`.
pub(super) fn decide(presented: i64, current: i64, rotated: Timestamp, now: Timestamp) -> Step {
    let in_grace = rotated.minus(SKEW) <= now && now <= rotated.plus(GRACE);
    match current.saturating_sub(presented) {
        0 => Step::Rotate,
        1 if in_grace => Step::Stay(Stay::Repeat),
        behind if behind > 0 => Step::Stay(Stay::Reused),
        _ => Step::Stay(Stay::Ahead),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::RootKey;
    use proptest::prelude::*;

    fn tokens(id: &str, byte: u8) -> RefreshTokens {
        RefreshTokens::new(&Keyring::new(
            RootKey::new(id, [byte; 32]).expect("a good id"),
            Vec::new(),
        ))
    }

    #[test]
    fn a_token_is_the_same_each_time_and_genuine() {
        let tokens = tokens("a", 1);
        let session = SessionId::new();
        let text = tokens.issue(&session, 7, b"salt");
        assert_eq!(text, tokens.issue(&session, 7, b"salt"));
        let presented = Presented::parse(&text).expect("parses");
        assert_eq!((&presented.session, presented.generation), (&session, 7));
        assert!(tokens.is_genuine(&presented, b"salt"));
    }

    #[test]
    fn another_salt_generation_or_key_is_not_genuine() {
        let ours = tokens("a", 1);
        let session = SessionId::new();
        let mut presented = Presented::parse(&ours.issue(&session, 7, b"salt")).expect("parses");
        assert!(!ours.is_genuine(&presented, b"pepper"));
        assert!(!tokens("a", 2).is_genuine(&presented, b"salt"));
        assert!(!tokens("b", 1).is_genuine(&presented, b"salt"));
        presented.generation = 8;
        assert!(!ours.is_genuine(&presented, b"salt"));
    }

    #[test]
    fn a_changed_or_shortened_token_does_not_parse() {
        let text = tokens("a", 1).issue(&SessionId::new(), 1, b"salt");
        for end in 0..text.len() {
            assert!(Presented::parse(&text[..end]).is_none());
        }
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'A' {
                b'B'
            } else {
                b'A'
            };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(Presented::parse(&changed).is_none(), "{position}");
        }
    }

    #[test]
    fn the_predecessor_is_forgiven_for_twenty_seconds_and_clock_skew_only() {
        let rotated = Timestamp::from_secs(1000);
        let at = |millis: i64| decide(4, 5, rotated, Timestamp::from_millis(1_000_000 + millis));
        assert_eq!(
            [at(-5001), at(-5000), at(0), at(20_000), at(20_001)],
            [
                Step::Stay(Stay::Reused),
                Step::Stay(Stay::Repeat),
                Step::Stay(Stay::Repeat),
                Step::Stay(Stay::Repeat),
                Step::Stay(Stay::Reused)
            ]
        );
    }

    #[test]
    fn the_current_one_rotates_an_older_one_is_reuse_and_a_later_one_is_ahead() {
        let now = Timestamp::from_secs(1000);
        assert_eq!(decide(5, 5, now, now), Step::Rotate);
        assert_eq!(decide(3, 5, now, now), Step::Stay(Stay::Reused));
        assert_eq!(decide(6, 5, now, now), Step::Stay(Stay::Ahead));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = Presented::parse(&text);
            let _ = Presented::parse(&format!("csr_{text}"));
        }
    }
}
