//! The rows of tables as the database holds them: with write times, and with the moments at which they end.

use std::collections::BTreeMap;

use porchlight_store::{CqlConfig, testing};
use serde_json::{Map, Value};

/// The tables that geo-index alone writes.
pub const OF_GEO_INDEX: [&str; 6] = ["event_seen", "items", "last_items", "feeds", "media", "media_by_event"];
/// Those that others write: people and what is theirs, polygons, who was told.
pub const OF_OTHERS: [&str; 11] = [
    "residents",
    "households",
    "homes",
    "homes_by_cell",
    "pending_homes",
    "devices",
    "neighborhoods",
    "neighborhood_versions",
    "operators",
    "push_ledger",
    "pushes_by_alert",
];
/// What a time to live may be off by: the database counts whole seconds.
const ROUNDING_S: i64 = 2;

/// A row: what it says, and when each of its columns was written and ends.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub values: Map<String, Value>,
    /// Microseconds, as the writer said.
    pub written_at: BTreeMap<String, Option<i64>>,
    /// Seconds since the Unix epoch.
    pub ends: BTreeMap<String, Option<i64>>,
}

/// All rows by table and key.
#[derive(Clone, PartialEq, Debug)]
pub struct Dump(pub BTreeMap<&'static str, BTreeMap<String, Row>>);

impl Dump {
    /// Of geo-index's tables.
    pub async fn take(cql: &CqlConfig) -> Self {
        Self::of(&OF_GEO_INDEX, cql).await
    }

    pub async fn of(names: &[&'static str], cql: &CqlConfig) -> Self {
        let mut tables = BTreeMap::new();
        for table in names {
            tables.insert(*table, rows(cql, table).await);
        }
        Self(tables)
    }

    pub fn table(&self, table: &str) -> &BTreeMap<String, Row> {
        &self.0[table]
    }

    /// Each outcome of an event as it was `before`; those of news that a replay found to be over are taken for what they were.
    pub fn with_outcomes_of(mut self, before: &Self) -> Self {
        for (key, row) in self.0.get_mut("event_seen").expect("the table") {
            let was = &before.table("event_seen")[key].values["outcome"];
            let tells = was == "alerted" || was == "household_only";
            assert!(
                row.values["outcome"] == *was || (tells && row.values["outcome"] == "expired"),
                "{key} {was} {row:?}"
            );
            row.values.insert("outcome".into(), was.clone());
        }
        self
    }

    /// The same rows, word for word and written as of the same times; none ends later or earlier.
    pub fn assert_same(&self, before: &Self) {
        for (table, then) in &before.0 {
            let now = self.table(table);
            let keys = |rows: &BTreeMap<String, Row>| rows.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(now), keys(then), "{table}");
            for (key, row) in now {
                let was = &then[key];
                assert_eq!(row.values, was.values, "{table} {key}");
                assert_eq!(row.written_at, was.written_at, "{table} {key}");
                for (column, ends) in &row.ends {
                    match (ends, was.ends[column]) {
                        (Some(ends), Some(ended)) => {
                            assert!((ends - ended).abs() <= ROUNDING_S, "{table} {key} {column}: {ends} {ended}");
                        }
                        (ends, ended) => assert_eq!(*ends, ended, "{table} {key} {column}"),
                    }
                }
            }
        }
    }
}

/// Runs a statement, and expects it to be taken.
pub async fn cql(config: &CqlConfig, statement: &str) -> Vec<String> {
    testing::cql(config, statement).await.expect("a statement of this test")
}

async fn rows(config: &CqlConfig, table: &str) -> BTreeMap<String, Row> {
    let keyspace = &config.keyspace;
    let described = format!(
        "SELECT JSON column_name, kind FROM system_schema.columns WHERE keyspace_name = '{keyspace}' AND table_name = '{table}'"
    );
    let (mut keys, mut regular) = (Vec::new(), Vec::new());
    for column in cql(config, &described).await {
        let column: Value = serde_json::from_str(&column).expect("JSON");
        let name = column["column_name"].as_str().expect("a name").to_owned();
        if column["kind"] == "regular" { regular.push(name) } else { keys.push(name) }
    }
    assert!(!keys.is_empty(), "{table} is there");
    let of_columns: String =
        regular.iter().map(|c| format!(", {c}, TTL({c}) AS ttl_{c}, WRITETIME({c}) AS written_{c}")).collect();
    let keys = keys.join(", ");
    let all = format!("SELECT JSON {keys}{of_columns}, toUnixTimestamp(now()) AS asked_at FROM {table}");
    let mut found = BTreeMap::new();
    for text in cql(config, &all).await {
        let mut values: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        let mut take = |name: &str| values.remove(name).and_then(|value| value.as_i64());
        let asked_at_s = take("asked_at").expect("a time") / 1000;
        let mut row = Row { values: Map::new(), written_at: BTreeMap::new(), ends: BTreeMap::new() };
        for column in &regular {
            row.ends.insert(column.clone(), take(&format!("ttl_{column}")).map(|ttl| asked_at_s + ttl));
            row.written_at.insert(column.clone(), take(&format!("written_{column}")));
        }
        let key: Vec<String> = keys.split(", ").map(|key| values[key].to_string()).collect();
        row.values = values;
        found.insert(key.join(" "), row);
    }
    found
}
