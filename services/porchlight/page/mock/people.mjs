// A made-up city in the shape that `GET /city/scene` answers: real polygons (jagged, with shared borders, some with a hole),
// homes and cameras from a seed.
import { readFileSync } from 'node:fs';

import { boxOf, inside } from '../scene.js';

const DATA = new URL('../../../../libs/synth/data/', import.meta.url);
const LIVED_IN = ['Malden', 'Medford', 'Everett', 'Melrose', 'Quincy', 'Milton', 'Somerville', 'Chelsea'];
const NAMES = ['Ada', 'Ben', 'Clara', 'Dev', 'Elena', 'Farid', 'Grace', 'Hugo', 'Ines', 'Jonas', 'Kira', 'Liam', 'Mei', 'Nuno', 'Olga', 'Priya', 'Quinn', 'Rosa', 'Sami', 'Tess', 'Uma', 'Viktor', 'Wanda', 'Xenia', 'Yusuf', 'Zoe'];

/** Random numbers from 0 to 1 from a seed (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An id that is good for a mock. */
export function id(rng) {
  const hex = Array.from({ length: 32 }, () => Math.floor(rng() * 16).toString(16)).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}

const features = (file) => JSON.parse(readFileSync(new URL(file, DATA), 'utf8')).features;
const ringsOf = ({ type, coordinates }) => (type === 'MultiPolygon' ? coordinates : [coordinates]).flat().map((r) => r.flat());

/** A square of some 700 m, cut out of a polygon that then has a hole, and filled by a neighborhood of its own. */
function cutHole(shape, lon, lat) {
  const [w, h] = [0.0045, 0.0034];
  const ring = [[lon - w, lat - h], [lon + w, lat - h * 1.2], [lon + w * 1.1, lat + h], [lon - w * 0.8, lat + h], [lon - w, lat - h]];
  const { geometry } = shape;
  (geometry.type === 'MultiPolygon' ? geometry.coordinates[0] : geometry.coordinates).push([...ring].reverse());
  return { type: 'Feature', properties: { name: `${shape.properties.name} Common` }, geometry: { type: 'Polygon', coordinates: [ring] } };
}

/** The scene. */
export function makeScene({ seed = 1, cameras = 2000, homes = 1500, rate = 200 }) {
  const rng = random(seed);
  const towns = features('towns-ma.geojson');
  const shapes = [...towns.filter((t) => t.properties.name !== 'Boston'), ...features('boston.geojson')];
  const malden = shapes.find((s) => s.properties.name === 'Malden');
  shapes.push(cutHole(malden, -71.06, 42.4285));
  const neighborhoods = shapes.map((s) => ({ type: 'Feature', id: id(rng), properties: { name: s.properties.name }, geometry: s.geometry }));
  for (const n of neighborhoods) n.properties.id = n.id;
  const rings = new Map(neighborhoods.map((n) => [n, ringsOf(n.geometry)]));
  const lived = neighborhoods.filter((n, i) => LIVED_IN.includes(n.properties.name) || (i >= towns.length - 1 && n.properties.name !== 'Harbor Islands'));
  const area = (n) => {
    const [w, s, e, t] = boxOf(rings.get(n));
    return Math.sqrt((e - w) * (t - s));
  };
  const total = lived.reduce((sum, n) => sum + area(n), 0);
  const residents = lived.flatMap((n) => {
    const [west, south, east, north] = boxOf(rings.get(n));
    const here = [];
    const count = Math.max(3, Math.round((homes * area(n)) / total));
    while (here.length < count) {
      const [lon, lat] = [west + (east - west) * rng(), south + (north - south) * rng()];
      if (!inside(rings.get(n), lon, lat)) continue;
      here.push({ home: { lon, lat }, neighborhoods: [n.id] });
    }
    return here;
  }).map((r, i) => ({ subject: `resident-${seed}-${i}`, name: `${NAMES[Math.floor(rng() * NAMES.length)]} ${String.fromCharCode(65 + Math.floor(rng() * 26))}.`, ...r }));
  const placed = Array.from({ length: cameras }, () => {
    const owner = Math.floor(rng() * residents.length);
    const { lon, lat } = residents[owner].home;
    const beside = () => (rng() - 0.5) * 0.0006;
    // As a person's own home is verified in one polygon, its camera here stands in the same one.
    const [x, y] = [lon + beside(), lat + beside()];
    const at = inside(rings.get(neighborhoods.find((n) => n.id === residents[owner].neighborhoods[0])), x, y) ? { lon: x, lat: y } : { lon, lat };
    return { id: id(rng), ...at, home: residents[owner].subject };
  });
  return { name: 'City', seed, homes: residents.length, rate, neighborhoods: { type: 'FeatureCollection', features: neighborhoods }, cameras: placed, residents };
}
