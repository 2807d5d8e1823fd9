//! What others offer for the same question: an R-tree of the parts' boxes, and below it their own index of each part.
//! They calculate in floating point, and say "inside or on the border".
#![allow(unreachable_pub)]

use geo::{Contains as _, algorithm::indexed::IntervalTreeMultiPolygon};
use geometry_rs::PolygonBuildOptions;
use porchlight_geofence::{Geometry, Neighborhood, Point, Ring};
use rstar::{
    AABB, RTree,
    primitives::{GeomWithData, Rectangle},
};
use tg_sys::{GeometryConstructors, GeometryPredicates, PolyFuncs, RingFuncs};

/// A part as a peer knows it.
pub trait Part: Sized {
    /// What it is called.
    const NAME: &'static str;
    /// Of a shell and its holes.
    fn new(rings: &[Ring]) -> Self;
    /// Degrees.
    fn holds(&self, lon: f64, lat: f64) -> bool;
}

/// A peer.
pub struct Index<P> {
    tree: RTree<GeomWithData<Rectangle<[f64; 2]>, u32>>,
    parts: Vec<(u32, P)>,
}

/// As f64 degrees, longitude first.
pub fn degrees(p: Point) -> [f64; 2] {
    [f64::from(p.x) / 1e7, f64::from(p.y) / 1e7]
}

impl<P: Part> Index<P> {
    pub fn build(neighborhoods: &[Neighborhood]) -> Self {
        let (mut boxes, mut parts) = (Vec::new(), Vec::new());
        for (n, neighborhood) in (0..).zip(neighborhoods) {
            let Geometry { parts: of } = &*neighborhood.geometry;
            for rings in of {
                let points: Vec<[f64; 2]> = rings.iter().flatten().map(|p| degrees(*p)).collect();
                let around = AABB::from_points(&points);
                let place = u32::try_from(parts.len()).expect("fewer than 2^32 parts");
                boxes.push(GeomWithData::new(Rectangle::from_aabb(around), place));
                parts.push((n, P::new(rings)));
            }
        }
        Self { tree: RTree::bulk_load(boxes), parts }
    }

    /// The sum of the owners' numbers and how many there are: so that nothing is left out.
    pub fn locate(&self, p: Point) -> (u64, u32) {
        let [lon, lat] = degrees(p);
        let candidates = self.tree.locate_in_envelope_intersecting(&AABB::from_point([lon, lat]));
        candidates.fold((0, 0), |(sum, count), candidate| {
            let (n, part) = &self.parts[candidate.data as usize];
            if part.holds(lon, lat) { (sum + u64::from(*n), count + 1) } else { (sum, count) }
        })
    }
}

/// Closed, as the peers want it.
fn closed(ring: &Ring) -> impl Iterator<Item = [f64; 2]> + '_ {
    ring.iter().chain(ring.first()).map(|p| degrees(*p))
}

/// tg, a C library, with the index that it calls y-stripes.
pub struct Tg(*mut tg_sys::tg_geom);

impl Part for Tg {
    const NAME: &'static str = "tg y-stripes + rstar";

    #[allow(unsafe_code)]
    fn new(rings: &[Ring]) -> Self {
        let made: Vec<*mut tg_sys::tg_ring> = rings
            .iter()
            .map(|ring| {
                let points: Vec<_> = closed(ring).map(|[x, y]| tg_sys::tg_point { x, y }).collect();
                let count = i32::try_from(points.len()).expect("fewer than 2^31 vertices");
                // SAFETY: tg copies as many points as it is told.
                unsafe { RingFuncs::tg_ring_new_ix(points.as_ptr(), count, tg_sys::tg_index::TG_YSTRIPES) }
            })
            .collect();
        let holes: Vec<*const tg_sys::tg_ring> = made[1..].iter().map(|hole| hole.cast_const()).collect();
        // SAFETY: the rings are alive; the polygon and the geometry count their own references to what they hold.
        unsafe {
            let count = i32::try_from(holes.len()).expect("fewer than 2^31 holes");
            let poly = PolyFuncs::tg_poly_new(made[0], holes.as_ptr(), count);
            let geom = GeometryConstructors::tg_geom_new_polygon(poly);
            PolyFuncs::tg_poly_free(poly);
            made.into_iter().for_each(|ring| RingFuncs::tg_ring_free(ring));
            Self(geom)
        }
    }

    #[allow(unsafe_code)]
    fn holds(&self, lon: f64, lat: f64) -> bool {
        // SAFETY: the geometry lives as long as this does.
        unsafe { GeometryPredicates::tg_geom_intersects_xy(self.0, lon, lat) }
    }
}

impl Drop for Tg {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { GeometryConstructors::tg_geom_free(self.0) }
    }
}

impl Part for IntervalTreeMultiPolygon<f64> {
    const NAME: &'static str = "geo interval tree + rstar";

    fn new(rings: &[Ring]) -> Self {
        let line = |ring: &Ring| geo::LineString::from(closed(ring).map(|[x, y]| (x, y)).collect::<Vec<_>>());
        let polygon = geo::Polygon::new(line(&rings[0]), rings[1..].iter().map(line).collect());
        Self::new(&geo::MultiPolygon::new(vec![polygon]))
    }

    fn holds(&self, lon: f64, lat: f64) -> bool {
        self.contains(&geo::Point::new(lon, lat))
    }
}

impl Part for geometry_rs::Polygon {
    const NAME: &'static str = "geometry-rs y-stripes + rstar";

    fn new(rings: &[Ring]) -> Self {
        let ring = |ring: &Ring| closed(ring).map(|[x, y]| geometry_rs::Point { x, y }).collect::<Vec<_>>();
        let options = PolygonBuildOptions { enable_y_stripes: true, ..PolygonBuildOptions::default() };
        Self::new(ring(&rings[0]), rings[1..].iter().map(ring).collect(), Some(options))
    }

    fn holds(&self, lon: f64, lat: f64) -> bool {
        self.contains_point(geometry_rs::Point { x: lon, y: lat })
    }
}
