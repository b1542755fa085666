//! Collects the templates of an object and everything that is wrong with its shape.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::api_key::admin_header;
use super::fields::{API_KEY, misspelt, none_known, oauth_member};
use super::shape::{ShapeError, Slot};
use crate::template::batch::{Entry, Place, Scope, check_entry_name, repeated_names};
use crate::template::declared::DeclaredNames;
use crate::template::vocabulary::Sink;

/// What `LibreChat` writes if the user provides the value. It is neither a template nor a URL.
const USER_PROVIDED: &str = "user_provided";
/// The custom variable of a server whose key the user provides.
const USER_KEY: &str = "MCP_API_KEY";

/// Reads an object field by field and collects templates and errors.
pub(super) struct Reader {
    object: Map<String, Json>,
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    errors: Vec<ShapeError>,
    /// The custom variables that the object declares.
    declared: BTreeSet<String>,
    /// The header that an operator's key has become.
    key_header: Option<String>,
}

impl Reader {
    /// Begins to read an object, which must have one of the known fields and none that is misspelt.
    pub(super) fn new(object: Map<String, Json>, known: &[&str]) -> Self {
        let mut errors = misspelt("", &object, known);
        if errors.is_empty() {
            errors.extend(none_known(&object, known));
        }
        Self {
            object,
            slots: Vec::new(),
            entries: Vec::new(),
            errors,
            declared: BTreeSet::new(),
            key_header: None,
        }
    }

