//! A client of server-sent events.

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use serde_json::Value;

/// One block of a stream.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    Retry(String),
    Comment(String),
    Item { cursor: String, view: Value },
    Resync,
    Closed(String),
}

impl Event {
    fn parse(block: &str) -> Self {
        let field = |name: &str| {
            let mut lines = block.lines().filter_map(|line| line.strip_prefix(name)).map(|value| value.trim_start());
            let value = lines.next();
            assert!(lines.next().is_none(), "a field stands twice: {block}");
            value
        };
        let data = || serde_json::from_str::<Value>(field("data:").expect("data")).expect("JSON");
        match field("event:") {
            None => match field("retry:") {
                Some(ms) => Self::Retry(ms.to_owned()),
                None => Self::Comment(block.strip_prefix(':').expect("a comment").trim().to_owned()),
            },
            Some("item") => Self::Item { cursor: field("id:").expect("a cursor").to_owned(), view: data() },
            Some("resync") => Self::Resync,
            Some("closed") => Self::Closed(data()["reason"].as_str().expect("a reason").to_owned()),
            Some(other) => panic!("an unknown event: {other}"),
        }
    }
}

/// An open stream. It ends when it is dropped.
pub struct Events {
    chunks: BoxStream<'static, Bytes>,
    text: String,
}

impl Events {
    pub fn of(body: Body) -> Self {
        Self::read(body.into_data_stream().map(Result::unwrap))
    }

    pub fn read(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self { chunks: chunks.boxed(), text: String::new() }
    }

    /// The next block; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = Event::parse(block);
                self.text = rest.to_owned();
                return Some(event);
            }
            match self.chunks.next().await {
                Some(chunk) => self.text += std::str::from_utf8(&chunk).unwrap(),
                None => {
                    assert!(self.text.is_empty(), "the end is within an event");
                    return None;
                }
            }
        }
    }

    /// What stands before it is live.
    pub async fn until_live(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.next().await.expect("it goes on") {
                Event::Comment(comment) if comment == "live" => return events,
                event => events.push(event),
            }
        }
    }

    /// The next item, whatever heartbeats come before: its cursor and view.
    pub async fn item(&mut self) -> (String, Value) {
        loop {
            match self.next().await.expect("it goes on") {
                Event::Item { cursor, view } => return (cursor, view),
                Event::Comment(_) | Event::Retry(_) => {}
                other => panic!("no item: {other:?}"),
            }
        }
    }

    /// The next items: of each, id and revision.
    pub async fn items(&mut self, count: usize) -> Vec<(String, u64)> {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(named(&self.item().await.1));
        }
        items
    }
}

/// By what a client recognizes what it has.
pub fn named(view: &Value) -> (String, u64) {
    (view["id"].as_str().unwrap().to_owned(), view["revision"].as_u64().unwrap())
}
