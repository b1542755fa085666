//! A batch: the templates of one call, the placeholders they may contain, and the values they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::declared::DeclaredNames;
use super::header::{check_name as check_header_name, is_credential, repeated};
use super::parser::Template;
use super::sink::check_env_name;
use super::vocabulary::{OpenIdField, Placeholder, Sink, Status, UserField};

/// The most entries in one call. This and the next three limits bound the work that a call can
/// cause.
pub const MAX_ENTRIES: usize = 1_000;
/// The most bytes of names and templates together in one call.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// The most placeholders in one call, repeats included.
pub const MAX_PLACEHOLDERS: usize = 10_000;
/// The longest name of an entry, in bytes.
pub const MAX_ENTRY_NAME_BYTES: usize = 1_024;

/// Which placeholders an entry may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Full,
    /// All but the user's tokens (`args`, and a URL unless its target allows them).
    NoTokens,
    /// Only `${NAME}` (`baseURL`, `apiKey`, `proxy`).
    EnvOnly,
}

/// What an entry's value is used for, if that decides more than its sink does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing special.
    Ordinary,
    /// A credential: no `{{NAME}}` stays in it as text.
    Credential,
    /// The URL that the tokens in the other entries are sent to.
    Destination,
}

/// A template, with its name, sink, scope and place.
#[derive(Debug)]
pub struct Entry {
    name: String,
    template: Template,
    sink: Sink,
    scope: Scope,
    place: Place,
}

impl Entry {
    /// Makes an entry named by its path in the request (`headers.Authorization`); the name is not
    /// checked. A header is in the place of a credential if its name says so.
    pub fn new(name: String, template: &str, sink: Sink, scope: Scope) -> Self {
        let place = if sink == Sink::Header && is_credential(last_part(&name)) {
            Place::Credential
        } else {
            Place::Ordinary
        };
        Self {
            name,
            template: Template::parse(template),
            sink,
            scope,
            place,
        }
    }

    /// The entry in another place.
    #[must_use]
    pub fn with_place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Makes an entry of `ResolvePlaceholders`: its name is that of the header or variable, and a
    /// URL may not contain a token. The error says what is wrong with the name without repeating
    /// it.
    pub fn inline(name: String, template: &str, sink: Sink) -> Result<Self, &'static str> {
        check_entry_name(sink, &name)?;
        let scope = if sink == Sink::Url {
            Scope::NoTokens
        } else {
            Scope::Full
        };
        Ok(Self::new(name, template, sink, scope))
    }

    /// The entry's path in the request, or the name of its header or variable.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the header, of the variable or of the member that the value is for.
    pub(super) fn own_name(&self) -> &str {
        last_part(&self.name)
    }

    pub(super) const fn template(&self) -> &Template {
        &self.template
    }

    pub(super) const fn sink(&self) -> Sink {
        self.sink
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// Makes the custom variables of these names declared ones.
    pub(super) fn declare(&mut self, names: &DeclaredNames) {
        names.apply(&mut self.template);
    }

    pub(super) fn permit(&self, placeholder: &Placeholder, user_authored: bool) -> Permit {
        match placeholder {
            Placeholder::Reserved(_) => Permit::Refuse(Status::UnknownName),
            Placeholder::Custom(_) if self.scope == Scope::EnvOnly => {
                Permit::Literal(Status::UnknownName)
            }
            Placeholder::Declared(_) if self.scope == Scope::EnvOnly => {
                Permit::Refuse(Status::NotAllowed)
            }
            Placeholder::Custom(_) | Placeholder::Declared(_) => Permit::Resolve,
            _ if user_authored && placeholder.is_token() => Permit::Refuse(Status::NotAllowed),
            _ if user_authored => Permit::Literal(Status::NotAllowed),
            Placeholder::Env(_) => Permit::Resolve,
            _ if self.scope == Scope::EnvOnly => Permit::Refuse(Status::NotAllowed),
            _ if self.scope == Scope::NoTokens && placeholder.is_token() => {
                Permit::Refuse(Status::NotAllowed)
            }
            _ => Permit::Resolve,
        }
    }
}

/// The last part of an entry's name: `Authorization` of `headers.Authorization`.
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// How a placeholder is treated in its entry.
pub(super) enum Permit {
    /// It is replaced by its value.
    Resolve,
    /// It is text and stays as it was written.
    Literal(Status),
    /// It counts as unresolved, whatever its value is.
    Refuse(Status),
}

