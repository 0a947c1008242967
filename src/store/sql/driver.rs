//! [`Driver`]: running statements on any database of sqlx.

use std::future::Future;

use sqlx::{
    ColumnIndex, Database, Decode, Either, Executor, IntoArguments, Pool, QueryBuilder, Row as _, SqlSafeStr as _,
    Statement as _, Type,
};

use crate::error::BoxError;

/// Runs statements and reads values. Implemented for every database of sqlx, so that the bounds that this needs are written
/// once.
pub trait Driver: Database {
    /// Returns the rows of a query.
    fn rows(
        pool: &Pool<Self>,
        query: QueryBuilder<Self>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// Runs a statement that returns no rows.
    fn execute(
        connection: &mut Self::Connection,
        query: QueryBuilder<Self>,
    ) -> impl Future<Output = Result<Self::QueryResult, sqlx::Error>> + Send;

    /// Prepares a statement without running it, and returns the number of its parameters.
    fn prepare(pool: &Pool<Self>, query: QueryBuilder<Self>)
    -> impl Future<Output = Result<usize, sqlx::Error>> + Send;

    /// Reads a value that must not be NULL. Reads an `Option`, because sqlx decodes NULL as zero or as an empty string.
    fn value<'r, T>(row: &'r Self::Row, column: usize) -> Result<T, BoxError>
    where
        T: Decode<'r, Self> + Type<Self>;

    /// Reads a boolean that must not be NULL.
    fn boolean(row: &Self::Row, column: usize) -> Result<bool, BoxError>;

    /// Reads bytes, or `None` for NULL.
    fn read_bytes(row: &Self::Row, column: usize) -> Result<Option<Vec<u8>>, BoxError>;
}

impl<D> Driver for D
where
    D: Database,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
    usize: ColumnIndex<D::Row>,
    for<'r> bool: Decode<'r, D> + Type<D>,
    for<'r> Vec<u8>: Decode<'r, D> + Type<D>,
{
    async fn rows(pool: &Pool<D>, mut query: QueryBuilder<D>) -> Result<Vec<D::Row>, sqlx::Error> {
        query.build().fetch_all(pool).await
    }

    async fn execute(
        connection: &mut D::Connection,
        mut query: QueryBuilder<D>,
    ) -> Result<D::QueryResult, sqlx::Error> {
        query.build().execute(connection).await
    }

    async fn prepare(pool: &Pool<D>, query: QueryBuilder<D>) -> Result<usize, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        let statement = connection.prepare(query.into_sql().into_sql_str()).await?;
        Ok(match statement.parameters() {
            Some(Either::Left(types)) => types.len(),
            Some(Either::Right(count)) => count,
            None => 0,
        })
    }

    fn value<'r, T>(row: &'r D::Row, column: usize) -> Result<T, BoxError>
    where
        T: Decode<'r, D> + Type<D>,
    {
        row.try_get::<Option<T>, _>(column)?.ok_or_else(|| format!("NULL in column {column}").into())
    }

    fn boolean(row: &D::Row, column: usize) -> Result<bool, BoxError> {
        Self::value(row, column)
    }

    fn read_bytes(row: &D::Row, column: usize) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(row.try_get(column)?)
    }
}
