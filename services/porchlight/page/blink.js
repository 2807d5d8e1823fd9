// What blinks: cameras when they report, homes when they have been told. Pictures of a glow are made once a theme and only
// copied, so that hundreds at once cost little.

const CAMERA_MS = 900;
const HOME_MS = 1500;

/** All blinks. */
export class Blinks {
  #cameras = [];
  #homes = [];
  #drawn = false;
  #glows = null;

  constructor(map) {
    this.map = map;
  }

  /** A camera reports: at `at`, which may be a moment from now. */
  camera(camera, at) {
    camera.blinkAt = at;
    this.#cameras.push({ camera, at });
  }

  /** A home has been told. */
  home(resident, at) {
    if (at - (resident.toldAt ?? -Infinity) > HOME_MS / 2) this.#homes.push({ resident, at });
    resident.toldAt = at;
  }

  /** How many blink now. */
  get count() {
    return this.#cameras.length;
  }

  /** Forgets all. */
  clear() {
    this.#cameras = [];
    this.#homes = [];
  }

  /** Reads the colours again. */
  theme() {
    this.#glows = null;
  }

  /** Draws one frame. */
  draw(view, now) {
    const { map } = this;
    const ctx = map.blinks;
    this.#cameras = this.#cameras.filter((b) => now - b.at < CAMERA_MS);
    this.#homes = this.#homes.filter((b) => now - b.at < HOME_MS);
    const any = this.#cameras.length + this.#homes.length > 0;
    if (!any && !this.#drawn) return;
    map.wipe(ctx);
    this.#drawn = any;
    ctx.setTransform(map.ratio, 0, 0, map.ratio, 0, 0);
    this.#glows ??= { event: glow(map.colours.event), told: glow(map.colours.told) };
    const { x, y, scale } = view;
    const side = Math.min(7, 3 + scale / 9);
    ctx.fillStyle = map.colours.told;
    for (const { resident: r, at } of this.#homes) {
      const left = 1 - (now - at) / HOME_MS;
      const [cx, cy] = [r.x * scale + x, r.y * scale + y];
      ctx.globalAlpha = left;
      ctx.fillRect(cx - side / 2, cy - side / 2, side, side);
      if (scale > 3) ctx.drawImage(this.#glows.told, cx - side * 1.6, cy - side * 1.6, side * 3.2, side * 3.2);
    }
    const dot = Math.min(5, 2.4 + scale / 14);
    for (const { camera: c, at } of this.#cameras) {
      if (now < at) continue;
      const t = map.calm ? 0.35 : (now - at) / CAMERA_MS;
      const size = dot * (3 + 5 * (1 - (1 - t) ** 3));
      const [cx, cy] = [c.x * scale + x, c.y * scale + y];
      ctx.globalAlpha = 0.9 * (1 - t);
      ctx.drawImage(this.#glows.event, cx - size / 2, cy - size / 2, size, size);
      ctx.globalAlpha = Math.min(1, 1.6 * (1 - t));
      ctx.fillStyle = map.colours.event;
      ctx.fillRect(cx - dot / 2, cy - dot / 2, dot, dot);
    }
    ctx.globalAlpha = 1;
  }
}

/** A soft disc of a colour. */
function glow(colour) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 32;
  const ctx = canvas.getContext('2d');
  const fade = ctx.createRadialGradient(16, 16, 0, 16, 16, 16);
  fade.addColorStop(0, colour);
  fade.addColorStop(0.35, `color-mix(in srgb, ${colour} 45%, transparent)`);
  fade.addColorStop(1, `color-mix(in srgb, ${colour} 0%, transparent)`);
  ctx.fillStyle = fade;
  ctx.fillRect(0, 0, 32, 32);
  return canvas;
}
