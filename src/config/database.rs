//! DATABASE_URL.

use std::path::PathBuf;

use url::Url;

use crate::secret::{ExposeSecret, SecretString};

use super::reader::Reader;
use super::urls::is_loopback_name;

const NAME: &str = "DATABASE_URL";
const DEFAULT: &str = "countersign.db";
const SHAPE: &str = "must be one URL such as postgres://user:password@host/database, in which special characters of user and password are percent-encoded: @ as %40, / as %2F, # as %23, ? as %3F";
const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
/// The parameters that the driver understands besides `options[…]`. Others are refused, because the
/// driver logs them with their values.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// DATABASE_URL, default `sqlite:countersign.db`.
#[derive(Debug)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL server, always with an `sslmode`.
    Postgres(SecretString),
}

/// Reads the database, and whether it is on this machine.
pub(super) fn read(r: &mut Reader<'_>) -> (Database, bool) {
    let default = (Database::Sqlite(PathBuf::from(DEFAULT)), true);
    let Some(text) = r.secret(NAME) else {
        return default;
    };
    let text = text.expose_secret().trim();
    let parsed = match text.split_once(':') {
        Some(("sqlite", path)) => sqlite(path).map(|database| (database, true)),
        Some(("postgres" | "postgresql", _)) => postgres(r, text),
        _ => Err("must begin with sqlite: or postgres://"),
    };
    parsed.unwrap_or_else(|description| {
        r.mistake(NAME, description);
        default
    })
}

fn sqlite(path: &str) -> Result<Database, &'static str> {
    let path = path.strip_prefix("//").unwrap_or(path);
    match path {
        "" => Err("names no file"),
        ":memory:" => {
            Err("must name a file: accounts kept in memory would be lost at the next start")
        }
        _ if path.contains('?') => Err("takes no options with sqlite:"),
        _ => Ok(Database::Sqlite(PathBuf::from(path))),
    }
}

fn postgres(r: &mut Reader<'_>, text: &str) -> Result<(Database, bool), &'static str> {
    let mut url = Url::parse(text).map_err(|_| SHAPE)?;
    // The user name and password ended before their last character.
    if url.path().contains('@')
        || url.query_pairs().any(|(name, _)| name.contains('@'))
        || url.fragment().is_some()
    {
        return Err(SHAPE);
    }
    if !url
        .query_pairs()
        .all(|(name, _)| PARAMETERS.contains(&&*name) || name.starts_with("options["))
    {
        return Err("has a parameter that the driver does not know");
    }
    let local = is_local(&url)?;
    let modes: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| matches!(&**name, "sslmode" | "ssl-mode"))
        .map(|(_, mode)| mode.into_owned())
        .collect();
    match modes.as_slice() {
        // The driver's default falls back to plain text, which an attacker in between could force.
        [] => drop(
            url.query_pairs_mut()
                .append_pair("sslmode", if local { "prefer" } else { "verify-full" }),
        ),
        [mode] if !SSL_MODES.contains(&mode.as_str()) => {
            return Err("has an sslmode that PostgreSQL does not know");
        }
        [mode] if !local && mode != "verify-full" => {
            r.warn(format!("{NAME} connects to another machine with sslmode={mode}: only verify-full authenticates it"));
        }
        [_] => {}
        _ => return Err("has more than one sslmode"),
    }
    Ok((
        Database::Postgres(SecretString::from(String::from(url))),
        local,
    ))
}

/// Whether the server is on this machine. A parameter `host` or `hostaddr` replaces the URL's host,
/// and the last one counts, as in the driver.
fn is_local(url: &Url) -> Result<bool, &'static str> {
    let parameters = url
        .query_pairs()
        .filter(|(name, _)| matches!(&**name, "host" | "hostaddr"));
    let named = parameters.last().map(|(_, host)| host.into_owned());
    let host = named
        .or_else(|| url.host_str().map(str::to_owned))
        .filter(|host| !host.is_empty());
    let host = host.ok_or("names no host")?;
    Ok(host.starts_with('/')
        || host.to_ascii_lowercase().starts_with("%2f")
        || is_loopback_name(&host))
}

#[cfg(test)]
mod tests {
    use super::super::env::Env;
    use super::*;

    fn parsed(text: &str) -> Result<(String, bool, usize), String> {
        let env = Env::from_pairs([(NAME, text)]);
        let mut r = Reader::new(&env);
        let (database, local) = read(&mut r);
        let warnings = r
            .finish()
            .finish()
            .map_err(|mistakes| mistakes.to_string())?;
        let shown = match database {
            Database::Sqlite(path) => path.display().to_string(),
            Database::Postgres(url) => url.expose_secret().to_owned(),
        };
        Ok((shown, local, warnings.len()))
    }

    #[test]
    fn sqlite_is_a_file() {
        for (text, path) in [
            ("", DEFAULT),
            ("sqlite:a.db", "a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:///var/a.db", "/var/a.db"),
        ] {
            assert_eq!(parsed(text), Ok((path.to_owned(), true, 0)), "{text}");
        }
        for text in [
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a?mode=ro",
            "mysql://a/b",
            "mongodb://a",
            "a.db",
            "postgres://a:1,b:2/c",
            "postgres:///c",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_remote_postgres_is_verified_unless_told_otherwise() {
        for (text, expected, local, warnings) in [
            (
                "postgres://u:p@db/c",
                "postgres://u:p@db/c?sslmode=verify-full",
                false,
                0,
            ),
            (
                "postgres://u:p@ss@db/c",
                "postgres://u:p%40ss@db/c?sslmode=verify-full",
                false,
                0,
            ),
            (
                "postgresql://db/c?sslmode=verify-full",
                "postgresql://db/c?sslmode=verify-full",
                false,
                0,
            ),
            (
                "postgres://db/c?sslmode=require",
                "postgres://db/c?sslmode=require",
                false,
                1,
            ),
            (
                "postgres://localhost/c",
                "postgres://localhost/c?sslmode=prefer",
                true,
                0,
            ),
            (
                "postgres://[::1]/c?sslmode=disable",
                "postgres://[::1]/c?sslmode=disable",
                true,
                0,
            ),
            (
                "postgres://%2Frun%2Fpg/c",
                "postgres://%2Frun%2Fpg/c?sslmode=prefer",
                true,
                0,
            ),
            (
                "postgres://localhost/c?host=db",
                "postgres://localhost/c?host=db&sslmode=verify-full",
                false,
                0,
            ),
        ] {
            assert_eq!(
                parsed(text),
                Ok((expected.to_owned(), local, warnings)),
                "{text}"
            );
        }
        assert!(parsed("postgres://db/c?sslmode=off").is_err());
        assert!(parsed("postgres://db/c?pasword=x").is_err());
        assert!(parsed("postgres://db/c?sslmode=disable&sslmode=verify-full").is_err());
    }
}
