//! The GeoJSON that operators send, read and refused.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use porchlight_chassis::http::Problem;
use porchlight_domain::{NeighborhoodId, Point, Timestamp, Version};
use porchlight_geofence::{
    Geometry,
    geojson::{self, Finding, Options},
};
use porchlight_wire::{NeighborhoodRecord, Wire as _};
use serde::Serialize;

use super::FindingView;
use crate::{Error, checks};

/// The longest name, in characters.
const MAX_NAME: usize = 128;
/// The largest record: brokers take a megabyte, headers and all.
const MAX_RECORD_BYTES: usize = 1_000_000;

/// A neighborhood as it was drawn.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) name: String,
    pub(super) parts: Vec<Vec<Vec<Point>>>,
    pub(super) notices: Vec<Finding>,
}

/// Why a document was refused: as everything else, or with findings at their places.
#[derive(Debug)]
pub(crate) enum Refusal {
    Plain(Error),
    Found(Vec<Finding>),
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(e: E) -> Self {
        Self::Plain(e.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let findings = match self {
            Self::Plain(e) => return e.into_response(),
            Self::Found(findings) => findings,
        };
        let problem = match findings.first() {
            Some(first) => Problem::new(422, first.code, first.message.clone()).at(first.pointer.clone()),
            None => Problem::new(422, "geojson_type", "this is no neighborhood"),
        };
        /// RFC 9457, section 3.2: an extension member.
        #[derive(Serialize)]
        struct Extended<'a> {
            #[serde(flatten)]
            problem: &'a Problem,
            findings: Vec<FindingView>,
        }
        let findings = findings.into_iter().map(FindingView::from).collect();
        let body = serde_json::to_vec(&Extended { problem: &problem, findings }).unwrap_or_default();
        let mut response = problem.into_response();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body.into();
        response
    }
}

impl Drawn {
    /// Reads one neighborhood from a Feature, Polygon or MultiPolygon.
    pub(super) fn read(
        headers: &HeaderMap,
        document: &[u8],
        name: Option<&str>,
        repair_even_odd: bool,
    ) -> Result<Self, Refusal> {
        if !is_geojson(headers) {
            let sentence = "the body here is application/geo+json or application/json";
            return Err(Error::Refused(Problem::new(415, "unsupported_media_type", sentence)).into());
        }
        let options = Options { repair_even_odd, ..Options::default() };
        let mut features = geojson::read(document, options).map_err(Refusal::Found)?;
        let (Some(feature), true) = (features.pop(), features.is_empty()) else {
            return Err(Error::unprocessable("one_feature_expected", "", "the body is one neighborhood").into());
        };
        let name = name.or(feature.name.as_deref()).unwrap_or_default();
        let drawn = Self {
            name: checks::name(name, MAX_NAME, "/properties/name")?,
            parts: parts(&feature.geometry),
            notices: feature.notices,
        };
        if drawn.record(NeighborhoodId(uuid::Uuid::max())).encode().len() > MAX_RECORD_BYTES {
            let sentence = format!("as a record it has more than {MAX_RECORD_BYTES} bytes: simplify it");
            return Err(Error::unprocessable("too_many_vertices", "", sentence).into());
        }
        Ok(drawn)
    }

    pub(super) fn record(&self, id: NeighborhoodId) -> NeighborhoodRecord {
        NeighborhoodRecord {
            id,
            name: self.name.clone(),
            parts: self.parts.clone(),
            deleted: false,
            version: Version::default(),
            updated_at: Timestamp::default(),
        }
    }
}

fn is_geojson(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    ["application/geo+json", "application/json"].iter().any(|accepted| essence.eq_ignore_ascii_case(accepted))
}

fn parts(geometry: &Geometry) -> Vec<Vec<Vec<Point>>> {
    let point = |p: &porchlight_geofence::Point| Point { lon_e7: p.x, lat_e7: p.y };
    let ring = |ring: &Vec<porchlight_geofence::Point>| ring.iter().map(point).collect();
    geometry.parts.iter().map(|part| part.iter().map(ring).collect()).collect()
}

/// The other way.
pub(super) fn geometry(parts: &[Vec<Vec<Point>>]) -> Geometry {
    let point = |p: &Point| porchlight_geofence::Point { x: p.lon_e7, y: p.lat_e7 };
    let ring = |ring: &Vec<Point>| ring.iter().map(point).collect();
    Geometry { parts: parts.iter().map(|part| part.iter().map(ring).collect()).collect() }
}
