//! The names of items, alerts and media, derived as documented: UUIDv5 of a kind and of length-prefixed parts.

use uuid::Uuid;

const NAMESPACE: &str = "706f7263-686c-5067-8874-2e7631000001";

fn derived(kind: &str, parts: &[&[u8]]) -> Uuid {
    let namespace = NAMESPACE.parse().expect("a literal");
    let mut name = kind.as_bytes().to_vec();
    for part in parts {
        name.extend((part.len() as u64).to_be_bytes());
        name.extend(*part);
    }
    Uuid::new_v5(&namespace, &name)
}

/// The item that this event of this device opens.
pub(crate) fn item(device: Uuid, event: Uuid) -> Uuid {
    derived("item", &[device.as_bytes(), event.as_bytes()])
}

/// The alert of an item.
pub(crate) fn alert(item: Uuid) -> Uuid {
    derived("alert", &[item.as_bytes()])
}

/// The clip or thumbnail of an event with this content. Panics if `sha256` is not hexadecimal.
pub(crate) fn media(device: Uuid, event: Uuid, kind: &str, sha256: &str) -> Uuid {
    let byte = |at: usize| u8::from_str_radix(&sha256[at..at + 2], 16).expect("a SHA-256 in hexadecimal");
    let hash: Vec<u8> = (0..64).step_by(2).map(byte).collect();
    derived("media", &[device.as_bytes(), event.as_bytes(), kind.as_bytes(), &hash])
}
