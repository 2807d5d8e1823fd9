// The page's own frame counter, shown with `?frames`: how many frames came, and how many came late.

/** A frame that took longer than three of a 60 Hz screen is seen as a stutter. */
const LONG_MS = 50;

/** Counts frames. */
export class Frames {
  #last = null;
  #since = performance.now();
  #work = 0;
  #gaps = [];

  constructor(box) {
    this.box = box;
    this.count = 0;
    this.long = 0;
    /** The gap between frames of late, ms. */
    this.pace = 16;
    if (box) {
      box.hidden = false;
      setInterval(() => this.#show(), 500);
    }
  }

  /** A frame, and how long its drawing took. */
  frame(now, workMs) {
    if (this.#last !== null && !document.hidden) {
      const gap = now - this.#last;
      this.count += 1;
      this.pace += (Math.min(gap, 200) - this.pace) / 20;
      this.#work += workMs;
      if (gap > LONG_MS) this.long += 1;
      this.#gaps.push(gap);
      if (this.#gaps.length > 600) this.#gaps.shift();
    }
    this.#last = now;
  }

  /** Begins anew. */
  reset() {
    this.count = this.long = this.#work = 0;
    this.#gaps = [];
    this.#since = performance.now();
  }

  /** Frames, those that came late, a second, ms of drawing in each, and the gap that 99 of 100 stay under. */
  get reading() {
    const sorted = [...this.#gaps].sort((a, b) => a - b);
    return {
      frames: this.count,
      long: this.long,
      fps: this.count / ((performance.now() - this.#since) / 1000),
      work_ms: this.count > 0 ? this.#work / this.count : 0,
      p99_gap_ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    };
  }

  #show() {
    const r = this.reading;
    this.box.textContent = `${r.fps.toFixed(1)} frames/s, ${r.work_ms.toFixed(1)} ms drawing, p99 gap ${r.p99_gap_ms.toFixed(0)} ms, over ${LONG_MS} ms: ${r.long} of ${r.frames}`;
  }
}
