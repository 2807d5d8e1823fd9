// The map. Leaflet owns position, zoom, pointer, touch and keys; what is seen is drawn here, on three canvases above each
// other: what stands still (redrawn when the view or the theme changes), waves, and blinks.

import { UNIT_ZOOM, degrees, homeBox, nearestResident, ownersOf, thinned } from './scene.js';

const L = globalThis.L;
const GLIDE_MS = 220;

/** The colours of the theme, as the style sheet has them. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ['water', 'land', 'land-lived', 'border', 'border-lived', 'camera', 'home', 'name', 'halo', 'event', 'alert', 'told', 'mine'];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--map-${name}`).trim()]));
}

/** The map of a scene; `on.pick(resident)` is called when somebody's home is clicked, `on.hover(neighborhood)` over one. */
export class CityMap {
  constructor(box, scene, on) {
    this.box = box;
    this.scene = scene;
    this.selected = null;
    this.hovered = null;
    this.calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.#paths = new Map();
    const [west, south, east, north] = homeBox(scene);
    this.bounds = L.latLngBounds([south, west], [north, east]);
    this.map = L.map(box, {
      attributionControl: false,
      zoomControl: false,
      zoomAnimation: false,
      fadeAnimation: false,
      inertia: !this.calm,
      zoomSnap: 0.25,
      zoomDelta: 0.75,
      minZoom: 8,
      maxZoom: 17,
      scrollWheelZoom: false,
      maxBounds: this.bounds.pad(2),
    });
    L.control.zoom({ position: 'topright' }).addTo(this.map);
    L.control.scale({ position: 'bottomright', imperial: false }).addTo(this.map);
    this.map.fitBounds(this.bounds, { padding: [26, 26] });
    // The wheel scrolls the page until somebody works with the map.
    box.addEventListener('focusin', () => this.map.scrollWheelZoom.enable());
    box.addEventListener('focusout', () => this.map.scrollWheelZoom.disable());
    const sheet = (name) => {
      const canvas = document.createElement('canvas');
      canvas.className = `sheet sheet-${name}`;
      canvas.setAttribute('aria-hidden', 'true');
      box.append(canvas);
      return canvas.getContext('2d');
    };
    this.still = sheet('still');
    this.waves = sheet('waves');
    this.blinks = sheet('blinks');
    this.middle = L.latLng(degrees(...scene.middle).reverse());
    new ResizeObserver(() => this.#resize()).observe(box);
    this.#resize();
    this.#listen(on);
    this.theme();
  }

  #paths;
  #dirty = true;
  #shown = null;
  #glide = null;

  /** Reads the colours again. */
  theme() {
    this.colours = colours();
    this.#dirty = true;
  }

  /** Shows whose phone is looked at. */
  select(resident) {
    this.selected = resident;
    this.#dirty = true;
  }

  /** Moves so that a resident's neighborhoods are in view. */
  show(resident) {
    const n = resident.neighborhoods[0];
    if (!n) return;
    const corner = (x, y) => L.latLng(degrees(x + this.scene.middle[0], y + this.scene.middle[1]).reverse());
    const bounds = L.latLngBounds(corner(n.box[0], n.box[1]), corner(n.box[2], n.box[3]));
    this.map.fitBounds(bounds.pad(0.35), { animate: false });
  }

  /** Shows all homes. */
  showAll() {
    this.map.fitBounds(this.bounds, { padding: [26, 26], animate: false });
  }

  /** Where the scene stands on the canvas now: `x`, `y` of its middle and pixels per unit. */
  view(now = performance.now()) {
    const p = this.map.latLngToContainerPoint(this.middle);
    const wanted = { x: p.x, y: p.y, scale: 2 ** (this.map.getZoom() - UNIT_ZOOM) };
    if (this.#shown && this.#shown.scale !== wanted.scale && !this.#glide && !this.calm) {
      this.#glide = { from: this.#shown, since: now };
    }
    this.#shown = this.#glide ? this.#gliding(wanted, now) : wanted;
    return this.#shown;
  }

  #gliding(to, now) {
    const { from, since } = this.#glide;
    const t = Math.min(1, (now - since) / GLIDE_MS);
    if (t === 1) {
      this.#glide = null;
      return to;
    }
    const eased = 1 - (1 - t) ** 3;
    // Scales are interpolated as zooms are, and the point that stays where it is stays there.
    const scale = from.scale * (to.scale / from.scale) ** eased;
    const done = (scale - from.scale) / (to.scale - from.scale);
    return { x: from.x + (to.x - from.x) * done, y: from.y + (to.y - from.y) * done, scale };
  }

  /** The outline of a neighborhood in units of the scene, without corners too close to each other to be seen. */
  path(n, scale) {
    const level = Math.ceil(Math.log2(scale) * 2);
    const known = this.#paths.get(n);
    if (known?.level === level) return known.path;
    const path = new Path2D();
    for (const ring of n.rings) {
      const seen = thinned(ring, 0.7 / 2 ** (level / 2));
      path.moveTo(seen[0], seen[1]);
      for (let i = 2; i < seen.length; i += 2) path.lineTo(seen[i], seen[i + 1]);
      path.closePath();
    }
    this.#paths.set(n, { level, path });
    return path;
  }

  /** Lets the canvas draw in units of the scene. */
  enter(ctx, view) {
    const k = this.ratio;
    ctx.setTransform(k * view.scale, 0, 0, k * view.scale, k * view.x, k * view.y);
  }

  /** Whether a box of the scene can be seen. */
  sees(box, view) {
    const { clientWidth: w, clientHeight: h } = this.box;
    const [west, north] = [box[0] * view.scale + view.x, box[1] * view.scale + view.y];
    const [east, south] = [box[2] * view.scale + view.x, box[3] * view.scale + view.y];
    return west < w && north < h && east > 0 && south > 0;
  }

