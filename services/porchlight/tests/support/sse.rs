//! A client of the feed's stream (server-sent events, WHATWG HTML 9.2), as an app would have: it keeps the last id, resumes
//! from it, and drops what it has by (id, revision).

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use porchlight::city::people::Resident;
use reqwest::header::ACCEPT;
use serde_json::Value;

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

/// One connection.
pub struct Connection {
    bytes: BoxStream<'static, Vec<u8>>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a stream; `Err` with the status if it is refused.
    pub async fn open(base: &str, token: &str, last_event_id: Option<&str>) -> Result<Self, u16> {
        Self::open_by(&reqwest::Client::new(), base, token, last_event_id).await
    }

    /// Opens one of many.
    pub async fn open_by(
        http: &reqwest::Client,
        base: &str,
        token: &str,
        last_event_id: Option<&str>,
    ) -> Result<Self, u16> {
        let mut request = http.get(format!("{base}/v1/feed/stream")).bearer_auth(token);
        request = request.header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.map_err(|_| 0_u16)?;
        if !answer.status().is_success() {
            return Err(answer.status().as_u16());
        }
        let bytes = answer.bytes_stream().take_while(|chunk| std::future::ready(chunk.is_ok()));
        let bytes = bytes.map(|chunk| chunk.map(|b| b.to_vec()).unwrap_or_default());
        Ok(Self { bytes: bytes.boxed(), buffer: Vec::new() })
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let event = read(&String::from_utf8_lossy(&block));
                if !event.name.is_empty() {
                    return Some(event);
                }
                continue;
            }
            self.buffer.extend(self.bytes.next().await?);
        }
    }

    /// The next event within a time; `None` if none comes.
    pub async fn within(&mut self, time: Duration) -> Option<Event> {
        tokio::time::timeout(time, self.next()).await.ok().flatten()
    }
}

fn read(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.name = value.to_owned(),
            "id" => event.id = value.to_owned(),
            "data" => event.data = serde_json::from_str(value).unwrap_or(Value::Null),
            _ => {}
        }
    }
    event
}

/// What an app has of a stream, over any number of connections.
#[derive(Default)]
pub struct App {
    pub last_event_id: Option<String>,
    /// What was shown, in its order, repeats dropped.
    pub shown: Vec<Value>,
    /// How many of its connections were dropped without a word.
    pub kills: usize,
    /// How many repeats were dropped.
    pub repeats: usize,
    have: BTreeMap<(String, u64), ()>,
}

impl App {
    /// Takes an event of a connection.
    pub fn take(&mut self, event: Event) {
        if event.name != "item" {
            return;
        }
        self.last_event_id = Some(event.id);
        let id = event.data["id"].as_str().unwrap_or_default().to_owned();
        let revision = event.data["revision"].as_u64().unwrap_or_default();
        if self.have.insert((id, revision), ()).is_none() {
            self.shown.push(event.data);
        } else {
            self.repeats += 1;
        }
    }

    /// Opens a connection where the app was.
    pub async fn connect(&self, base: &str, resident: &Resident) -> Result<Connection, u16> {
        Connection::open(base, resident.app.token(), self.last_event_id.as_deref()).await
    }
}
