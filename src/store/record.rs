//! Derives a record's SELECT lists and INSERT, and the code that reads and binds it on both
//! engines, from one list of columns.

use sqlx::query::Query;
use sqlx::{ColumnIndex, Database, Decode, Encode, Postgres, Row, Sqlite, Type};

use super::error::StoreError;
use crate::clock::Timestamp;
use crate::id::{BanId, IdentityId, SessionId, UserId};
use crate::model::algorithm::Algorithm;
use crate::model::email::Email;
use crate::model::network::Network;
use crate::model::signing_key::SigningKeyState;

/// A type that one column holds.
pub(super) trait Column: Sized {
    /// The type that the engines store.
    type Sql: Send
        + for<'q> Encode<'q, Sqlite>
        + for<'r> Decode<'r, Sqlite>
        + Type<Sqlite>
        + for<'q> Encode<'q, Postgres>
        + for<'r> Decode<'r, Postgres>
        + Type<Postgres>;

    /// The value of a column; `None` if it is not a value of this type.
    fn from_sql(sql: Self::Sql) -> Option<Self>;

    fn to_sql(&self) -> Self::Sql;
}

macro_rules! plain_columns {
    ($($type:ty),*) => {$(
        impl Column for $type {
            type Sql = Self;

            fn from_sql(sql: Self) -> Option<Self> {
                Some(sql)
            }

            fn to_sql(&self) -> Self {
                self.clone()
            }
        }
    )*};
}

plain_columns!(String, Vec<u8>, bool, i64);

macro_rules! text_columns {
    ($($type:ty: $parse:expr, $text:expr;)*) => {$(
        impl Column for $type {
            type Sql = String;

            fn from_sql(sql: String) -> Option<Self> {
                $parse(sql)
            }

            fn to_sql(&self) -> String {
                $text(self)
            }
        }
    )*};
}

text_columns! {
    UserId: |text: String| Self::parse(&text), ToString::to_string;
    SessionId: |text: String| Self::parse(&text), ToString::to_string;
    IdentityId: |text: String| Self::parse(&text), ToString::to_string;
    BanId: |text: String| Self::parse(&text), ToString::to_string;
    Network: |text: String| text.parse().ok(), ToString::to_string;
    Email: |text: String| Some(Self::from_canonical(text)), |email: &Self| email.as_str().to_owned();
    Algorithm: |text: String| Self::parse(&text), |algorithm: &Self| algorithm.name().to_owned();
    SigningKeyState: |text: String| Self::parse(&text), |state: &Self| state.name().to_owned();
}

impl Column for Timestamp {
    type Sql = i64;

    fn from_sql(millis: i64) -> Option<Self> {
        Some(Self::from_millis(millis))
    }

    fn to_sql(&self) -> i64 {
        self.millis()
    }
}

impl<T: Column> Column for Option<T>
where
    Option<T::Sql>: Send
        + for<'q> Encode<'q, Sqlite>
        + for<'r> Decode<'r, Sqlite>
        + Type<Sqlite>
        + for<'q> Encode<'q, Postgres>
        + for<'r> Decode<'r, Postgres>
        + Type<Postgres>,
{
    type Sql = Option<T::Sql>;

    fn from_sql(sql: Self::Sql) -> Option<Self> {
        match sql {
            None => Some(None),
            Some(sql) => T::from_sql(sql).map(Some),
        }
    }

    fn to_sql(&self) -> Self::Sql {
        self.as_ref().map(Column::to_sql)
    }
}

/// A column to read, and how an error names its row if the value is invalid.
#[derive(Clone, Copy)]
pub(super) struct ColumnRef {
    pub table: &'static str,
    pub name: &'static str,
    /// What the SELECT list calls it; a join has a prefix here.
    pub selected_as: &'static str,
    /// What the SELECT list calls the column that identifies the row.
    pub key: &'static str,
}

/// The value of a column.
///
/// # Errors
/// Those of sqlx; [`StoreError::Corrupt`] comes inside [`sqlx::Error::Decode`].
pub(super) fn read<'r, R, T>(row: &'r R, column: ColumnRef) -> sqlx::Result<T>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    T: Column,
    T::Sql: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    T::from_sql(row.try_get(column.selected_as)?).ok_or_else(|| {
        let key: String = row.try_get(column.key).unwrap_or_default();
        sqlx::Error::Decode(Box::new(StoreError::corrupt(
            column.table,
            column.name,
            key,
        )))
    })
}

/// `$1, $2, …` for a record of `count` columns.
pub(super) const fn placeholders(count: usize) -> &'static str {
    const ALL: &str = "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24";
    let (bytes, mut at, mut left) = (ALL.as_bytes(), 0, count);
    while at < bytes.len() {
        if bytes[at] == b',' {
            left -= 1;
            if left == 0 {
                return ALL.split_at(at).0;
            }
        }
        at += 1;
    }
    assert!(left == 1, "the list of placeholders is too short");
    ALL
}