  /** Draws what stands still, if it has changed; whether it has. */
  drawStill(view) {
    const last = this.#drawn;
    const moved = !last || last.x !== view.x || last.y !== view.y || last.scale !== view.scale;
    if (!moved && !this.#dirty) return false;
    this.#drawn = view;
    this.#dirty = false;
    const { still: ctx, colours: c, scene } = this;
    this.wipe(ctx);
    this.enter(ctx, view);
    ctx.lineJoin = 'round';
    const seen = scene.neighborhoods.filter((n) => this.sees(n.box, view)).sort((a, b) => a.lived - b.lived);
    for (const n of seen) {
      const path = this.path(n, view.scale);
      ctx.fillStyle = n.lived ? c['land-lived'] : c.land;
      ctx.globalAlpha = n === this.hovered ? 0.75 : 1;
      ctx.fill(path, 'evenodd');
      ctx.globalAlpha = 1;
      ctx.strokeStyle = n.lived ? c['border-lived'] : c.border;
      ctx.lineWidth = (n.lived ? 1.1 : 0.7) / view.scale;
      ctx.stroke(path);
    }
    for (const n of this.selected?.neighborhoods ?? []) {
      ctx.strokeStyle = c.mine;
      ctx.lineWidth = 2.4 / view.scale;
      ctx.stroke(this.path(n, view.scale));
    }
    ctx.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.#dots(ctx, view);
    this.#names(ctx, view, seen);
    if (this.selected) this.#pin(ctx, view);
    return true;
  }

  #drawn = null;

  #dots(ctx, { x, y, scale }) {
    const [home, camera] = [Math.min(5, 1.6 + scale / 9), Math.min(3.4, 1.1 + scale / 14)];
    ctx.fillStyle = this.colours.home;
    for (const r of this.scene.residents) ctx.fillRect(r.x * scale + x - home / 2, r.y * scale + y - home / 2, home, home);
    ctx.fillStyle = this.colours.camera;
    ctx.beginPath();
    for (const c of this.scene.cameras) {
      const [cx, cy] = [c.x * scale + x, c.y * scale + y];
      ctx.moveTo(cx + camera, cy);
      ctx.arc(cx, cy, camera, 0, 7);
    }
    ctx.fill();
  }

  #names(ctx, { x, y, scale }, seen) {
    ctx.font = '600 12px system-ui, sans-serif';
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.lineWidth = 3;
    ctx.strokeStyle = this.colours.halo;
    ctx.fillStyle = this.colours.name;
    // Where names would meet, the larger neighborhood has its own.
    const placed = [];
    const wide = (n) => (n.box[2] - n.box[0]) * (n.lived ? 10 : 1);
    for (const n of [...seen].sort((a, b) => wide(b) - wide(a))) {
      const width = ctx.measureText(n.name).width;
      if ((n.box[2] - n.box[0]) * scale < width * (n.lived ? 0.9 : 1.6)) continue;
      const [cx, cy] = [n.label[0] * scale + x, n.label[1] * scale + y];
      if (placed.some((p) => Math.abs(p.cx - cx) < (p.width + width) / 2 + 4 && Math.abs(p.cy - cy) < 15)) continue;
      placed.push({ cx, cy, width });
      ctx.globalAlpha = n.lived ? 1 : 0.55;
      ctx.strokeText(n.name, cx, cy);
      ctx.fillText(n.name, cx, cy);
    }
    ctx.globalAlpha = 1;
  }

  #pin(ctx, { x, y, scale }) {
    const [cx, cy] = [this.selected.x * scale + x, this.selected.y * scale + y];
    ctx.fillStyle = this.colours.mine;
    ctx.strokeStyle = this.colours.halo;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(cx, cy);
    ctx.bezierCurveTo(cx - 3, cy - 7, cx - 9, cy - 10, cx - 9, cy - 17);
    ctx.arc(cx, cy - 17, 9, Math.PI, 0);
    ctx.bezierCurveTo(cx + 9, cy - 10, cx + 3, cy - 7, cx, cy);
    ctx.stroke();
    ctx.fill();
    ctx.fillStyle = this.colours.halo;
    ctx.beginPath();
    ctx.arc(cx, cy - 17, 3.5, 0, 7);
    ctx.fill();
  }

  /** Empties a canvas. */
  wipe(ctx) {
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, ctx.canvas.width, ctx.canvas.height);
  }

  #resize() {
    this.ratio = Math.min(2, devicePixelRatio || 1);
    const { clientWidth: w, clientHeight: h } = this.box;
    for (const { canvas } of [this.still, this.waves, this.blinks]) {
      canvas.width = Math.round(w * this.ratio);
      canvas.height = Math.round(h * this.ratio);
    }
    this.map.invalidateSize({ animate: false });
    this.#dirty = true;
  }

  /** The point of the scene under a point of the container. */
  under(point) {
    const { x, y, scale } = this.view();
    return [(point.x - x) / scale, (point.y - y) / scale];
  }

  #listen(on) {
    this.map.on('click', (e) => {
      const [x, y] = this.under(e.containerPoint);
      const [n] = ownersOf(this.scene.neighborhoods, x, y);
      const resident = nearestResident(this.scene.residents, x, y, (r) => !n?.lived || n.homes.length === 0 || r.neighborhoods.includes(n));
      if (resident) on.pick(resident);
    });
    const hover = (n) => {
      if (n === this.hovered) return;
      this.hovered = n;
      this.#dirty = true;
      on.hover(n);
    };
    this.map.on('mousemove', (e) => hover(ownersOf(this.scene.neighborhoods, ...this.under(e.containerPoint))[0] ?? null));
    this.map.on('mouseout', () => hover(null));
  }
}
