//! Collects the templates of an object and everything that is wrong with its shape.

use serde_json::{Map, Value as Json};

use super::shape::{ShapeError, Slot};
use crate::template::batch::{Entry, Place, Scope, check_entry_name};
use crate::template::vocabulary::Sink;

/// What `LibreChat` writes if the user provides the value. It is neither a template nor a URL.
const USER_PROVIDED: &str = "user_provided";

/// Reads an object field by field and collects templates and errors.
pub(super) struct Reader {
    object: Map<String, Json>,
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    errors: Vec<ShapeError>,
}

impl Reader {
    pub(super) fn new(object: Map<String, Json>) -> Self {
        Self {
            object,
            slots: Vec::new(),
            entries: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The object, its slots and its entries, or every field that has a wrong shape.
    #[expect(
        clippy::type_complexity,
        reason = "the only caller takes the three parts apart"
    )]
    pub(super) fn finish(
        self,
    ) -> Result<(Map<String, Json>, Vec<Slot>, Vec<Entry>), Vec<ShapeError>> {
        if self.errors.is_empty() {
            Ok((self.object, self.slots, self.entries))
        } else {
            Err(self.errors)
        }
    }

    fn error(&mut self, field: impl Into<String>, description: &'static str) {
        self.errors.push(ShapeError {
            field: field.into(),
            description,
        });
    }

    fn add(&mut self, slot: Slot, template: &str, sink: Sink, scope: Scope) {
        self.add_at(Place::Ordinary, slot, template, sink, scope);
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

    pub(super) fn field(&mut self, field: &'static str, sink: Sink, scope: Scope) {
        self.with_member(field, |reader, value| match value {
            Json::Null => {}
            Json::String(text) if text.is_empty() || text == USER_PROVIDED => {}
            Json::String(text) => reader.add(Slot::Field(field), text, sink, scope),
            _ => reader.error(field, "must be a string"),
        });
    }

    /// The URL that the object's tokens are sent to. What a user provides is one too, although it
    /// is no URL yet: no token goes to a host that nobody has checked.
    pub(super) fn destination(&mut self, field: &'static str, scope: Scope) {
        self.with_member(field, |reader, value| match value {
            Json::Null => {}
            Json::String(text) if text.is_empty() => {}
            Json::String(text) => {
                let sink = if text == USER_PROVIDED {
                    Sink::Text
                } else {
                    Sink::Url
                };
                reader.add_at(Place::Destination, Slot::Field(field), text, sink, scope);
            }
            _ => reader.error(field, "must be a string"),
        });
    }

    /// The members of `oauth`. Tokens in them and in `oauth_headers` are sent to those that are
    /// URLs, except for the address that the user comes back to.
    pub(super) fn oauth(&mut self) {
        self.with_member("oauth", |reader, value| match value {
            Json::Null => {}
            Json::Object(members) => {
                for (key, value) in members {
                    let Json::String(text) = value else { continue };
                    let slot = Slot::Member("oauth", key.clone());
                    match place_of_url(key) {
                        None => reader.add(slot, text, Sink::Text, Scope::Full),
                        Some(_) if text.is_empty() => {}
                        Some(place) => {
                            reader.add_at(place, slot, text, Sink::Url, Scope::NoTokens);
                        }
                    }
                }
            }
            _ => reader.error("oauth", "must be an object"),
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
            Json::String(text) => self.add(slot, text, Sink::Text, Scope::NoTokens),
            Json::Array(_) | Json::Object(_) => self.error(slot.path(), "must be a string"),
            _ => {}
        }
    }

    pub(super) fn members(&mut self, field: &'static str, sink: Sink) {
        self.with_member(field, |reader, value| match value {
            Json::Null => {}
            Json::Object(members) => {
                for (key, value) in members {
                    reader.member(Slot::Member(field, key.clone()), key, value, sink);
                }
            }
            _ => reader.error(field, "must be an object"),
        });
    }

    fn member(&mut self, slot: Slot, key: &str, value: &Json, sink: Sink) {
        if let Err(description) = check_entry_name(sink, key) {
            self.error(slot.path(), description);
        }
        match value {
            Json::String(text) => self.add(slot, text, sink, Scope::Full),
            _ if sink == Sink::Header => self.error(slot.path(), "must be a string"),
            Json::Array(_) | Json::Object(_) if sink == Sink::Env => {
                self.error(slot.path(), "must be a string");
            }
            _ => {}
        }
    }

    /// Turns an operator's key (`source: admin`) into the header that LibreChat would send for it,
    /// and removes it from `apiKey`, so that the response contains it only once, resolved.
    pub(super) fn api_key(&mut self) {
        let mut api_key = match self.object.get("apiKey").cloned() {
            None | Some(Json::Null) => return,
            Some(Json::Object(api_key)) => api_key,
            Some(_) => return self.error("apiKey", "must be an object"),
        };
        if api_key.get("source").and_then(Json::as_str) != Some("admin") {
            return;
        }
        match api_key.remove("key") {
            None | Some(Json::Null) => {}
            Some(Json::String(key)) => {
                match admin_header(&api_key, &key) {
                    Ok((name, value)) => self.set_header(&name, value),
                    Err(error) => self.errors.push(error),
                }
                self.object
                    .insert("apiKey".to_owned(), Json::Object(api_key));
            }
            Some(_) => self.error("apiKey.key", "must be a string"),
        }
    }

    fn set_header(&mut self, name: &str, value: String) {
        let headers = self.object.entry("headers").or_insert(Json::Null);
        if headers.is_null() {
            *headers = Json::Object(Map::new());
        }
        if let Json::Object(headers) = headers {
            headers.retain(|key, _| !key.eq_ignore_ascii_case(name));
            headers.insert(name.to_owned(), Json::String(value));
        }
    }
}

/// The place of a member of `oauth` that is a URL, by its name; `None` if it is none.
fn place_of_url(key: &str) -> Option<Place> {
    let key = key.to_ascii_lowercase().replace('_', "");
    if key == "redirecturi" {
        return Some(Place::Ordinary);
    }
    ["url", "uri", "endpoint", "issuer"]
        .iter()
        .any(|end| key.ends_with(end))
        .then_some(Place::Destination)
}

/// The name and value of the header for an operator's key.
fn admin_header(api_key: &Map<String, Json>, key: &str) -> Result<(String, String), ShapeError> {
    let error = |field: &str, description| {
        Err(ShapeError {
            field: field.to_owned(),
            description,
        })
    };
    let authorization = |scheme| Ok(("Authorization".to_owned(), format!("{scheme} {key}")));
    match api_key.get("authorization_type").and_then(Json::as_str) {
        Some("bearer") => authorization("Bearer"),
        Some("basic") => authorization("Basic"),
        Some("custom") => match api_key.get("custom_header") {
            None | Some(Json::Null) => Ok(("X-Api-Key".to_owned(), key.to_owned())),
            Some(Json::String(name)) if name.is_empty() => {
                Ok(("X-Api-Key".to_owned(), key.to_owned()))
            }
            Some(Json::String(name)) => Ok((name.clone(), key.to_owned())),
            Some(_) => error("apiKey.custom_header", "must be a string"),
        },
        _ => error(
            "apiKey.authorization_type",
            "must be bearer, basic or custom",
        ),
    }
}