/// The entries whose names cannot stand beside an earlier one, because headers that differ only by
/// case are the same header.
pub fn repeated_names<'a>(sink: Sink, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    match sink {
        Sink::Header => repeated(names),
        Sink::Url | Sink::Env | Sink::Text | Sink::Argument => Vec::new(),
    }
}

/// Checks that the name fits the sink. The error says what is wrong with the name without repeating
/// it.
pub fn check_entry_name(sink: Sink, name: &str) -> Result<(), &'static str> {
    match sink {
        Sink::Header => check_header_name(name),
        Sink::Env => check_env_name(name),
        Sink::Url | Sink::Text | Sink::Argument => Ok(()),
    }
}

/// Which limit the templates of a call exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitError {
    /// More than 1,000 entries.
    Entries,
    /// More than 1 MiB of names and templates.
    TemplateBytes,
    /// More than 10,000 placeholders.
    Placeholders,
    /// A name of more than 1,024 bytes.
    EntryName,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entries => "at most 1,000 entries in one call",
            Self::TemplateBytes => "at most 1 MiB of names and templates in one call",
            Self::Placeholders => "at most 10,000 placeholders in one call",
            Self::EntryName => "at most 1,024 bytes in the name of an entry",
        })
    }
}

impl std::error::Error for LimitError {}

/// The entries of one call, within the limits.
#[derive(Debug)]
pub struct Batch {
    pub(super) entries: Vec<Entry>,
}

impl Batch {
    /// Makes a batch of the entries of one call, or returns a limit that they exceed.
    pub fn new(entries: Vec<Entry>) -> Result<Self, LimitError> {
        let bytes: usize = entries
            .iter()
            .map(|e| e.name.len() + e.template.source_bytes())
            .sum();
        let placeholders: usize = entries
            .iter()
            .map(|e| e.template.placeholders().count())
            .sum();
        if entries.len() > MAX_ENTRIES {
            Err(LimitError::Entries)
        } else if bytes > MAX_TEMPLATE_BYTES {
            Err(LimitError::TemplateBytes)
        } else if placeholders > MAX_PLACEHOLDERS {
            Err(LimitError::Placeholders)
        } else if entries.iter().any(|e| e.name.len() > MAX_ENTRY_NAME_BYTES) {
            Err(LimitError::EntryName)
        } else {
            Ok(Self { entries })
        }
    }

    /// The destinations of the call's tokens among its values, which are in the order of the
    /// entries: the entries' names and the URLs, empty if there is none.
    pub fn destinations<'a>(
        &'a self,
        values: &'a [Option<String>],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.entries
            .iter()
            .zip(values)
            .filter(|(entry, _)| entry.place == Place::Destination)
            .map(|(entry, value)| (entry.name(), value.as_deref().unwrap_or_default()))
    }

    /// What must be fetched before rendering. Placeholders that are refused or stay text need
    /// nothing.
    pub fn needs(&self, user_authored: bool) -> Needs {
        let mut needs = Needs::default();
        self.to_resolve(user_authored)
            .for_each(|placeholder| needs.add(placeholder));
        needs
    }

    /// Whether a value for a `${NAME}` is needed.
    pub fn needs_env(&self, user_authored: bool) -> bool {
        self.to_resolve(user_authored)
            .any(|placeholder| matches!(placeholder, Placeholder::Env(_)))
    }

    fn to_resolve(&self, user_authored: bool) -> impl Iterator<Item = &Placeholder> {
        let of_entry = move |entry: &Entry, placeholder: &Placeholder| {
            matches!(entry.permit(placeholder, user_authored), Permit::Resolve)
        };
        self.entries.iter().flat_map(move |entry| {
            entry
                .template
                .placeholders()
                .filter(move |placeholder| of_entry(entry, placeholder))
        })
    }
}

/// The values that the templates of a call need and that must be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Whether the user's id at their provider is needed.
    pub subject: bool,
    /// The fields needed of each provider; `None` is the provider that the request or the session
    /// names.
    pub openid: BTreeMap<Option<String>, BTreeSet<OpenIdField>>,
}

