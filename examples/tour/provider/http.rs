//! The part of HTTP/1.1 that the provider needs: one request per connection.

use std::collections::HashMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::form_urlencoded;

const MAX_REQUEST: usize = 64 * 1024;

pub struct Request {
    pub path: String,
    pub query: HashMap<String, String>,
    pub authorization: String,
    form: HashMap<String, String>,
}

pub enum Answer {
    Json(u16, Value),
    Redirect(String),
}

impl Request {
    /// A field of the form, or empty.
    pub fn form(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }

    fn parse(head: &str, body: &str) -> Option<Self> {
        let target = head.split(' ').nth(1)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let authorization = header(head, "authorization").unwrap_or_default().to_owned();
        Some(Self {
            path: path.to_owned(),
            query: decode(query),
            authorization,
            form: decode(body),
        })
    }
}

pub async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut text = Vec::new();
    while text.len() < MAX_REQUEST && stream.read_buf(&mut text).await.ok()? > 0 {
        let request = std::str::from_utf8(&text).ok()?;
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            continue;
        };
        let length = header(head, "content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return Request::parse(head, body);
        }
    }
    None
}

/// Writes the answer; it does not matter if the browser has gone away.
pub async fn write(stream: &mut TcpStream, answer: &Answer) {
    let (status, header, body) = match answer {
        Answer::Json(status, body) => (
            *status,
            "content-type: application/json".to_owned(),
            body.to_string(),
        ),
        Answer::Redirect(location) => (302, format!("location: {location}"), String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} \r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

/// Encodes parameters as a query.
pub fn encode(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish()
}

fn decode(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
