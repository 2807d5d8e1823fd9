// The same as text: tables of what the map shows, redrawn every two seconds, and what a screen reader is told now and then.

import { element } from './phone.js';
import { ago, clock, listed } from './words.js';

const MOST_ALERTS = 12;
const REDRAW_MS = 2000;
/** At most so often something is said, ms. */
const SAID_MS = 15_000;

/** The tables; `ask(alert)` when somebody wants to know why. */
export class Lists {
  #alerts = [];
  #changed = true;
  #rows = new Map();

  constructor(scene, ask) {
    this.scene = scene;
    this.ask = ask;
    this.resident = null;
    this.paused = false;
    this.#makeRows();
    setInterval(() => this.draw(), REDRAW_MS);
  }

  /** An alert of the city: `{id, item, camera, neighborhoods, at}`, all resolved. */
  alert(alert) {
    for (const n of alert.neighborhoods) {
      n.alerts += 1;
      n.lastAlert = alert.at;
    }
    // A revision takes the place of what it revises; and what stays in a house is shown only while nothing else is there.
    this.#alerts = [alert, ...this.#alerts.filter((a) => a.id !== alert.id)];
    const keep = new Set([...this.#alerts.filter((a) => a.neighborhoods.length > 0).slice(0, MOST_ALERTS - 2), ...this.#alerts.filter((a) => a.neighborhoods.length === 0).slice(0, 2)]);
    this.#alerts = this.#alerts.filter((a) => keep.has(a));
    this.#changed = true;
  }

  #makeRows() {
    const lived = this.scene.neighborhoods.filter((n) => n.lived).sort((a, b) => a.name.localeCompare(b.name));
    for (const n of lived) {
      const name = element('th', '', n.name);
      name.scope = 'row';
      const cells = [element('td', '', '0'), element('td', '', 'none yet')];
      const row = element('tr', '', name, element('td', '', String(n.homes.length)), element('td', '', String(n.cameras.length)), ...cells);
      this.#rows.set(n, { row, cells });
    }
    document.getElementById('hoods').replaceChildren(...[...this.#rows.values()].map(({ row }) => row));
  }

  /** Draws what has changed. Whoever holds the focus in a table keeps it: that table waits. */
  draw() {
    if (this.paused) return;
    const now = Date.now();
    for (const [n, { row, cells }] of this.#rows) {
      row.className = this.resident?.neighborhoods.includes(n) ? 'hers' : '';
      set(cells[0], String(n.alerts));
      set(cells[1], n.lastAlert === null ? 'none yet' : ago(now - n.lastAlert));
    }
    const body = document.getElementById('alerts');
    if (!this.#changed || body.contains(document.activeElement) || body.matches(':hover')) return;
    this.#changed = false;
    body.replaceChildren(...this.#alerts.map((alert) => this.#alertRow(alert)));
  }

  #alertRow(alert) {
    const spread = listed(alert.neighborhoods.map((n) => n.name));
    const button = element('button', '', 'Why?');
    button.type = 'button';
    button.setAttribute('aria-label', `Why did the resident of the phone get, or not get, the alert of ${clock(alert.at)}${spread ? ` in ${spread}` : ''}?`);
    button.addEventListener('click', () => this.ask(alert));
    const hers = this.resident && alert.neighborhoods.some((n) => this.resident.neighborhoods.includes(n));
    const row = element('tr', hers ? 'hers' : '', element('td', '', clock(alert.at)), element('td', '', spread || 'nowhere: it stays in the house'), element('td', '', `no. ${alert.camera.index + 1}`), element('td', '', button));
    row.dataset.alert = alert.id;
    return row;
  }
}

function set(cell, text) {
  if (cell.textContent !== text) cell.textContent = text;
}

/** Tells a screen reader politely, and not too often: what waits is said together. */
export class Speaker {
  #events = 0;
  #spread = new Map();
  #news = null;

  constructor(box, numbers) {
    this.box = box;
    this.numbers = numbers;
    this.paused = false;
    setInterval(() => this.#tell(), SAID_MS);
  }

  /** Counts what a beat brought. */
  count(events, alerts) {
    this.#events += events;
    for (const n of alerts.flatMap((a) => a.neighborhoods)) this.#spread.set(n.name, (this.#spread.get(n.name) ?? 0) + 1);
  }

  /** Said with the next sentence; only the last one counts. */
  later(text) {
    this.#news = text;
  }

  /** Said at once: somebody has just done something. */
  now(text) {
    this.box.textContent = text;
  }

  #tell() {
    if (this.paused || document.hidden) return;
    const busiest = [...this.#spread].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([name, n]) => `${name} ${n}`);
    const violations = this.numbers.latest ? this.numbers.latest.misdirected + this.numbers.latest.wrong_reads : 0;
    const parts = [`In the last ${SAID_MS / 1000} seconds ${this.#events} events.`];
    if (busiest.length > 0) parts.push(`Most alerts: ${busiest.join(', ')}.`);
    parts.push(violations === 0 ? 'Nothing crossed a border.' : `${violations} isolation violations!`);
    if (this.#news) parts.push(this.#news);
    this.box.textContent = parts.join(' ');
    this.#events = 0;
    this.#spread.clear();
    this.#news = null;
  }
}
