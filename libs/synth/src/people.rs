//! Households, their homes and their cameras.

use porchlight_geofence::Point;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use uuid::Uuid;

use crate::Town;

/// A camera of a household.
#[derive(Clone, Debug)]
pub struct Camera {
    /// The id its owner chose.
    pub id: Uuid,
    /// What its owner calls it.
    pub name: &'static str,
    /// Where it stands: within some 40 m of the home.
    pub at: Point,
    /// The labels of which neighbors hear.
    pub shares: Vec<&'static str>,
    /// Whether its clips and thumbnails are stored.
    pub clips: bool,
    /// Whether neighbors also see those of the events that they hear of.
    pub shares_media: bool,
}

/// A household with one home and one resident.
#[derive(Clone, Debug)]
pub struct Household {
    /// The resident's subject at the issuer.
    pub subject: String,
    /// The id of the home that its resident chose.
    pub home: Uuid,
    /// The town that holds it.
    pub town: String,
    /// Where the home is.
    pub at: Point,
    /// The id of the endpoint that the app chose.
    pub endpoint: Uuid,
    /// Its cameras, possibly none: a resident needs a home and not a device.
    pub cameras: Vec<Camera>,
}

/// All households of a city.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// In the order in which they move in.
    pub households: Vec<Household>,
}

const SHARED: [&[&str]; 4] = [&[], &["person"], &["person", "package"], &["person", "vehicle", "package", "animal"]];

impl Settlement {
    /// `homes` households spread over `towns`, two of three with a camera; half of those share something, a third of them
    /// store clips.
    pub fn new(seed: u64, homes: usize, towns: &[Town]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut households = Vec::with_capacity(homes);
        for n in 0..homes {
            let Some(town) = towns.choose(&mut rng) else { break };
            let at = town.random_point(&mut rng);
            let cameras = (0..[0, 1, 1, 1, 2, 0][rng.random_range(0..6)])
                .map(|c| {
                    let id = id(&mut rng);
                    // By the id, so that who lives where is the same whatever cameras can do.
                    let [clips, shares_media] = [id.as_bytes()[1] % 3 == 0, id.as_bytes()[2] % 2 == 0];
                    Camera {
                        id,
                        name: ["Front door", "Driveway"][c % 2],
                        at: beside(at, &mut rng),
                        shares: if rng.random_bool(0.5) { Vec::new() } else { SHARED[rng.random_range(1..4)].to_vec() },
                        clips,
                        shares_media,
                    }
                })
                .collect();
            households.push(Household {
                subject: format!("resident-{seed}-{n}"),
                home: id(&mut rng),
                town: town.name.clone(),
                at,
                endpoint: id(&mut rng),
                cameras,
            });
        }
        Self { households }
    }
}

fn id(rng: &mut impl Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

/// A point some 5 to 40 m away (latitude 42: a unit of longitude is 0.74 of one of latitude, about 1.1 cm).
fn beside(home: Point, rng: &mut impl Rng) -> Point {
    let mut step = || {
        let far = rng.random_range(500..2_500);
        if rng.random_bool(0.5) { far } else { -far }
    };
    Point { x: home.x + step(), y: home.y + step() }
}
