//! The names of items and alerts, derived as documented: UUIDv5 of a kind and of length-prefixed parts.

use uuid::Uuid;

const NAMESPACE: &str = "706f7263-686c-5067-8874-2e7631000001";

fn derived(kind: &str, parts: &[Uuid]) -> Uuid {
    let namespace = NAMESPACE.parse().expect("a literal");
    let mut name = kind.as_bytes().to_vec();
    for part in parts {
        name.extend(16_u64.to_be_bytes());
        name.extend(part.into_bytes());
    }
    Uuid::new_v5(&namespace, &name)
}

/// The item that this event of this device opens.
pub(crate) fn item(device: Uuid, event: Uuid) -> Uuid {
    derived("item", &[device, event])
}

/// The alert of an item.
pub(crate) fn alert(item: Uuid) -> Uuid {
    derived("alert", &[item])
}
