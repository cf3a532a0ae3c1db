//! Statements over sets of rows. Each comes in three fixed sizes, so that an engine prepares it three times and never again.

/// Rows of one statement, largest first.
const SIZES: [usize; 3] = [64, 8, 1];

/// One statement in its three sizes.
pub(super) struct Sets([(usize, String); 3]);

impl Sets {
    /// `INSERT INTO table (columns) VALUES ..`, and what follows.
    pub(super) fn insert(table: &str, columns: &[&str], then: &str) -> Self {
        let head = format!("INSERT INTO {table} ({})", columns.join(", "));
        Self::sized(|size| format!("{head} VALUES {} {then}", rows(size, columns.len())))
    }

    /// `UPDATE table SET ..` from rows of `columns`, which the guard and the assignments call `v.column`. The first `guards` of them
    /// serve only the guard.
    pub(super) fn update(table: &str, columns: &[&str], guards: usize, guard: &str) -> Self {
        let named = columns.iter().enumerate().map(|(n, column)| format!("column{} AS {column}", n + 1));
        let named = named.collect::<Vec<_>>().join(", ");
        let set = columns.iter().skip(guards).map(|column| format!("{column} = v.{column}"));
        let set = set.collect::<Vec<_>>().join(", ");
        Self::sized(|size| {
            let rows = rows(size, columns.len());
            format!("UPDATE {table} SET {set} FROM (SELECT {named} FROM (VALUES {rows}) AS x) AS v WHERE {guard}")
        })
    }

    /// `head (key IN (..)) tail` for keys of one column or several.
    pub(super) fn select(head: &str, key: &[&str], tail: &str) -> Self {
        Self::sized(|size| match key {
            [one] => {
                let keys = (1..=size).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
                format!("{head} {one} IN ({keys}) {tail}")
            }
            several => {
                let rows = rows(size, several.len());
                format!("{head} ({}) IN (VALUES {rows}) {tail}", several.join(", "))
            }
        })
    }

    fn sized(text: impl Fn(usize) -> String) -> Self {
        Self(SIZES.map(|size| (size, text(size))))
    }

    /// Cuts rows into statements that they fill.
    pub(super) fn cut<'s, T>(&'s self, mut rest: &'s [T]) -> impl Iterator<Item = (&'s str, &'s [T])> {
        std::iter::from_fn(move || {
            let (size, sql) = self.0.iter().find(|(size, _)| rest.len() >= *size)?;
            let (rows, more) = rest.split_at(*size);
            rest = more;
            Some((sql.as_str(), rows))
        })
    }

    /// Cuts keys into as few statements as hold them; what is left of a statement is filled with its last key, which changes nothing.
    pub(super) fn padded<'s, T: Clone>(&'s self, keys: &'s [T]) -> impl Iterator<Item = (&'s str, Vec<T>)> {
        keys.chunks(SIZES[0]).filter_map(|chunk| {
            let (size, sql) = self.0.iter().rev().find(|(size, _)| chunk.len() <= *size)?;
            let mut keys = chunk.to_vec();
            keys.resize(*size, chunk.last()?.clone());
            Some((sql.as_str(), keys))
        })
    }
}

/// `($1, $2), ($3, $4)`: `size` rows of `width` places.
fn rows(size: usize, width: usize) -> String {
    let row = |n: usize| (1..=width).map(|c| format!("${}", n * width + c)).collect::<Vec<_>>().join(", ");
    (0..size).map(|n| format!("({})", row(n))).collect::<Vec<_>>().join(", ")
}

/// Binds values to a query, in order.
macro_rules! bind {
    ($query:expr, $($value:expr),+ $(,)?) => { $query$(.bind($value))+ };
}

/// Runs a statement for all rows; answers how many it has changed.
macro_rules! execute_all {
    ($db:expr, $sets:expr, $rows:expr, $row:pat => $($value:expr),+ $(,)?) => {{
        let mut changed = 0;
        for (sql, rows) in $sets.cut($rows) {
            changed += on!($db, c => {
                let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
                for $row in rows {
                    query = bind!(query, $($value),+);
                }
                query.execute(c).await.map(|done| done.rows_affected())
            })?;
        }
        changed
    }};
}

/// Fetches what a statement finds for all keys.
macro_rules! fetch_all {
    ($db:expr, $sets:expr, $keys:expr, $key:pat => $($value:expr),+ $(,)?) => {{
        let mut found = Vec::new();
        for (sql, keys) in $sets.padded($keys) {
            found.extend(on!($db, c => {
                let mut query = sqlx::query_as(sqlx::AssertSqlSafe(sql));
                for $key in &keys {
                    query = bind!(query, $($value),+);
                }
                query.fetch_all(c).await
            })?);
        }
        found
    }};
}

#[cfg(test)]
mod tests {
    use super::{Sets, rows};

    #[test]
    fn rows_are_cut_into_statements_that_they_fill() {
        let sets = Sets::insert("t", &["a", "b"], "");
        let sizes = |n: usize| sets.cut(&vec![(); n]).map(|(_, rows)| rows.len()).collect::<Vec<_>>();
        assert_eq!(sizes(0), Vec::<usize>::new());
        assert_eq!(sizes(3), [1, 1, 1]);
        assert_eq!(sizes(75), [64, 8, 1, 1, 1]);
    }

    #[test]
    fn keys_are_filled_up_with_the_last() {
        let sets = Sets::select("SELECT * FROM t WHERE", &["id"], "");
        let padded: Vec<_> = sets.padded(&(0..67).collect::<Vec<_>>()).map(|(_, keys)| keys).collect();
        assert_eq!(padded.len(), 2);
        assert_eq!(padded[0], (0..64).collect::<Vec<_>>());
        assert_eq!(padded[1], [64, 65, 66, 66, 66, 66, 66, 66]);
    }

    #[test]
    fn texts_number_their_places_through() {
        assert_eq!(rows(2, 2), "($1, $2), ($3, $4)");
        let sets = Sets::update("t", &["id", "seen", "a"], 2, "t.id = v.id AND t.version = v.seen");
        let (sql, _) = sets.cut(&[()]).next().unwrap();
        assert_eq!(
            sql,
            "UPDATE t SET a = v.a FROM (SELECT column1 AS id, column2 AS seen, column3 AS a FROM (VALUES ($1, $2, $3)) AS x) AS v \
             WHERE t.id = v.id AND t.version = v.seen"
        );
    }
}
