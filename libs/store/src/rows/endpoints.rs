//! The endpoints of a resident as one column: protobuf, so that fields can be added. They are secrets: neither message
//! can be printed.

use porchlight_domain::{ChosenId, Endpoint, EndpointId, Timestamp, Transport};
use prost::Message;
use uuid::Uuid;

use super::corrupt;
use crate::StoreError;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredEndpoints {
    #[prost(message, repeated, tag = "1")]
    endpoints: Vec<StoredEndpoint>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredEndpoint {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    chosen: Vec<u8>,
    /// Milliseconds.
    #[prost(int64, tag = "3")]
    registered_at_ms: i64,
    #[prost(enumeration = "How", tag = "4")]
    how: i32,
    /// The URL of a push resource, or a token.
    #[prost(string, tag = "5")]
    address: String,
    /// Web Push only.
    #[prost(bytes = "vec", tag = "6")]
    p256dh: Vec<u8>,
    /// Web Push only.
    #[prost(bytes = "vec", tag = "7")]
    auth: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, prost::Enumeration)]
#[repr(i32)]
enum How {
    /// Never written.
    Unspecified = 0,
    WebPush = 1,
    Fcm = 2,
    Apns = 3,
    ApnsSandbox = 4,
}

impl std::fmt::Debug for StoredEndpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredEndpoints({})", self.endpoints.len())
    }
}

impl std::fmt::Debug for StoredEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredEndpoint(..)")
    }
}

/// Into the column.
pub(crate) fn encode(endpoints: &[Endpoint]) -> Vec<u8> {
    StoredEndpoints { endpoints: endpoints.iter().map(store).collect() }.encode_to_vec()
}

/// Out of the column.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Endpoint>, StoreError> {
    let stored = StoredEndpoints::decode(bytes).ok();
    let endpoints: Option<Vec<_>> = stored.and_then(|s| s.endpoints.into_iter().map(load).collect());
    endpoints.ok_or_else(|| corrupt("residents", "endpoints"))
}

fn store(endpoint: &Endpoint) -> StoredEndpoint {
    let (how, address, p256dh, auth) = match &endpoint.transport {
        Transport::WebPush { url, p256dh, auth } => (How::WebPush, url, p256dh.clone(), auth.clone()),
        Transport::Fcm { token } => (How::Fcm, token, Vec::new(), Vec::new()),
        Transport::Apns { token, sandbox: false } => (How::Apns, token, Vec::new(), Vec::new()),
        Transport::Apns { token, sandbox: true } => (How::ApnsSandbox, token, Vec::new(), Vec::new()),
    };
    StoredEndpoint {
        id: endpoint.id.0.as_bytes().to_vec(),
        chosen: endpoint.chosen.0.as_bytes().to_vec(),
        registered_at_ms: endpoint.registered_at.0,
        how: how.into(),
        address: address.clone(),
        p256dh,
        auth,
    }
}

fn load(stored: StoredEndpoint) -> Option<Endpoint> {
    let how = How::try_from(stored.how).ok()?;
    let token = stored.address;
    Some(Endpoint {
        id: EndpointId(Uuid::from_slice(&stored.id).ok()?),
        chosen: ChosenId(Uuid::from_slice(&stored.chosen).ok()?),
        registered_at: Timestamp(stored.registered_at_ms),
        transport: match how {
            How::Unspecified => return None,
            How::WebPush => Transport::WebPush { url: token, p256dh: stored.p256dh, auth: stored.auth },
            How::Fcm => Transport::Fcm { token },
            How::Apns => Transport::Apns { token, sandbox: false },
            How::ApnsSandbox => Transport::Apns { token, sandbox: true },
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn endpoints() -> Vec<Endpoint> {
        let transports = [
            Transport::WebPush { url: "https://push.example/a".into(), p256dh: vec![4; 65], auth: vec![7; 16] },
            Transport::Fcm { token: "a-token".into() },
            Transport::Apns { token: "00ff".into(), sandbox: false },
            Transport::Apns { token: "00ff".into(), sandbox: true },
        ];
        let endpoint = |(i, transport)| Endpoint {
            id: EndpointId(Uuid::from_u128(i)),
            chosen: ChosenId(Uuid::from_u128(100 + i)),
            transport,
            registered_at: Timestamp(5),
        };
        (1..).zip(transports).map(endpoint).collect()
    }

    #[test]
    fn endpoints_survive_their_column() {
        assert_eq!(decode(&encode(&endpoints())).unwrap(), endpoints());
        assert_eq!(decode(&encode(&[])).unwrap(), []);
    }

    #[test]
    fn bytes_that_mean_nothing_are_corrupt() {
        let stored = |change: fn(&mut StoredEndpoint)| {
            let mut endpoint = store(&endpoints()[1]);
            change(&mut endpoint);
            StoredEndpoints { endpoints: vec![endpoint] }.encode_to_vec()
        };
        let broken = [stored(|e| e.how = 0), stored(|e| e.how = 99), stored(|e| e.id.truncate(3)), vec![0xff; 7]];
        for bytes in broken {
            assert!(matches!(decode(&bytes), Err(StoreError::Corrupt { table: "residents", .. })));
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let stored = StoredEndpoints { endpoints: endpoints().iter().map(store).collect() };
        assert_eq!(format!("{stored:?} {:?}", stored.endpoints[1]), "StoredEndpoints(4) StoredEndpoint(..)");
    }
}