impl Needs {
    fn add(&mut self, placeholder: &Placeholder) {
        match placeholder {
            Placeholder::User(UserField::OpenIdId) => self.subject = true,
            Placeholder::OpenId { field, provider } => {
                self.openid
                    .entry(provider.clone())
                    .or_default()
                    .insert(field.clone());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(template: &str, scope: Scope) -> Entry {
        Entry::new("e".to_owned(), template, Sink::Text, scope)
    }

    fn limit(entries: Vec<Entry>) -> Option<LimitError> {
        Batch::new(entries).err()
    }

    fn needs(template: &str, scope: Scope, user_authored: bool) -> Needs {
        let request = Batch::new(vec![entry(template, scope)]).ok();
        request
            .map(|request| request.needs(user_authored))
            .unwrap_or_default()
    }

    const ALL: &str = "{{LIBRECHAT_USER_ID}}{{LIBRECHAT_BODY_MESSAGEID}}{{LIBRECHAT_OPENID_TOKEN}}{{X}}${E}\
        {{LIBRECHAT_OPENID_ID_TOKEN@b}}{{LIBRECHAT_OPENID_USER_NAME}}{{LIBRECHAT_OPENID_CLAIM_c}}\
        {{LIBRECHAT_OPENID_EXPIRES_AT@b}}{{LIBRECHAT_GRAPH_ACCESS_TOKEN}}{{LIBRECHAT_OOPS}}";

    #[test]
    fn needs_are_listed_per_provider() {
        let needs = needs(ALL, Scope::Full, false);
        let claim = OpenIdField::Claim("c".to_owned());
        let own = BTreeSet::from([OpenIdField::AccessToken, OpenIdField::UserName, claim]);
        let other = BTreeSet::from([OpenIdField::IdToken, OpenIdField::ExpiresAt]);
        let openid = BTreeMap::from([(None, own), (Some("b".to_owned()), other)]);
        assert_eq!(needs.openid, openid);
        assert!(!needs.subject);
    }

    #[test]
    fn an_account_s_fields_need_no_tokens_but_its_id_at_the_provider_does() {
        assert_eq!(
            needs(
                "{{LIBRECHAT_USER_EMAIL}}{{LIBRECHAT_GRAPH_ACCESS_TOKEN}}",
                Scope::Full,
                false
            ),
            Needs::default()
        );
        assert!(needs("{{LIBRECHAT_USER_OPENIDID}}", Scope::Full, false).subject);
    }

    #[test]
    fn what_is_refused_is_not_needed() {
        assert!(
            !needs(ALL, Scope::NoTokens, false)
                .openid
                .values()
                .flatten()
                .any(OpenIdField::is_token)
        );
        assert_eq!(needs(ALL, Scope::EnvOnly, false), Needs::default());
        assert_eq!(needs(ALL, Scope::Full, true), Needs::default());
    }

    #[test]
    fn a_call_has_1000_entries_at_most() {
        let entries = |n| (0..n).map(|_| entry("x", Scope::Full)).collect();
        assert_eq!(limit(entries(MAX_ENTRIES)), None);
        assert_eq!(limit(entries(MAX_ENTRIES + 1)), Some(LimitError::Entries));
    }

    #[test]
    fn a_call_has_a_mebibyte_of_text_at_most() {
        let text = "x".repeat(MAX_TEMPLATE_BYTES - 1);
        assert_eq!(limit(vec![entry(&text, Scope::Full)]), None);
        assert_eq!(
            limit(vec![entry(&(text + "x"), Scope::Full)]),
            Some(LimitError::TemplateBytes)
        );
    }

    #[test]
    fn a_call_has_10000_placeholders_at_most() {
        let text = "{{X}}".repeat(MAX_PLACEHOLDERS);
        assert_eq!(limit(vec![entry(&text, Scope::Full)]), None);
        assert_eq!(
            limit(vec![entry(&(text + "${X}"), Scope::Full)]),
            Some(LimitError::Placeholders)
        );
    }

    #[test]
    fn a_name_fits_its_sink() {
        assert!(Entry::inline("Host".to_owned(), "x", Sink::Header).is_err());
        assert!(Entry::inline("A-B".to_owned(), "x", Sink::Env).is_err());
        assert!(Entry::inline("any name".to_owned(), "x", Sink::Text).is_ok());
        let name = "x".repeat(MAX_ENTRY_NAME_BYTES + 1);
        assert_eq!(
            limit(vec![Entry::new(name, "", Sink::Text, Scope::Full)]),
            Some(LimitError::EntryName)
        );
    }
}
