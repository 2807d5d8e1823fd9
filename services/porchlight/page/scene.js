// The city as numbers: pure, without a browser. Positions are Web Mercator at zoom 10 (a pixel each), measured from the
// middle of the scene, so that they stay small enough to be exact wherever the map is zoomed to.

/** The zoom at which a unit of the scene is a pixel. */
export const UNIT_ZOOM = 10;
const WORLD = 256 * 2 ** UNIT_ZOOM;

/** Web Mercator of a position, in units of the whole world. */
export function mercator(lon, lat) {
  const sin = Math.sin((lat * Math.PI) / 180);
  return [WORLD * (lon / 360 + 0.5), WORLD * (0.5 - Math.log((1 + sin) / (1 - sin)) / (4 * Math.PI))];
}

/** Longitude and latitude of a point in units of the whole world. */
export function degrees(x, y) {
  const lat = (Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / WORLD))) * 180) / Math.PI;
  return [(x / WORLD - 0.5) * 360, lat];
}

/** Whether a point lies inside rings (flat arrays x, y, x, y ...), by the even-odd rule: a hole is outside. */
export function inside(rings, x, y) {
  let odd = false;
  for (const ring of rings) {
    for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
      const [x1, y1, x2, y2] = [ring[i], ring[i + 1], ring[j], ring[j + 1]];
      if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) odd = !odd;
    }
  }
  return odd;
}

/** The ring with only those corners that are at least `step` away from the one kept before; never fewer than three. */
export function thinned(ring, step) {
  const kept = [ring[0], ring[1]];
  for (let i = 2; i < ring.length; i += 2) {
    const [dx, dy] = [ring[i] - kept[kept.length - 2], ring[i + 1] - kept[kept.length - 1]];
    if (dx * dx + dy * dy >= step * step) kept.push(ring[i], ring[i + 1]);
  }
  return kept.length < 6 ? ring : kept;
}

/** `[west, north, east, south]` of rings. */
export function boxOf(rings) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i += 2) {
      box[0] = Math.min(box[0], ring[i]);
      box[1] = Math.min(box[1], ring[i + 1]);
      box[2] = Math.max(box[2], ring[i]);
      box[3] = Math.max(box[3], ring[i + 1]);
    }
  }
  return box;
}

/** A point well inside rings, where a name can stand: of a coarse grid, the one farthest from every corner. */
export function labelPoint(rings, box) {
  let best = null;
  let farthest = -1;
  for (let i = 1; i < 14; i++) {
    for (let j = 1; j < 14; j++) {
      const x = box[0] + ((box[2] - box[0]) * i) / 14;
      const y = box[1] + ((box[3] - box[1]) * j) / 14;
      if (!inside(rings, x, y)) continue;
      let near = Infinity;
      for (const ring of rings) {
        // A name is wide and low: what is beside it matters more than what is above.
        for (let k = 0; k < ring.length; k += 2) near = Math.min(near, ((ring[k] - x) / 1.6) ** 2 + (ring[k + 1] - y) ** 2);
      }
      if (near > farthest) [farthest, best] = [near, [x, y]];
    }
  }
  return best ?? [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
}

/** How far the farthest corner is from a point: how large a wave must grow to fill the rings. */
export function reach(rings, x, y) {
  let far = 0;
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i += 2) far = Math.max(far, (ring[i] - x) ** 2 + (ring[i + 1] - y) ** 2);
  }
  return Math.sqrt(far);
}

/** The scene that `GET /city/scene` answers, ready to be drawn and asked. */
export function readScene(answer) {
  const people = [...answer.residents.map((r) => r.home), ...answer.cameras];
  const shapes = answer.neighborhoods.features;
  const somewhere = shapes[0]?.geometry.coordinates.flat(9) ?? [0, 0];
  const middle = mercator(...(people.length > 0 ? centre(people) : somewhere.slice(0, 2)));
  const place = (lon, lat) => {
    const [x, y] = mercator(lon, lat);
    return [x - middle[0], y - middle[1]];
  };
  const neighborhoods = shapes.map((shape, index) => {
    const { type, coordinates } = shape.geometry;
    const polygons = type === 'MultiPolygon' ? coordinates : [coordinates];
    const rings = polygons.flat().map((ring) => ring.flatMap(([lon, lat]) => place(lon, lat)));
    const { id, name } = { id: shape.id, ...shape.properties };
    return { index, id, name, rings, box: boxOf(rings), homes: [], cameras: [], alerts: 0, lastAlert: null };
  });
  const byId = new Map(neighborhoods.map((n) => [n.id, n]));
  const residents = answer.residents.map((r, index) => {
    const [x, y] = place(r.home.lon, r.home.lat);
    const at = r.neighborhoods.map((id) => byId.get(id)).filter(Boolean);
    const resident = { index, subject: r.subject, name: r.name, x, y, neighborhoods: at };
    for (const n of at) n.homes.push(resident);
    return resident;
  });
  const cameras = answer.cameras.map((c, index) => {
    const [x, y] = place(c.lon, c.lat);
    const at = ownersOf(neighborhoods, x, y);
    const camera = { index, id: c.id, home: c.home, x, y, neighborhoods: at };
    for (const n of at) n.cameras.push(camera);
    return camera;
  });
  for (const n of neighborhoods) {
    n.lived = n.homes.length + n.cameras.length > 0;
    n.label = labelPoint(n.rings, n.box);
  }
  return { name: answer.name, seed: answer.seed, rate: answer.rate, middle, neighborhoods, byId, residents, cameras };
}

/** The neighborhoods that hold a point. */
export function ownersOf(neighborhoods, x, y) {
  return neighborhoods.filter(({ box, rings }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3] && inside(rings, x, y));
}

/** The resident whose home is nearest to a point and for whom `may` holds; null if there is none. */
export function nearestResident(residents, x, y, may = () => true) {
  let best = null;
  let nearest = Infinity;
  for (const r of residents) {
    const far = (r.x - x) ** 2 + (r.y - y) ** 2;
    if (far < nearest && may(r)) [nearest, best] = [far, r];
  }
  return best;
}

/** The nearest resident who shares no neighborhood with this one: who must never hear what this one hears of neighbors. */
export function acrossTheBorder(residents, of) {
  const apart = (r) => r.neighborhoods.length > 0 && !r.neighborhoods.some((n) => of.neighborhoods.includes(n));
  return nearestResident(residents, of.x, of.y, apart);
}

/** The box that holds everybody, `[west, south, east, north]` in degrees, without the few who live far off. */
export function homeBox(scene) {
  const corners = () => scene.neighborhoods.flatMap(({ box }) => [{ x: box[0], y: box[1] }, { x: box[2], y: box[3] }]);
  const all = [scene.residents, scene.cameras, corners()].find((points) => points.length > 0) ?? [{ x: 0, y: 0 }];
  const span = (key) => {
    const values = all.map((p) => p[key]).sort((a, b) => a - b);
    const cut = Math.floor(values.length / 200);
    return [values[cut], values[values.length - 1 - cut]];
  };
  const [[x1, x2], [y1, y2]] = [span('x'), span('y')];
  const [west, north] = degrees(x1 + scene.middle[0], y1 + scene.middle[1]);
  const [east, south] = degrees(x2 + scene.middle[0], y2 + scene.middle[1]);
  return [west, south, east, north];
}

function centre(points) {
  const mean = (key) => points.reduce((sum, p) => sum + p[key], 0) / points.length;
  return [mean('lon'), mean('lat')];
}
