//! What the services say to each other: the messages of `proto/`, and their conversion from and to the domain.
//!
//! Decoding is total and strict: bytes that are no valid message of the domain are a [`WireError`] that says which field
//! is wrong, never a default that looks like data.

mod convert;

pub use convert::SentEvent;

/// The generated messages, one to one with `proto/porchlight/v1`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/porchlight.v1.rs"));
}

use prost::Message;

/// Bytes that are no valid message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not protobuf.
    #[error("not a message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A field's value means nothing in the domain.
    #[error("field {0} is missing or out of range")]
    Field(&'static str),
}

/// A domain type that has a form on the wire.
pub trait Wire: Sized {
    /// The message that carries it.
    type Message: Message + Default;

    /// Into the message.
    fn to_message(&self) -> Self::Message;

    /// Out of the message.
    ///
    /// # Errors
    /// [`WireError::Field`] names the first field that means nothing.
    fn from_message(message: Self::Message) -> Result<Self, WireError>;

    /// The bytes of a record's value.
    fn encode(&self) -> Vec<u8> {
        self.to_message().encode_to_vec()
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// As [`Wire::from_message`], and [`WireError::Malformed`] for bytes that are no protobuf.
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_message(Self::Message::decode(bytes)?)
    }
}

/// A neighborhood's polygon at one version, as it travels: rings of integer points, not yet an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighborhoodRecord {
    /// Which neighborhood.
    pub id: porchlight_domain::NeighborhoodId,
    /// What people call it.
    pub name: String,
    /// Parts, each a shell followed by its holes; rings without the repeated last vertex.
    pub parts: Vec<Vec<Vec<porchlight_domain::Point>>>,
    /// Gone: nobody is in it any more.
    pub deleted: bool,
    /// The row's version.
    pub version: porchlight_domain::Version,
    /// When this version was written.
    pub updated_at: porchlight_domain::Timestamp,
}