/// A struct that is stored as one row.
pub(super) trait Record {
    /// The columns, for a SELECT or an INSERT.
    const COLUMNS: &str;
    /// `$1, $2, …` for the VALUES of an INSERT.
    const PLACEHOLDERS: &str;
}

/// A record whose fields can be bound to a statement, in the order of its columns.
pub(super) trait Bind<DB: Database> {
    fn bind_to<'q>(&self, query: Query<'q, DB, DB::Arguments>) -> Query<'q, DB, DB::Arguments>;
}

/// A record that is also read from joins.
pub(super) trait JoinedRecord {
    /// The SELECT list for a join that names the table by its alias; each column's name gets the
    /// record's prefix.
    const JOINED: &str;
}

/// Reads a record from a row of a join.
pub(super) trait ReadJoined<R>: Sized {
    fn read_joined(row: &R) -> sqlx::Result<Self>;
}

/// Makes a struct a [`Record`]: `record!(User, "users", key id, as "u" "user_", { id, email, … })`.
/// `as` gives the alias and the prefix of a [`JoinedRecord`].
macro_rules! record {
    ($record:ident, $table:literal, key $key:ident, $(as $alias:literal $prefix:literal,)? { $($field:ident),* $(,)? }) => {
        $crate::store::record::record!(@list $record, { $($field),* });
        $crate::store::record::record!(@engine $record, $table, $key, sqlx::Sqlite, sqlx::sqlite::SqliteRow, { $($field),* });
        $crate::store::record::record!(@engine $record, $table, $key, sqlx::Postgres, sqlx::postgres::PgRow, { $($field),* });
        $crate::store::record::record!(@joined $record, $table, $key, $($alias $prefix,)? { $($field),* });
    };
    (@list $record:ident, { $first:ident $(, $field:ident)* }) => {
        impl $crate::store::record::Record for $record {
            const COLUMNS: &str = concat!(stringify!($first) $(, ", ", stringify!($field))*);
            const PLACEHOLDERS: &str = $crate::store::record::placeholders(
                [stringify!($first) $(, stringify!($field))*].len(),
            );
        }
    };
    (@engine $record:ident, $table:literal, $key:ident, $engine:ty, $row:ty, { $($field:ident),* }) => {
        impl sqlx::FromRow<'_, $row> for $record {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                Ok(Self {
                    $($field: $crate::store::record::read(row, $crate::store::record::ColumnRef {
                        table: $table,
                        name: stringify!($field),
                        selected_as: stringify!($field),
                        key: stringify!($key),
                    })?,)*
                })
            }
        }

        impl $crate::store::record::Bind<$engine> for $record {
            fn bind_to<'q>(
                &self,
                query: sqlx::query::Query<'q, $engine, <$engine as sqlx::Database>::Arguments>,
            ) -> sqlx::query::Query<'q, $engine, <$engine as sqlx::Database>::Arguments> {
                query$(.bind($crate::store::record::Column::to_sql(&self.$field)))*
            }
        }
    };
    (@joined $record:ident, $table:literal, $key:ident, { $($field:ident),* }) => {};
    (@joined $record:ident, $table:literal, $key:ident, $alias:literal $prefix:literal, { $first:ident $(, $field:ident)* }) => {
        impl $crate::store::record::JoinedRecord for $record {
            const JOINED: &str = concat!(
                $alias, ".", stringify!($first), " AS ", $prefix, stringify!($first)
                $(, ", ", $alias, ".", stringify!($field), " AS ", $prefix, stringify!($field))*
            );
        }
        $crate::store::record::record!(@read_joined $record, $table, $key, $prefix, sqlx::sqlite::SqliteRow, { $first $(, $field)* });
        $crate::store::record::record!(@read_joined $record, $table, $key, $prefix, sqlx::postgres::PgRow, { $first $(, $field)* });
    };
    (@read_joined $record:ident, $table:literal, $key:ident, $prefix:literal, $row:ty, { $($field:ident),* }) => {
        impl $crate::store::record::ReadJoined<$row> for $record {
            fn read_joined(row: &$row) -> sqlx::Result<Self> {
                Ok(Self {
                    $($field: $crate::store::record::read(row, $crate::store::record::ColumnRef {
                        table: $table,
                        name: stringify!($field),
                        selected_as: concat!($prefix, stringify!($field)),
                        key: concat!($prefix, stringify!($key)),
                    })?,)*
                })
            }
        }
    };
}

pub(super) use record;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_as_many_as_columns() {
        assert_eq!(placeholders(1), "$1");
        assert_eq!(placeholders(3), "$1, $2, $3");
        assert!(placeholders(24).ends_with(", $24"));
    }
}
