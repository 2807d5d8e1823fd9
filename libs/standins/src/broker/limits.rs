//! What a deployment on the embedded broker is told, and what it cannot do: all of it is here, and `DESIGN.md` says why.
//! `libs/bus/tests/embedded_limits.rs` shows what happens to whoever does not keep to it.

/// How many partitions a topic has. Its consumers are in the same process, so that more of them make nothing faster; two
/// keep what is said of the order of keys and of shares worth saying.
pub const PARTITIONS: i32 = 2;

/// How long a fetch may wait for data. An answer comes as soon as something is written, so this is not what records wait
/// for; but one connection's requests are answered in turn, and each question behind a fetch waits for it.
pub const FETCH_WAIT_MS: u64 = 100;

/// The lines of a service's `[kafka]` section, besides the address.
pub fn kafka_lines() -> String {
    // The newer protocol of groups is not spoken.
    format!("group_protocol = \"classic\"\nfetch_wait_ms = {FETCH_WAIT_MS}\n")
}
