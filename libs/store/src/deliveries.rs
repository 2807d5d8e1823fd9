//! Pushes: what was handed over, what was not, and why.

use async_trait::async_trait;
use porchlight_domain::{AlertId, EndpointId, PushId, ResidentId, Timestamp};

use crate::StoreError;

/// What became of one push.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DeliveryOutcome {
    /// A provider took it.
    HandedOver,
    /// The gate refused at the moment of sending.
    NotAllowed,
    /// It was news no more.
    Expired,
    /// The provider said that the endpoint is gone; it was removed.
    EndpointGone,
    /// The provider refused the message for good.
    Refused,
    /// The person had no endpoint. `endpoint` is then the nil id.
    NoEndpoint,
}

impl DeliveryOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::HandedOver, Self::NotAllowed, Self::Expired, Self::EndpointGone, Self::Refused, Self::NoEndpoint];

    /// The outcome that a stored word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// The word that stands for it in rows and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HandedOver => "handed_over",
            Self::NotAllowed => "not_allowed",
            Self::Expired => "expired",
            Self::EndpointGone => "endpoint_gone",
            Self::Refused => "refused",
            Self::NoEndpoint => "no_endpoint",
        }
    }
}

/// How long a push is remembered, milliseconds: seven days from the receipt of the event behind its alert.
pub const LEDGER_MS: i64 = 7 * 86_400_000;

/// When the rows of a push end.
pub(crate) fn ends_at(alert_created_at: Timestamp) -> Timestamp {
    alert_created_at.plus_ms(LEDGER_MS)
}

/// How many of an alert's pushes are read at once; an alert with more is refused by [`Deliveries::of_alert`].
pub const MAX_DELIVERIES_READ: usize = 250_000;

/// One push and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Of (alert, revision, endpoint).
    pub push: PushId,
    /// The alert.
    pub alert: AlertId,
    /// Its revision.
    pub revision: u32,
    /// To whom.
    pub resident: ResidentId,
    /// Where.
    pub endpoint: EndpointId,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Whether the person was told as a neighbor (else as the household).
    pub as_neighbor: bool,
    /// When the alert's event was received: chooses the ledger's partition, so every repeat meets the same one.
    pub alert_created_at: Timestamp,
    /// When this was decided.
    pub at: Timestamp,
}

/// The push ledger (kept for seven days) and its reading by alert.
#[async_trait]
pub trait Deliveries: Send + Sync + 'static {
    /// What became of a push, if it was decided.
    async fn outcome(
        &self,
        push: PushId,
        resident: ResidentId,
        alert_created_at: Timestamp,
    ) -> Result<Option<DeliveryOutcome>, StoreError>;
    /// Records what became of a push, in the ledger and by alert.
    async fn record(&self, delivery: &Delivery) -> Result<(), StoreError>;
    /// All that is known of an alert's pushes, in no order that matters; refused above about [`MAX_DELIVERIES_READ`].
    async fn of_alert(&self, alert: AlertId) -> Result<Vec<Delivery>, StoreError>;
    /// What one person was (not) told of an alert.
    async fn of_alert_to(&self, alert: AlertId, resident: ResidentId) -> Result<Vec<Delivery>, StoreError>;
}