    /// The object, its slots and its entries, or every field that has a wrong shape.
    #[expect(
        clippy::type_complexity,
        reason = "the only caller takes the three parts apart"
    )]
    pub(super) fn finish(
        mut self,
    ) -> Result<(Map<String, Json>, Vec<Slot>, Vec<Entry>), Vec<ShapeError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let declared = DeclaredNames::new(self.declared);
        for entry in &mut self.entries {
            entry.declare(&declared);
        }
        Ok((self.object, self.slots, self.entries))
    }

    fn error(&mut self, field: impl Into<String>, description: &'static str) {
        self.errors.push(ShapeError {
            field: field.into(),
            description: Cow::Borrowed(description),
        });
    }

    fn add(&mut self, slot: Slot, template: &str, sink: Sink, scope: Scope) {
        self.entries
            .push(Entry::new(slot.path(), template, sink, scope));
        self.slots.push(slot);
    }

    fn add_at(&mut self, place: Place, slot: Slot, template: &str, sink: Sink, scope: Scope) {
        let entry = Entry::new(slot.path(), template, sink, scope);
        self.entries.push(entry.with_place(place));
        self.slots.push(slot);
    }

    /// Calls `read` with a member. The member is taken out of the object meanwhile, because `read`
    /// borrows the reader mutably, and then put back unchanged.
    fn with_member(&mut self, field: &str, read: impl FnOnce(&mut Self, &Json)) {
        let Some(value) = self.object.get_mut(field).map(Json::take) else {
            return;
        };
        read(self, &value);
        if let Some(place) = self.object.get_mut(field) {
            *place = value;
        }
    }

    /// Reads a field that is a template, if it is given.
    fn field(&mut self, field: &'static str, read: impl FnOnce(&mut Self, Slot, &str)) {
        self.with_member(field, |reader, value| match value {
            Json::Null => {}
            Json::String(text) if text.is_empty() => {}
            Json::String(text) => read(reader, Slot::Field(field), text),
            _ => reader.error(field, "must be a string"),
        });
    }

    /// The key of an endpoint.
    pub(super) fn endpoint_key(&mut self) {
        self.field("apiKey", |reader, slot, text| {
            if text != USER_PROVIDED {
                reader.add_at(Place::Credential, slot, text, Sink::Text, Scope::EnvOnly);
            }
        });
    }

    pub(super) fn proxy(&mut self) {
        self.field("proxy", |reader, slot, text| {
            reader.add(slot, text, Sink::Url, Scope::EnvOnly);
        });
    }

    /// The URL that the object's tokens are sent to. What a user provides is one too, although it
    /// is no URL yet: no token goes to a host that nobody has checked.
    pub(super) fn destination(&mut self, field: &'static str, scope: Scope) {
        self.field(field, |reader, slot, text| {
            let sink = if text == USER_PROVIDED {
                Sink::Text
            } else {
                Sink::Url
            };
            reader.add_at(Place::Destination, slot, text, sink, scope);
        });
    }

    /// Makes a missing or empty URL a destination too, so that no token goes to an address that
    /// the caller adds later and that nobody has checked.
    pub(super) fn needs_destination(&mut self, field: &'static str) {
        let is_missing = self
            .object
            .get(field)
            .is_none_or(|url| url.is_null() || url == "");
        if is_missing {
            let slot = Slot::Absent(field);
            self.add_at(Place::Destination, slot, "", Sink::Text, Scope::EnvOnly);
        }
    }

    /// Whether the server is a process that gets its tokens by its environment.
    pub(super) fn is_stdio(&self) -> bool {
        let command = self.object.get("command").and_then(Json::as_str);
        command.is_some_and(|command| !command.is_empty())
    }

    /// The members of `oauth`. Tokens in them and in `oauth_headers` are sent to those that are
    /// URLs, except for the address that the user comes back to.
    pub(super) fn oauth(&mut self) {
        self.object_member("oauth", |reader, key, value| {
            let Json::String(text) = value else { return };
            let slot = Slot::Member("oauth", key.to_owned());
            match oauth_member(key, text) {
                (_, true) if text.is_empty() => {}
                (place, true) => reader.add_at(place, slot, text, Sink::Url, Scope::NoTokens),
                (place, false) => reader.add_at(place, slot, text, Sink::Text, Scope::Full),
            }
        });
    }

    pub(super) fn elements(&mut self, field: &'static str) {
        self.with_member(field, |reader, value| match value {
            Json::Null => {}
            Json::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    reader.element(Slot::Element(field, index), element);
                }
            }
            _ => reader.error(field, "must be a list"),
        });
    }

    fn element(&mut self, slot: Slot, element: &Json) {
        match element {
            Json::String(text) => self.add(slot, text, Sink::Argument, Scope::NoTokens),
            Json::Array(_) | Json::Object(_) => self.error(slot.path(), "must be a string"),
            _ => {}
        }
    }

    /// Reads the members of a field that is an object, if it is given.
    fn object_member(&mut self, field: &'static str, read: impl Fn(&mut Self, &str, &Json)) {
        self.with_member(field, |reader, value| match value {
            Json::Null => {}
            Json::Object(members) => members
                .iter()
                .for_each(|(key, value)| read(reader, key, value)),
            _ => reader.error(field, "must be an object"),
        });
    }

    pub(super) fn members(&mut self, field: &'static str, sink: Sink) {
        self.with_member(field, |reader, value| {
            let names = value.as_object().into_iter().flat_map(Map::keys);
            for name in repeated_names(sink, names.map(String::as_str)) {
                let path = Slot::Member(field, name.to_owned()).path();
                reader.error(path, "is the same header as another one of these");
            }
        });
        self.object_member(field, |reader, key, value| {
            reader.member(Slot::Member(field, key.to_owned()), key, value, sink);
        });
    }

    fn member(&mut self, slot: Slot, key: &str, value: &Json, sink: Sink) {
        if let Err(description) = check_entry_name(sink, key) {
            self.error(slot.path(), description);
        }
        let is_key =
            matches!(slot, Slot::Member("headers", _)) && self.key_header.as_deref() == Some(key);
        match value {
            Json::String(text) if is_key => {
                self.add_at(Place::Credential, slot, text, sink, Scope::Full);
            }
            Json::String(text) => self.add(slot, text, sink, Scope::Full),
            _ if sink == Sink::Header => self.error(slot.path(), "must be a string"),
            Json::Array(_) | Json::Object(_) if sink == Sink::Env => {
                self.error(slot.path(), "must be a string");
            }
            _ => {}
        }
    }

    /// The custom variables that a call must give before their placeholders resolve.
    pub(super) fn custom_user_vars(&mut self) {
        self.object_member("customUserVars", |reader, name, _| {
            reader.declared.insert(name.to_owned());
        });
    }

    /// A server that expects an exchanged token must not get the user's own one.
    pub(super) fn refuse_obo(&mut self) {
        if self.object.get("obo").is_some_and(|obo| !obo.is_null()) {
            self.error(
                "obo",
                "is not supported: this service cannot exchange tokens on behalf of a user yet",
            );
        }
    }

    /// Turns an operator's key (`source: admin`) into the header that LibreChat would send for it,
    /// and removes it from `apiKey`, so that the response contains it only once, resolved. A key of
    /// the user (`source: user`) is a custom variable.
    pub(super) fn api_key(&mut self) {
        let mut api_key = match self.object.get("apiKey").cloned() {
            None | Some(Json::Null) => return,
            Some(Json::Object(api_key)) => api_key,
            Some(_) => return self.error("apiKey", "must be an object"),
        };
        self.errors.extend(misspelt("apiKey.", &api_key, API_KEY));
        match api_key.get("source").and_then(Json::as_str) {
            Some("admin") => {}
            Some("user") => {
                self.declared.insert(USER_KEY.to_owned());
                return;
            }
            _ => return,
        }
        match api_key.remove("key") {
            None | Some(Json::Null) => {}
            Some(Json::String(key)) => {
                match admin_header(&api_key, &key) {
                    Ok((name, value)) => self.set_key_header(name, value),
                    Err(error) => self.errors.push(error),
                }
                self.object
                    .insert("apiKey".to_owned(), Json::Object(api_key));
            }
            Some(_) => self.error("apiKey.key", "must be a string"),
        }
    }

    fn set_key_header(&mut self, name: String, value: String) {
        let headers = self.object.entry("headers").or_insert(Json::Null);
        if headers.is_null() {
            *headers = Json::Object(Map::new());
        }
        if let Json::Object(headers) = headers {
            headers.retain(|key, _| !key.eq_ignore_ascii_case(&name));
            headers.insert(name.clone(), Json::String(value));
        }
        self.key_header = Some(name);
    }
}
