//! Endpoints and MCP servers in the shape of `LibreChat`'s configuration: which fields are
//! templates.

mod api_key;
mod fields;
mod reader;
mod shape;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value as Json};

use self::reader::Reader;
use self::shape::Slot;
use super::batch::{Entry, Scope};
use super::vocabulary::Sink;

pub use self::shape::ShapeError;

/// An object whose templates have been collected and can be replaced by their values.
pub struct TemplateObject {
    object: Map<String, Json>,
    slots: Vec<Slot>,
}

impl fmt::Debug for TemplateObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateObject")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl TemplateObject {
    /// Collects the templates of an `endpoints.custom[]` object: `baseURL` and `apiKey`, in which
    /// only `${NAME}` resolves, and `headers`. The error lists every field that has a wrong shape.
    pub fn endpoint(object: Map<String, Json>) -> Result<(Self, Vec<Entry>), Vec<ShapeError>> {
        let mut reader = Reader::new(object, fields::ENDPOINT);
        reader.needs_destination("baseURL");
        reader.destination("baseURL", Scope::EnvOnly);
        reader.endpoint_key();
        reader.members("headers", Sink::Header);
        Self::from_reader(reader)
    }

    /// Collects the templates of an `mcpServers` object, as `LibreChat`'s `processMCPEnv` does;
    /// `tokens_in_url` says whether the URL may contain the user's tokens. The error lists every
    /// field that has a wrong shape, is misspelt, or would be ignored although it matters.
    pub fn mcp_server(
        object: Map<String, Json>,
        tokens_in_url: bool,
    ) -> Result<(Self, Vec<Entry>), Vec<ShapeError>> {
        let mut reader = Reader::new(object, fields::SERVER);
        reader.custom_user_vars();
        reader.refuse_obo();
        reader.api_key();
        let in_url = if tokens_in_url {
            Scope::Full
        } else {
            Scope::NoTokens
        };
        if !reader.is_stdio() {
            reader.needs_destination("url");
        }
        reader.destination("url", in_url);
        reader.proxy();
        reader.elements("args");
        reader.members("env", Sink::Env);
        reader.members("headers", Sink::Header);
        reader.members("oauth_headers", Sink::Header);
        reader.oauth();
        Self::from_reader(reader)
    }

    fn from_reader(reader: Reader) -> Result<(Self, Vec<Entry>), Vec<ShapeError>> {
        let (object, slots, entries) = reader.finish()?;
        Ok((Self { object, slots }, entries))
    }

    /// Replaces the templates by their values, which are in the order of the entries. `None`
    /// removes the field, member or element.
    pub fn fill(mut self, values: Vec<Option<String>>) -> Map<String, Json> {
        // From the end, so that removing an element does not shift those that are still to be
        // replaced.
        for (slot, value) in self.slots.iter().zip(values).rev() {
            put(&mut self.object, slot, value.map(Json::String));
        }
        self.object
    }
}

fn put(object: &mut Map<String, Json>, slot: &Slot, value: Option<Json>) {
    match slot {
        Slot::Field(field) => put_member(object, field, value),
        Slot::Member(field, key) => {
            if let Some(Json::Object(members)) = object.get_mut(*field) {
                put_member(members, key, value);
            }
        }
        Slot::Element(field, index) => {
            if let Some(Json::Array(elements)) = object.get_mut(*field) {
                put_element(elements, *index, value);
            }
        }
        Slot::Absent(_) => {}
    }
}

fn put_member(object: &mut Map<String, Json>, key: &str, value: Option<Json>) {
    match value {
        Some(value) => object.insert(key.to_owned(), value),
        None => object.remove(key),
    };
}

fn put_element(elements: &mut Vec<Json>, index: usize, value: Option<Json>) {
    match value {
        Some(value) => elements[index] = value,
        None => drop(elements.remove(index)),
    }
}
