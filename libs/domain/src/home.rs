//! Homes, residents and where their pushes go.

use crate::{ChosenId, EndpointId, HomeId, HouseholdId, Point, ResidentId, Timestamp, Version};

/// How many homes a household may have.
pub const MAX_HOMES: usize = 4;
/// How many residents a household may have.
pub const MAX_RESIDENTS: usize = 16;
/// How many endpoints a resident may have.
pub const MAX_ENDPOINTS: usize = 8;

/// A place where a household lives. It never leaves a service as it is: see [`crate::view::HomeView`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    /// Derived from household and chosen id.
    pub id: HomeId,
    /// The id under which its household knows it.
    pub chosen: ChosenId,
    /// Who lives there.
    pub household: HouseholdId,
    /// What the household calls it.
    pub name: String,
    /// Where it is.
    pub point: Point,
    /// Whether residence was verified. Until then it sees and gets nothing of a neighborhood.
    pub verified: bool,
    /// Moved out: kept as a row so that a stale copy by place is recognized.
    pub deleted: bool,
    /// Since when this place and this state hold.
    pub since: Timestamp,
    /// The row's version.
    pub version: Version,
}

/// A person's account, with all that the moment of sending needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resident {
    /// Derived from issuer and subject.
    pub id: ResidentId,
    /// The household this person belongs to: exactly one.
    pub household: HouseholdId,
    /// Where pushes go; at most [`MAX_ENDPOINTS`].
    pub endpoints: Vec<Endpoint>,
    /// The row's version.
    pub version: Version,
}

/// A phone or browser of a resident.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Derived from resident and chosen id.
    pub id: EndpointId,
    /// The id under which the app knows it.
    pub chosen: ChosenId,
    /// How it is reached.
    pub transport: Transport,
    /// When it was registered last: a provider's older word against it does not count.
    pub registered_at: Timestamp,
}

/// How an endpoint is reached. Tokens and keys are secrets: none is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Transport {
    /// Web Push (RFC 8030, 8291); UnifiedPush speaks it too.
    WebPush {
        /// The push resource, absolute https URL.
        url: String,
        /// The receiver's P-256 public key, uncompressed, 65 bytes.
        p256dh: Vec<u8>,
        /// The receiver's authentication secret, 16 bytes.
        auth: Vec<u8>,
    },
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm {
        /// The registration token.
        token: String,
    },
    /// Apple Push Notification service.
    Apns {
        /// The device token, hexadecimal.
        token: String,
        /// Whether the token belongs to the sandbox environment.
        sandbox: bool,
    },
}

impl Transport {
    /// The word that stands for it in JSON and in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::WebPush { .. } => "webpush",
            Self::Fcm { .. } => "fcm",
            Self::Apns { .. } => "apns",
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport::{}(..)", self.as_str())
    }
}
