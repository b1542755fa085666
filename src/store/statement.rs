//! A statement with its name, under which telemetry tells of it.

use sqlx::{SqlSafeStr, SqlStr};

use super::connection::Connection;
use crate::trace::{self, Span, attribute};

/// The text of a statement, which holds no values, and its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    /// The constant's path in the store, such as `sessions::FIND`.
    pub name: &'static str,
    pub sql: &'static str,
}

impl Statement {
    /// A statement by the path of its constant in the crate.
    pub(super) const fn new(path: &'static str, sql: &'static str) -> Self {
        const STORE: &str = "countersign::store::";
        Self {
            name: path.split_at(STORE.len()).1,
            sql,
        }
    }

    /// Begins the span of the statement's execution, as OpenTelemetry's conventions for databases
    /// have it.
    pub(super) fn span(self, connection: &Connection) -> Span {
        let system = match connection {
            Connection::Sqlite(_) => "sqlite",
            Connection::Postgres(_) => "postgresql",
        };
        trace::client(|| {
            let operation = self.sql.split_ascii_whitespace().next();
            let attributes = vec![
                attribute("db.system.name", system),
                attribute("db.operation.name", operation.unwrap_or_default()),
                attribute("db.query.summary", self.name),
            ];
            (self.name.into(), attributes)
        })
    }
}

/// A statement that needs no name of its own, such as COMMIT.
impl From<&'static str> for Statement {
    fn from(sql: &'static str) -> Self {
        Self { name: sql, sql }
    }
}

impl SqlSafeStr for Statement {
    fn into_sql_str(self) -> SqlStr {
        self.sql.into_sql_str()
    }
}
