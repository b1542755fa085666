//! Reads settings by name and collects every mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::secret::{ExposeSecret, SecretString};

use super::arithmetic;
use super::env::Env;
use super::file;
use super::librechat;
use super::otel;
use super::published;
use super::report::{Found, Mistake, Place, Report};

const NOT_A_DURATION: &str =
    "must be a number or arithmetic such as 1000 * 60 * 15, in milliseconds";
/// The longest duration of a setting. Adding it to a time cannot overflow.
const TEN_YEARS: Duration = Duration::from_hours(10 * 365 * 24);

/// Reads settings from an environment; a mistake leaves the default in place and is reported at the
/// end.
pub(super) struct Reader<'a> {
    env: &'a Env,
    read: BTreeSet<String>,
    secrets: BTreeMap<String, Option<SecretString>>,
    report: Report,
}

impl<'a> Reader<'a> {
    pub fn new(env: &'a Env) -> Self {
        Self {
            env,
            read: BTreeSet::new(),
            secrets: BTreeMap::new(),
            report: env.mistakes().into(),
        }
    }

    pub fn mistake(&mut self, name: &str, description: impl Into<String>) {
        let mistake = Mistake::new(name, description).found(self.env.place(name));
        self.report.add(mistake);
    }

    pub fn warn(&mut self, warning: impl Into<String>) {
        self.report.warn(warning);
    }

