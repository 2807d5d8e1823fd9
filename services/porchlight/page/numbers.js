// The numbers of the way from camera to phone, with two minutes of each as a line.

import { element } from './phone.js';

const uPlot = globalThis.uPlot;
const SECONDS = 120;

const round = (n) => (n >= 100 ? Math.round(n).toLocaleString('en') : (Math.round(n * 10) / 10).toLocaleString('en'));
const ms = (n) => (n === null || n === undefined ? null : n < 10_000 ? `${Math.round(n)} ms` : `${(n / 1000).toFixed(1)} s`);

const many = (n) => n.toLocaleString('en');

/** Each tile: what it is called, its value, what is said below it, the lines of its chart. */
const TILES = [
  { id: 'rate', title: 'Events accepted', value: (n) => [round(n.rate), 'a second'], note: (n) => `${many(n.accepted)} in all, ${many(n.shared)} shared`, lines: (n) => [n.rate] },
  { id: 'lag', title: 'Behind', value: (n) => [round(n.lag), 'records'], note: (n) => Object.entries(n.lag_per_stage).map(([stage, lag]) => `${stage.replace('_', '-')} ${Math.round(lag)}`).join(', '), lines: (n) => [n.lag] },
  { id: 'latency', title: 'Accepted to handed over', value: (n) => [ms(n.p50_ms) ?? 'none yet', n.p50_ms === null ? '' : 'p50'], note: (n) => (n.p99_ms === null ? '' : `p99 ${ms(n.p99_ms)}`), lines: (n) => [n.p50_ms, n.p99_ms] },
  { id: 'handed', title: 'Pushes handed over', value: (n) => [round(n.push_rate), 'a second'], note: (n) => `${many(n.handed_over)} in all`, lines: (n) => [n.push_rate] },
  { id: 'isolation', title: 'Isolation violations', judged: true, value: (n) => [n.misdirected + n.wrong_reads], note: (n) => `of ${many(n.checked)} pushes and ${many(n.reads_checked)} reads, judged by an independent oracle` },
  { id: 'missing', title: 'Pushes missing', judged: true, value: (n) => [n.missing], note: (n) => (n.doubled === 0 ? 'and none came twice' : `and ${n.doubled} came twice`) },
];

/** The tiles. */
export class Numbers {
  #history = [];
  #last = null;
  #tiles;
  #charts = [];
  #begun = Date.now() / 1000;

  constructor(list) {
    this.#tiles = TILES.map((tile) => {
      const [valueBox, noteBox] = [element('dd', tile.judged ? 'good' : '', '–'), element('dd', 'note')];
      const chartBox = tile.lines ? element('dd', 'chart') : null;
      chartBox?.setAttribute('aria-hidden', 'true');
      const box = element('div', 'tile', element('dt', '', tile.title), valueBox, noteBox, chartBox);
      box.id = `tile-${tile.id}`;
      list.append(box);
      return { ...tile, valueBox, noteBox, chartBox };
    });
    this.theme();
    new ResizeObserver(() => this.#charts.forEach(({ tile, plot }) => plot.setSize(size(tile)))).observe(list);
  }

  /** Draws the charts anew in the colours of the theme. */
  theme() {
    for (const { plot } of this.#charts) plot.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.#charts = this.#tiles.filter((tile) => tile.lines).map((tile) => {
      const strokes = [colour('--chart'), colour('--chart-2')].slice(0, tile.id === 'latency' ? 2 : 1);
      const options = {
        ...size(tile),
        padding: [3, 0, 2, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false, range: () => this.#range() }, y: { range: (_, low, high) => [0, Math.max(1, high ?? 1) * 1.12] } },
        axes: [{ show: false }, { show: false }],
        series: [{}, ...strokes.map((stroke, n) => ({ stroke, width: 1.5, points: { show: false }, fill: n === 0 ? `${stroke}22` : undefined }))],
      };
      return { tile, plot: new uPlot(options, this.#data(tile), tile.chartBox) };
    });
  }

  #range() {
    const now = this.#history.at(-1)?.at ?? 0;
    return [Math.max(now - SECONDS, Math.min(0, now - 30)), now];
  }

  #data(tile) {
    const lines = this.#history.map((h) => tile.lines(h.numbers).map((v) => v ?? null));
    const count = tile.id === 'latency' ? 2 : 1;
    return [this.#history.map((h) => h.at), ...Array.from({ length: count }, (_, n) => lines.map((l) => l[n]))];
  }

  /** Takes the numbers of a second; `push_rate` is what was handed over since the last. */
  take(given) {
    const at = Date.now() / 1000 - this.#begun;
    const since = this.#last && at > this.#last.at ? (given.handed_over - this.#last.numbers.handed_over) / (at - this.#last.at) : 0;
    const numbers = { ...given, push_rate: Math.max(0, since) };
    this.#last = { at, numbers };
    this.#history.push(this.#last);
    while (this.#history.length > 2 && at - this.#history[0].at > SECONDS) this.#history.shift();
    for (const tile of this.#tiles) {
      const [value, unit] = tile.value(numbers);
      tile.valueBox.replaceChildren(String(value), ...(unit ? [' ', element('small', '', unit)] : []));
      tile.noteBox.textContent = tile.note(numbers);
      if (tile.judged) tile.valueBox.className = value === 0 ? 'good' : 'bad';
    }
    for (const { tile, plot } of this.#charts) plot.setData(this.#data(tile));
  }

  /** The latest, or null. */
  get latest() {
    return this.#last?.numbers ?? null;
  }
}

const size = (tile) => ({ width: Math.max(60, tile.chartBox.clientWidth), height: 30 });
