//! Lists of names and values, as OpenTelemetry's variables hold them.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

const NOT_A_LIST: &str =
    "must be a list such as name=value,other=value, in which values are percent-encoded";

/// The pairs of a list such as `name=value,other=value`, with the values decoded.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let entries = text.split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .map(|entry| pair(entry).ok_or(NOT_A_LIST))
        .collect()
}

fn pair(entry: &str) -> Option<(String, String)> {
    let (name, value) = entry.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_hexdigit);
    let mut encoded = value.split('%').skip(1).map(str::as_bytes);
    let is_encoded = encoded.all(|rest| is_digit(rest.first()) && is_digit(rest.get(1)));
    let value = percent_decode_str(value).decode_utf8().ok()?;
    (is_encoded && !name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
}

/// The headers of such a list. Their values are not shown by `Debug`.
pub(super) fn headers(text: &str) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text)? {
        let name = HeaderName::try_from(name);
        let name = name.map_err(|_| "has a name that no header can have")?;
        let value = HeaderValue::try_from(value);
        let mut value = value.map_err(|_| "has a value that no header can have")?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_its_values_decoded() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = vec![
            pair("a", "1 2"),
            pair("b", "x=y"),
            pair("c", "é,"),
            pair("d", ""),
        ];
        assert_eq!(pairs(" a = 1%202,b=x=y, c=%c3%A9%2C ,d=,"), Ok(expected));
        for wrong in [
            "a", "=1", "a=1,b", "a=%", "a=%2", "a=%zz", "a=%%20", "a=%ff",
        ] {
            assert!(pairs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_those_of_http_and_show_no_value() {
        let headers_of = headers("X-Key=canary%20key").expect("headers");
        assert_eq!(headers_of["x-key"], "canary key");
        assert!(!format!("{headers_of:?}").contains("canary"));
        for wrong in ["a b=1", "a:=1", "a=%0A", "a=1,b"] {
            assert!(headers(wrong).is_err(), "{wrong}");
        }
    }
}
