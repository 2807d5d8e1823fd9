//! Listings: the keys of a bucket in memory, in the order of their bytes, and a page of them.

use std::collections::BTreeMap;

/// What a listing tells of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    pub(super) bytes: u64,
    pub(super) put_at: i64,
    pub(super) etag: String,
}

/// Keys as bytes: `from` of a query need not end at the end of a character.
pub(super) type Index = BTreeMap<Vec<u8>, Listed>;

/// What is asked for.
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    /// Not empty.
    pub(super) delimiter: Option<&'a str>,
    /// No key before this one.
    pub(super) from: Vec<u8>,
    pub(super) limit: usize,
}

/// A part of the answer, in the order of keys.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Row {
    Object(String, Listed),
    /// All keys that begin so, up to and with the delimiter.
    Prefix(String),
}

/// The `from` that leaves out this key and what stands before it.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The first that begins with no such prefix, and comes after all that do: no byte of UTF-8 is 255.
fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    if let Some(last) = next.last_mut() {
        *last += 1;
    }
    next
}

/// At most `limit` rows, and the `from` of the next page if there is more.
pub(super) fn page(index: &Index, query: &Query<'_>) -> (Vec<Row>, Option<Vec<u8>>) {
    let prefix = query.prefix.as_bytes();
    let mut from = query.from.clone().max(prefix.to_vec());
    let mut rows = Vec::new();
    while let Some((key, listed)) = index.range(from.clone()..).next().filter(|(key, _)| key.starts_with(prefix)) {
        if rows.len() >= query.limit {
            return (rows, Some(from).filter(|_| query.limit > 0));
        }
        match query.delimiter.and_then(|delimiter| folder(key, prefix.len(), delimiter.as_bytes())) {
            Some(folder) => {
                from = after_all(folder);
                rows.push(Row::Prefix(text(folder)));
            }
            None => {
                from = after(key);
                rows.push(Row::Object(text(key), listed.clone()));
            }
        }
    }
    (rows, None)
}

/// The key up to the first delimiter behind the prefix.
fn folder<'a>(key: &'a [u8], prefix: usize, delimiter: &[u8]) -> Option<&'a [u8]> {
    let at = key[prefix..].windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(&key[..prefix + at + delimiter.len()])
}

/// Keys were text, and a delimiter cuts them between characters.
fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEYS: [&str; 9] = ["a", "a!", "a/", "a/b/c", "a/b/d", "a/é", "a0", "b/x", "é/1"];

    fn index() -> Index {
        let listed = |n| Listed { bytes: n, put_at: 0, etag: String::new() };
        (0..).zip(KEYS).map(|(n, key)| (key.as_bytes().to_vec(), listed(n))).collect()
    }

    /// All pages of a listing, each at most this long; common prefixes in brackets.
    fn all(prefix: &str, delimiter: Option<&str>, start_after: &str, limit: usize) -> Vec<String> {
        let (index, mut found) = (index(), Vec::new());
        let mut from = if start_after.is_empty() { Vec::new() } else { after(start_after.as_bytes()) };
        loop {
            let (rows, next) = page(&index, &Query { prefix, delimiter, from: from.clone(), limit });
            assert!(rows.len() <= limit && (next.is_none() || rows.len() == limit));
            found.extend(rows.into_iter().map(|row| match row {
                Row::Object(key, _) => key,
                Row::Prefix(prefix) => format!("[{prefix}]"),
            }));
            match next {
                Some(next) => from = next,
                None => return found,
            }
        }
    }

    #[test]
    fn pages_of_any_length_hold_the_same_as_a_plain_walk() {
        for prefix in ["", "a", "a/", "a/b", "é", "b/x", "zz"] {
            for start_after in ["", "a", "a/b/c", "a/zz", "b", "é/1", "é"] {
                let plain: Vec<&str> =
                    KEYS.into_iter().filter(|key| key.starts_with(prefix) && *key > start_after).collect();
                let mut folded: Vec<String> = Vec::new();
                for key in &plain {
                    let row = match key[prefix.len()..].find('/') {
                        Some(at) => format!("[{}]", &key[..=prefix.len() + at]),
                        None => (*key).to_owned(),
                    };
                    if folded.last() != Some(&row) {
                        folded.push(row);
                    }
                }
                for limit in 1..=10 {
                    assert_eq!(all(prefix, None, start_after, limit), plain, "{prefix} {start_after} {limit}");
                    assert_eq!(all(prefix, Some("/"), start_after, limit), folded, "{prefix} {start_after} {limit}");
                }
            }
        }
    }

    #[test]
    fn a_page_of_no_rows_says_that_there_are_no_more() {
        let query = Query { prefix: "", delimiter: None, from: Vec::new(), limit: 0 };
        assert_eq!(page(&index(), &query), (Vec::new(), None));
    }
}