    /// A value without surrounding white space; a blank value counts as unset.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.raw(name).map(|value| value.trim().to_owned())
    }

    fn raw(&mut self, name: &str) -> Option<String> {
        self.read.insert(name.to_owned());
        let Some(value) = self.env.get(name)?.to_str() else {
            self.mistake(name, "is not UTF-8 text");
            return None;
        };
        (!value.trim().is_empty()).then(|| value.to_owned())
    }

    /// A variable of a library that reads the environment of the process, and no files.
    pub fn library_text(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        (self.env.place(name) == Some(Place::Environment)).then_some(text)
    }

    /// Whether a setting, or its `_FILE` form, has a value.
    pub fn is_set(&self, name: &str) -> bool {
        self.env.has_value(name) || self.env.has_value(&format!("{name}_FILE"))
    }

    /// A secret, from `NAME` or from the file that `NAME_FILE` names. One that is published in a
    /// sample file is refused.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        let secret = self.any_secret(name).filter(|secret| {
            let is_published = published::contains(secret);
            if is_published {
                self.mistake(
                    name,
                    "is the value of a public sample file; make one of your own",
                );
            }
            !is_published
        });
        self.secrets.insert(name.to_owned(), secret.clone());
        secret
    }

    fn any_secret(&mut self, name: &str) -> Option<SecretString> {
        let file_name = format!("{name}_FILE");
        match (self.raw(name), self.text(&file_name)) {
            (Some(_), Some(_)) => {
                self.mistake(
                    name,
                    format!("is set, and so is {file_name}: set only one of them"),
                );
                None
            }
            (None, Some(path)) => self.secret_file(&file_name, &path),
            (value, None) => value.map(SecretString::from),
        }
    }

    fn secret_file(&mut self, name: &str, path: &str) -> Option<SecretString> {
        match file::read_text(Path::new(path)) {
            Ok(text) if text.trim().is_empty() => self.mistake(name, "names an empty file"),
            Ok(text) => return Some(SecretString::from(text.trim_end_matches(['\r', '\n']))),
            Err(error) => self.mistake(name, format!("names a file that cannot be read: {error}")),
        }
        None
    }

    /// Whether `name` was read as a secret, is the `_FILE` form of one, or has a `_FILE` form in
    /// the environment, which only secrets have.
    pub fn is_secret(&self, name: &str) -> bool {
        let stem = name.strip_suffix("_FILE").unwrap_or(name);
        self.secrets.contains_key(stem) || self.env.get(&format!("{name}_FILE")).is_some()
    }

    pub fn parse<T, E: Into<String>>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = parse(&self.text(name)?);
        parsed
            .map_err(|description| self.mistake(name, description))
            .ok()
    }

    pub fn parse_secret<T, E: Into<String>>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = parse(self.secret(name)?.expose_secret().trim());
        parsed
            .map_err(|description| self.mistake(name, description))
            .ok()
    }

    /// A switch. Anything but `true` and `false` is a mistake, so that a typing error does not
    /// switch off a protection.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        let parse = |text: &str| {
            text.to_ascii_lowercase()
                .parse()
                .map_err(|_| "must be true or false")
        };
        self.parse(name, parse).unwrap_or(default)
    }

    /// One of LibreChat's ALLOW_ switches. As in LibreChat, it is on only if it is `true`: if it is
    /// set to anything else, or set but blank, it is off.
    pub fn allowed(&mut self, name: &str, if_unset: bool) -> bool {
        let Some(value) = self.env.get(name) else {
            self.read.insert(name.to_owned());
            return if_unset;
        };
        let is_blank = value.to_string_lossy().trim().is_empty();
        let text = self.text(name).unwrap_or_default();
        let is_on = text.eq_ignore_ascii_case("true");
        if !is_on && !is_blank && !text.eq_ignore_ascii_case("false") {
            self.warn(format!(
                "{name} is neither true nor false, so it is off, as in LibreChat"
            ));
        }
        is_on
    }

    pub fn number(&mut self, name: &str, default: u32, least: u32, most: u32) -> u32 {
        let parse = |text: &str| {
            let number = text
                .parse()
                .ok()
                .filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
        };
        self.parse(name, parse).unwrap_or(default)
    }

    /// A duration in milliseconds, which may be an arithmetic expression.
    pub fn duration(&mut self, name: &str, default: Duration, least: Duration) -> Duration {
        self.duration_if_set(name, least).unwrap_or(default)
    }

    /// As [`Reader::duration`], for a setting without a default.
    pub fn duration_if_set(&mut self, name: &str, least: Duration) -> Option<Duration> {
        let parse = |text: &str| {
            let millis = arithmetic::evaluate(text).map_err(|error| match error {
                arithmetic::NOT_A_NUMBER => NOT_A_DURATION,
                error => error,
            })?;
            let duration = Duration::try_from_secs_f64(millis / 1000.0)
                .map_err(|_| "must not be negative; it is in milliseconds")?;
            if duration < least {
                return Err("is too short; it is in milliseconds");
            }
            Some(duration)
                .filter(|duration| *duration <= TEN_YEARS)
                .ok_or("is longer than ten years; it is in milliseconds")
        };
        self.parse(name, parse)
    }

    /// A plain number of minutes, as LibreChat's limiters use it.
    pub fn minutes(&mut self, name: &str, default: u32) -> Duration {
        let parse = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let minutes = text
                .parse::<f64>()
                .ok()
                .filter(|minutes| plain && *minutes > 0.0);
            let window =
                minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
            window
                .filter(|window| *window <= TEN_YEARS && *window >= Duration::from_millis(1))
                .ok_or("must be a number of minutes above 0")
        };
        self.parse(name, parse)
            .unwrap_or(Duration::from_secs(u64::from(default) * 60))
    }

    /// A list separated by commas, without empty entries.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Ends reading and returns the report, with what concerns all settings together: secrets that
    /// are equal, and settings that are there but not followed.
    pub fn finish(mut self) -> Report {
        self.refuse_equal_secrets();
        self.judge_librechats();
        for name in self.unknown() {
            self.warn(format!(
                "{name} is not a setting of this version; it has no effect"
            ));
        }
        self.warn_of_opentelemetry();
        let found = self.env.places().iter().map(|place| Found {
            place: *place,
            names: self.found_in(*place),
        });
        self.report.note_found(found.collect());
        self.report
    }

    fn found_in(&self, place: Place) -> Vec<String> {
        let names = self.read.iter();
        let names = names.filter(|name| self.env.place(name) == Some(place));
        let shown = |name: &String| {
            if self.env.has_value(name) {
                name.clone()
            } else {
                format!("{name} (blank)")
            }
        };
        names.map(shown).collect()
    }

    /// Every name that was read, for the test that compares them with the README.
    #[cfg(test)]
    pub fn names(&self) -> &BTreeSet<String> {
        &self.read
    }

    /// The names of secrets among them.
    #[cfg(test)]
    pub fn secrets(&self) -> BTreeSet<String> {
        self.secrets.keys().cloned().collect()
    }

    fn refuse_equal_secrets(&mut self) {
        let mut seen: Vec<(String, String)> = Vec::new();
        for (name, secret) in std::mem::take(&mut self.secrets) {
            let Some(secret) = secret else { continue };
            let secret = secret.expose_secret().trim();
            match seen.iter().find(|(_, other)| other == secret) {
                Some((other, _)) => self.mistake(
                    &name,
                    format!("has the same value as {other}: give each a secret of its own"),
                ),
                None => seen.push((name, secret.to_owned())),
            }
        }
    }

    fn judge_librechats(&mut self) {
        let env = self.env;
        for name in env.names() {
            if let Some(row) = librechat::refusing(env, name) {
                self.mistake(name, row.why);
            } else if let Some(row) = librechat::idle(env, name) {
                self.warn(format!("{name} has no effect: {}", row.why));
            }
        }
    }

    /// OpenTelemetry's variables count only in the environment of the process, because its library
    /// reads some itself and knows nothing of our files.
    fn warn_of_opentelemetry(&mut self) {
        let env = self.env;
        for name in env.names().filter(|name| name.starts_with("OTEL_")) {
            match env.place(name) {
                Some(Place::File(file)) => self.warn(format!(
                    "{name} has no effect in {file}: set it in the environment of the process"
                )),
                _ if self.read.contains(name) || self.is_service_link(name) => {}
                _ => {
                    if let Some(why) = otel::why_idle(env, name) {
                        self.warn(format!("{name} has no effect: {why}"));
                    }
                }
            }
        }
    }

    /// Names that are ours or a provider's, but are no settings.
    fn unknown(&self) -> Vec<String> {
        let is_unknown = |name: &&str| {
            let has_prefix = name.starts_with("COUNTERSIGN_") || name.starts_with("OPENID_");
            let is_known = self.read.contains(*name) || librechat::knows(name);
            has_prefix && !is_known && self.env.has_value(name)
        };
        let unknown = self.env.names().filter(is_unknown);
        unknown
            .filter(|name| !self.is_service_link(name))
            .map(str::to_owned)
            .collect()
    }

    /// Whether Kubernetes made this variable. It adds such variables to every pod for each service,
    /// and one of the services is probably named `countersign`, another one `otel-collector`.
    fn is_service_link(&self, name: &str) -> bool {
        let parts = ["_PORT_", "_SERVICE_HOST", "_SERVICE_PORT"];
        let is_link = name.ends_with("_PORT") || parts.iter().any(|part| name.contains(part));
        is_link && self.env.get("KUBERNETES_SERVICE_HOST").is_some()
    }
}
