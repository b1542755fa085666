//! Who a call is about, and whether its caller may use tokens of our own audience.

use super::api::{Api, Calling};
use super::field_errors::FieldErrors;
use super::{parse, proto};
use crate::auth::Subject;
use crate::caller::{CallerContext, Permission};
use crate::error::Result;
use crate::id::{SessionId, UserId};

impl Api {
    /// The user that a call is about; `None` if an error was added.
    ///
    /// A caller that names the user by id or session needs the permission `any`. A caller that
    /// presents the user's token must be allowed to use tokens of that audience, and a token with
    /// scopes needs the RPC's permission among them.
    pub(super) fn subject(
        &self,
        subject: Option<proto::Subject>,
        caller: &Calling,
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
                Some(Subject::AccessToken {
                    token,
                    scope: caller.permission.name(),
                })
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

    /// For calls that issue our tokens or accept them as proof.
    pub(super) fn require_own_audience(&self, caller: &CallerContext) -> Result<()> {
        caller.require_audience(self.tokens.audience())
    }
}
