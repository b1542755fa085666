//! Whom a call is about, and whether its caller may have to do with our own audience's tokens.

use super::api::Api;
use super::caller::CallerContext;
use super::page::parse_id;
use super::proto;
use crate::auth::Subject;
use crate::config::callers::Permission;
use crate::error::{Result, Violations};
use crate::id::{SessionId, UserId};

impl Api {
    /// The user that a call is about; absent where a violation was added. Naming them otherwise than by their own token needs the permission
    /// `any`, and by a token that tokens of its audience are the caller's.
    pub(super) fn subject(
        &self,
        subject: Option<proto::Subject>,
        caller: &CallerContext,
        any: Permission,
        violations: &mut Violations,
    ) -> Result<Option<Subject>> {
        use proto::subject::Subject as Kind;
        Ok(match subject.and_then(|subject| subject.subject) {
            None => {
                violations.add("subject", "is required");
                None
            }
            Some(Kind::AccessToken(token)) => {
                self.require_own_audience(caller)?;
                Some(Subject::AccessToken(token))
            }
            Some(Kind::SessionId(id)) => {
                caller.require(any)?;
                violations
                    .check("subject.session_id", parse_id(&id, SessionId::parse))
                    .map(Subject::Session)
            }
            Some(Kind::UserId(id)) => {
                caller.require(any)?;
                violations
                    .check("subject.user_id", parse_id(&id, UserId::parse))
                    .map(Subject::User)
            }
        })
    }

    /// For calls that hand out tokens of ours or take them as proof.
    pub(super) fn require_own_audience(&self, caller: &CallerContext) -> Result<()> {
        caller.require_audience(self.tokens.audience())
    }
}
