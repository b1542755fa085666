//! The scopes of a caller: names of its own for what a token that it exchanges is good for.

use super::super::permission::Permission;
use super::words::shown;

const MAX_SCOPES: usize = 100;
const MAX_LENGTH: usize = 64;

/// The scopes of an entry.
pub(super) fn check(scopes: &[String], faults: &mut Vec<String>) -> Vec<String> {
    if scopes.len() > MAX_SCOPES {
        faults.push(format!("has more than {MAX_SCOPES} scopes"));
    }
    for scope in scopes {
        if !is_scope(scope) {
            faults.push(format!(
                "has a scope that is not 1 to {MAX_LENGTH} visible ASCII characters without \" and \\: {}",
                shown(scope)
            ));
        } else if Permission::named(scope).is_some() {
            faults.push(format!(
                "has the scope {scope}, which is a permission: tokens may have it without"
            ));
        }
    }
    scopes.to_vec()
}

/// RFC 6749 section 3.3.
fn is_scope(text: &str) -> bool {
    (1..=MAX_LENGTH).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
}
