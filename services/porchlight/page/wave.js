// Alerts that spread. A wave is no circle that is cut off: it is the polygon itself, filled with a ring of light that grows
// from the camera. What lies beyond the border is not part of the shape, so it cannot be touched, and nothing has to be
// clipped, which is what makes hundreds of them cheap. As the front passes a home, that home has been told.

import { reach } from './scene.js';

/** How long a wave needs to the farthest corner, ms. */
export const WAVE_MS = 2600;
/** How long the border glows after the last alert, ms. */
const GLOW_MS = 1800;
/** More than these at once are told by the glow alone: what one can see is bounded, and so is the work of a frame. */
const MOST_WAVES = 3;
/** And of as many as fit into so many in all, at least one for each neighborhood. */
const MOST_IN_ALL = 40;
/** Up to so many neighborhoods at once have a border that lights up, which needs a clip. */
const MOST_BORDERS = 6;

/** How far the front is, 0 to 1, at a part of its time. */
export const front = (t) => 1 - (1 - t) ** 1.7;

/** All waves. `told(resident, now)` hears of each home that a front has passed. */
export class Waves {
  #active = new Map();
  #drawn = false;
  #shades = null;

  constructor(map, told) {
    this.map = map;
    this.told = told;
  }

  /** Lets an alert spread from a camera through neighborhoods. */
  start(camera, neighborhoods, now) {
    for (const n of neighborhoods) {
      let here = this.#active.get(n);
      if (!here) this.#active.set(n, (here = { waves: [], glow: now }));
      here.glow = now;
      if (here.waves.length >= Math.max(1, Math.min(MOST_WAVES, Math.floor(MOST_IN_ALL / this.#active.size)))) continue;
      const far = (r) => Math.hypot(r.x - camera.x, r.y - camera.y);
      const homes = n.homes.map((r) => [far(r), r]).sort((a, b) => a[0] - b[0]);
      here.waves.push({ x: camera.x, y: camera.y, since: now, reach: reach(n.rings, camera.x, camera.y), homes, next: 0 });
    }
  }

  /** Reads the colours again. */
  theme() {
    this.#shades = null;
  }

  /** Forgets all. */
  clear() {
    this.#active.clear();
  }

  /** The neighborhoods in which something spreads now. */
  get spreading() {
    return [...this.#active.keys()];
  }

  /** Draws one frame. */
  draw(view, now) {
    const { map } = this;
    const ctx = map.waves;
    if (this.#active.size === 0 && !this.#drawn) return;
    map.wipe(ctx);
    this.#drawn = this.#active.size > 0;
    map.enter(ctx, view);
    this.#shades ??= RING.map(([, percent]) => `color-mix(in srgb, ${map.colours.alert} ${percent}%, transparent)`);
    const borders = this.#active.size <= MOST_BORDERS;
    for (const [n, here] of this.#active) {
      for (const wave of here.waves) this.#tell(wave, now);
      here.waves = here.waves.filter((wave) => now - wave.since < WAVE_MS);
      const glow = Math.min(1, 1 - (now - here.glow - WAVE_MS * 0.6) / GLOW_MS);
      if (glow <= 0 && here.waves.length === 0) this.#active.delete(n);
      else if (map.sees(n.box, view)) this.#drawIn(ctx, n, here.waves, Math.max(0, glow), borders, view, now);
    }
  }

  #tell(wave, now) {
    const far = wave.reach * front(Math.min(1, (now - wave.since) / WAVE_MS));
    while (wave.next < wave.homes.length && wave.homes[wave.next][0] <= far) this.told(wave.homes[wave.next++][1], now);
  }

  #drawIn(ctx, n, waves, glow, borders, view, now) {
    const { calm, colours } = this.map;
    const path = this.map.path(n, view.scale);
    ctx.fillStyle = ctx.strokeStyle = colours.alert;
    ctx.globalAlpha = (calm ? 0.3 : 0.1) * glow;
    ctx.fill(path, 'evenodd');
    for (const wave of calm ? [] : waves) {
      const t = (now - wave.since) / WAVE_MS;
      if (t < 0 || t >= 1) continue;
      ctx.globalAlpha = (1 - t) ** 0.7;
      ctx.fillStyle = ring(ctx, wave, front(t), this.#shades, 1 / view.scale);
      ctx.fill(path, 'evenodd');
    }
    if (!borders || glow === 0) return;
    ctx.save();
    ctx.clip(path, 'evenodd');
    // Half of this line lies outside and is clipped away: the border lights up from within.
    ctx.globalAlpha = 0.85 * glow;
    ctx.lineWidth = 3.5 / view.scale;
    ctx.stroke(path);
    ctx.restore();
  }
}

/** The part of a pixel's way behind the front, and how much of the colour is there, in percent. */
const RING = [[Infinity, 12], [20, 16], [7, 38], [3, 95], [1.5, 95], [0, 0]];

/** Light as a ring whose front is a part of the way out: faint behind it, nothing before it. `px`: a pixel in the scene. */
function ring(ctx, wave, part, shades, px) {
  const far = wave.reach * part + 2 * px;
  const light = ctx.createRadialGradient(wave.x, wave.y, 0, wave.x, wave.y, far);
  RING.forEach(([behind], n) => light.addColorStop(Math.max(0, 1 - (behind * px) / far), shades[n]));
  return light;
}
