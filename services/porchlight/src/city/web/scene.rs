//! The city as it was founded, as the page draws it.

use axum::body::Bytes;
use porchlight_geofence::{Geometry, Point, geojson};
use serde_json::{Value, json};
use uuid::Uuid;

/// What the page draws.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// What the city is called.
    pub name: String,
    /// It makes the same city again.
    pub seed: u64,
    /// Events a second that its cameras are to send.
    pub rate: f64,
    /// The polygons.
    pub neighborhoods: Vec<Neighborhood>,
    /// In the order in which [`super::Web::event`] counts them.
    pub cameras: Vec<Camera>,
    /// The people.
    pub residents: Vec<Resident>,
}

/// A polygon with a name.
#[derive(Clone, Debug)]
pub struct Neighborhood {
    /// As items and alerts name it.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub geometry: Geometry,
}

/// A camera.
#[derive(Clone, Debug)]
pub struct Camera {
    /// As items name it.
    pub id: Uuid,
    /// Where it stands.
    pub at: Point,
    /// The subject of the resident whose it is.
    pub home: String,
}

/// A resident.
#[derive(Clone, Debug)]
pub struct Resident {
    /// The subject at the issuer.
    pub subject: String,
    /// Where the home is.
    pub home: Point,
    /// Whether it was verified: only then it lies in a neighborhood.
    pub verified: bool,
}

/// The page speaks of people by name; a city only numbers them.
const NAMES: [&str; 26] = [
    "Ada", "Ben", "Clara", "Dev", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Liam", "Mei", "Nuno",
    "Olga", "Priya", "Quinn", "Rosa", "Sami", "Tess", "Uma", "Viktor", "Wanda", "Xenia", "Yusuf", "Zoe",
];

impl Scene {
    /// As the page reads it.
    pub(super) fn json(&self) -> Bytes {
        let features = self.neighborhoods.iter().map(|n| {
            let geometry = geojson::write(&n.geometry);
            json!({ "type": "Feature", "id": n.id, "properties": { "id": n.id, "name": n.name }, "geometry": geometry })
        });
        let cameras = self.cameras.iter().map(|camera| {
            let (lon, lat) = degrees(camera.at);
            json!({ "id": camera.id, "lon": lon, "lat": lat, "home": camera.home })
        });
        let residents = self.residents.iter().enumerate().map(|(n, resident)| {
            let (lon, lat) = degrees(resident.home);
            json!({
                "subject": resident.subject,
                "name": name(n),
                "home": { "lon": lon, "lat": lat },
                "neighborhoods": self.around(resident),
            })
        });
        let scene = json!({
            "name": self.name,
            "seed": self.seed,
            "rate": self.rate,
            "homes": self.residents.len(),
            "neighborhoods": { "type": "FeatureCollection", "features": features.collect::<Value>() },
            "cameras": cameras.collect::<Value>(),
            "residents": residents.collect::<Value>(),
        });
        Bytes::from(scene.to_string())
    }

    /// The neighborhoods that hold a resident's verified home.
    fn around(&self, resident: &Resident) -> Vec<Uuid> {
        let holds = |n: &&Neighborhood| resident.verified && n.geometry.contains(resident.home);
        self.neighborhoods.iter().filter(holds).map(|n| n.id).collect()
    }
}

fn degrees(at: Point) -> (f64, f64) {
    (f64::from(at.x) / 1e7, f64::from(at.y) / 1e7)
}

/// A first name and a letter: 676 people, then they repeat.
fn name(n: usize) -> String {
    let letter = NAMES[(n / NAMES.len()) % NAMES.len()].chars().next().unwrap_or('A');
    // Seven steps at a time through 26 names meets all of them, and neighbors in the list differ.
    format!("{} {letter}.", NAMES[(n * 7) % NAMES.len()])
}
