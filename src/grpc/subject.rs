//! Whom a call is about, and whether its caller may have to do with our own audience's tokens.

use super::api::Api;
use super::field_errors::FieldErrors;
use super::{parse, proto};
use crate::auth::Subject;
use crate::caller::{CallerContext, Permission};
use crate::error::Result;
use crate::id::{SessionId, UserId};

impl Api {
    /// The user that a call is about; `None` if an error was added. Naming them otherwise than by their own token needs the permission
    /// `any`, and by a token that tokens of its audience are the caller's.
    pub(super) fn subject(
        &self,
        subject: Option<proto::Subject>,
        caller: &CallerContext,
        any: Permission,
        errors: &mut FieldErrors,
    ) -> Result<Option<Subject>> {
        use proto::subject::Subject as Kind;
        Ok(match subject.and_then(|subject| subject.subject) {
            None => {
                errors.add("subject", "is required");
                None
            }
            Some(Kind::AccessToken(token)) => {
                self.require_own_audience(caller)?;
                Some(Subject::AccessToken(token))
            }
            Some(Kind::SessionId(id)) => {
                caller.require(any)?;
                errors
                    .check("subject.session_id", parse::id(&id, SessionId::parse))
                    .map(Subject::Session)
            }
            Some(Kind::UserId(id)) => {
                caller.require(any)?;
                errors
                    .check("subject.user_id", parse::id(&id, UserId::parse))
                    .map(Subject::User)
            }
        })
    }

    /// For calls that hand out tokens of ours or take them as proof.
    pub(super) fn require_own_audience(&self, caller: &CallerContext) -> Result<()> {
        caller.require_audience(self.tokens.audience())
    }
}
