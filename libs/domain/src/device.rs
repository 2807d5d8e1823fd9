//! A device: whose it is, where it stands, what its owner shares, and the credential by which it is known.

use rand::RngCore;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{ChosenId, DeviceId, HomeId, HouseholdId, Label, Labels, Point, Timestamp, Version};

/// How far a device may stand from a home of its household: nobody can speak from where they do not live.
pub const MAX_DISTANCE_FROM_HOME_M: f64 = 150.0;
/// How many devices a household may have.
pub const MAX_DEVICES: usize = 64;

/// A device as registered. It never leaves a service as it is: see [`crate::view::DeviceView`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Derived from household and chosen id.
    pub id: DeviceId,
    /// The id under which its household knows it.
    pub chosen: ChosenId,
    /// Whose it is.
    pub household: HouseholdId,
    /// The home it belongs to.
    pub home: HomeId,
    /// What the household calls it.
    pub name: String,
    /// Where it stands; within [`MAX_DISTANCE_FROM_HOME_M`] of its home.
    pub point: Point,
    /// What neighbors may hear of.
    pub policy: SharingPolicy,
    /// What is kept, and for how long.
    pub plan: Plan,
    /// SHA-256 of the credential's secret; `None` if none was issued or it was revoked.
    pub credential: Option<[u8; 32]>,
    /// Gone: kept as a record so that a late reader learns of it.
    pub deleted: bool,
    /// The row's version.
    pub version: Version,
    /// When this version was written.
    pub updated_at: Timestamp,
}

impl Device {
    /// Whether `secret` is this device's, in constant time. A deleted or revoked device has none.
    pub fn accepts(&self, secret: &Secret) -> bool {
        match (&self.credential, self.deleted) {
            (Some(hash), false) => bool::from(hash.ct_eq(&secret.hash())),
            (None, _) | (Some(_), true) => false,
        }
    }
}

/// What an owner lets neighbors hear of: events with one of these labels. Empty, the default: nothing (G3).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SharingPolicy {
    /// The labels that go to the neighborhood.
    pub neighborhood: Labels,
    /// Whether neighbors also see the clips and thumbnails of the events that go there.
    pub media: bool,
}

impl SharingPolicy {
    /// Shares events with these labels.
    pub fn sharing(labels: impl IntoIterator<Item = Label>) -> Self {
        Self { neighborhood: labels.into_iter().collect(), media: false }
    }

    /// With the clips and thumbnails of those events.
    #[must_use]
    pub fn with_media(self) -> Self {
        Self { media: true, ..self }
    }

    /// Those of the labels that neighbors may hear of.
    pub fn shares(self, labels: Labels) -> Labels {
        self.neighborhood.intersection(labels)
    }
}

/// What is kept of a device's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Days until everything of an event ends, 1 to 400.
    pub retention_days: u16,
    /// Whether clips are stored.
    pub clips: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { retention_days: 30, clips: false }
    }
}

impl Plan {
    /// Retention in milliseconds.
    pub fn retention_ms(self) -> i64 {
        i64::from(self.retention_days) * 86_400_000
    }
}

/// 256 random bits, shown once. Neither printed nor stored: what is kept is its SHA-256 (it has full entropy and stands
/// on the hot path, so a password hash would cost much and add nothing).
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A new one, from the operating system's randomness.
    pub fn mint() -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// What is stored of it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

/// What a device sends as its bearer token: `<device id>.<secret, base64url without padding>`.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Which device claims to speak.
    pub device: DeviceId,
    /// By what.
    pub secret: Secret,
}

impl Credential {
    /// Reads a token; `None` if it has not the form of one.
    pub fn parse(token: &str) -> Option<Self> {
        use base64::Engine as _;
        let (device, secret) = token.split_once('.')?;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(secret).ok()?;
        Some(Self { device: device.parse().ok()?, secret: Secret(bytes.try_into().ok()?) })
    }

    /// The token to show, once.
    pub fn reveal(&self) -> String {
        use base64::Engine as _;
        format!("{}.{}", self.device, base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.secret.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn device(credential: Option<[u8; 32]>, deleted: bool) -> Device {
        Device {
            id: DeviceId(Uuid::nil()),
            chosen: ChosenId(Uuid::nil()),
            household: HouseholdId(Uuid::nil()),
            home: HomeId(Uuid::nil()),
            name: String::new(),
            point: Point { lon_e7: 0, lat_e7: 0 },
            policy: SharingPolicy::default(),
            plan: Plan::default(),
            credential,
            deleted,
            version: Version(1),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn a_credential_survives_its_token_and_is_never_printed() {
        let credential = Credential { device: DeviceId(Uuid::from_u128(5)), secret: Secret::mint() };
        let token = credential.reveal();
        let read = Credential::parse(&token).expect("its own form");
        assert_eq!(read.secret.hash(), credential.secret.hash());
        let printed = format!("{credential:?}");
        assert!(!token.split('.').nth(1).is_some_and(|s| printed.contains(s)));
    }

    #[test]
    fn only_the_present_secret_of_a_living_device_is_accepted() {
        let (mine, other) = (Secret::mint(), Secret::mint());
        assert!(device(Some(mine.hash()), false).accepts(&mine));
        assert!(!device(Some(mine.hash()), false).accepts(&other));
        assert!(!device(None, false).accepts(&mine), "revoked");
        assert!(!device(Some(mine.hash()), true).accepts(&mine), "deleted");
    }

    #[test]
    fn g3_the_default_policy_shares_nothing() {
        assert!(SharingPolicy::default().shares(Label::ALL.into_iter().collect()).is_empty());
        assert!(!SharingPolicy::default().media);
    }
}
