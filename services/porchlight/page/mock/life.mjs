// What happens in the mock: events, the items that they become, and who may see which. As simple as it can be while every
// answer has the shape of the real one.
import { id, random } from './people.mjs';

const GROUP_MS = 60_000;
const MOST_ITEMS = 4000;

/** A living mock; `say(event, data)` publishes on the city's stream. */
export class Life {
  constructor(scene, say, { seed = 1 } = {}) {
    this.scene = scene;
    this.say = say;
    this.rng = random(seed ^ 0x5eed);
    this.resident = new Map(scene.residents.map((r) => [r.subject, r]));
    this.homes = new Map(scene.neighborhoods.features.map((n) => [n.id, scene.residents.filter((r) => r.neighborhoods.includes(n.id)).length]));
    this.items = new Map();
    this.open = new Map();
    this.listeners = new Set();
    this.due = 0;
    this.totals = { accepted: 0, shared: 0, handed: 0 };
    this.pushes = 0;
    this.shares = scene.cameras.map(() => (this.rng() < 0.5 ? 0 : this.rng()));
    this.since = Date.now();
  }

  /** A tenth of a second. */
  beat() {
    const now = Date.now();
    this.due += this.scene.rate / 10;
    const [events, alerts] = [[], []];
    for (; this.due >= 1; this.due -= 1) {
      const index = Math.floor(this.rng() * this.scene.cameras.length);
      const draw = this.rng();
      const [kind, labels] = draw < 0.08 ? ['ding', ['person']] : ['motion', draw < 0.4 ? ['person'] : draw < 0.5 ? ['person', 'package'] : draw < 0.7 ? ['vehicle'] : draw < 0.8 ? ['animal'] : []];
      events.push([index, kind === 'ding' ? 'ding' : (labels[0] ?? 'motion'), Math.floor(this.rng() * 100)]);
      alerts.push(this.happen(index, kind, labels, now));
    }
    this.say('beat', { t: now, events, alerts: alerts.filter(Boolean), pushes: this.pushes });
    this.totals.handed += this.pushes;
    this.pushes = 0;
  }

  /** One event: a new item, or another revision of the one that is open. */
  happen(index, kind, labels, now) {
    const camera = this.scene.cameras[index];
    this.totals.accepted += 1;
    const key = `${index} ${kind}`;
    let item = this.open.get(key);
    const at = new Date(now).toISOString();
    if (item && now - Date.parse(item.updated_at) < GROUP_MS) {
      item.revision += 1;
      item.updated_at = at;
    } else {
      const shared = labels.length > 0 && this.rng() < this.shares[index] * 0.5;
      const owner = this.resident.get(camera.home);
      item = { id: id(this.rng), alert: id(this.rng), revision: 1, kind, labels, received_at: at, updated_at: at, occurred_at: at, index, camera, shared, neighborhoods: owner.neighborhoods, media: this.rng() < 0.2 ? [{ id: id(this.rng), kind: 'thumbnail' }] : [] };
      this.open.set(key, item);
      this.items.set(item.id, item);
      if (this.items.size > MOST_ITEMS) this.items.delete(this.items.keys().next().value);
    }
    this.pushes += 1;
    if (item.shared) {
      this.totals.shared += 1;
      this.pushes += item.neighborhoods.reduce((sum, n) => sum + this.homes.get(n) - 1, 0);
    }
    for (const listener of this.listeners) listener(item);
    return { id: item.alert, item: item.id, camera: index, neighborhoods: item.shared ? item.neighborhoods : [], revision: item.revision };
  }

  /** A second's numbers. */
  numbers() {
    const wobble = (n) => Math.round(n * (0.7 + this.rng() * 0.6));
    const lag_per_stage = { geo_index: wobble(this.scene.rate / 12), plan: wobble(this.scene.rate / 25), send: wobble(this.scene.rate / 3) };
    this.say('numbers', {
      up_s: Math.round((Date.now() - this.since) / 1000),
      rate: wobble(this.scene.rate * 10) / 10,
      accepted: this.totals.accepted, shared: this.totals.shared, handed_over: this.totals.handed,
      lag: Object.values(lag_per_stage).reduce((a, b) => a + b, 0), lag_per_stage,
      p50_ms: wobble(190), p99_ms: wobble(620), refused: 0,
      checked: this.totals.handed, missing: 0, misdirected: 0, doubled: 0,
      reads_checked: Math.round(this.totals.accepted / 9), wrong_reads: 0,
    });
  }

  /** An item as a resident may see it; null if not at all. */
  view(item, subject) {
    const own = item.camera.home === subject;
    const { id: itemId, alert, revision, kind, labels, received_at, updated_at, occurred_at, media } = item;
    const common = { id: itemId, alert, revision, kind, labels, received_at, updated_at, occurred_at, media };
    if (own) return { ...common, scope: 'household', device: item.camera.id, position: { lon: item.camera.lon, lat: item.camera.lat }, familiar: false, shared: item.shared, neighborhoods: item.neighborhoods };
    const mine = item.neighborhoods.filter((n) => this.resident.get(subject).neighborhoods.includes(n));
    if (!item.shared || mine.length === 0) return null;
    return { ...common, scope: 'neighborhood', about: { lon: Math.round(item.camera.lon * 200) / 200, lat: Math.round(item.camera.lat * 200) / 200 }, neighborhoods: mine };
  }

  /** What a resident may see, newest first. */
  feed(subject, limit) {
    return [...this.items.values()].reverse().map((item) => this.view(item, subject)).filter(Boolean).slice(0, limit);
  }

  /** What a resident's phone got, oldest first. */
  phone(subject) {
    return this.feed(subject, 20).sort((a, b) => (a.updated_at < b.updated_at ? -1 : 1)).map((view) => ({
      tag: view.alert.replaceAll('-', ''), at: view.updated_at, replaced: view.revision - 1,
      payload: { alert: view.alert, item: view.id, revision: view.revision, kind: view.kind, lane: view.scope === 'household' ? 'motion' : 'neighborhood', collapse: view.alert.replaceAll('-', ''), silent: view.revision > 1, line: `${view.scope}.${view.labels[0] ?? 'motion'}` },
    }));
  }

  /** What became of the pushes of an alert to a resident; null if none was planned. */
  why(alert, subject) {
    const item = [...this.items.values()].find((i) => i.alert === alert);
    const view = item && this.view(item, subject);
    return view && [{ revision: view.revision, endpoint: item.id, outcome: 'handed_over', as: view.scope, at: view.updated_at }];
  }
}
