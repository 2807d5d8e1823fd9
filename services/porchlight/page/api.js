// Everything that goes over the wire. `/city/*` is the trial city's own view and exists only there; `/v1/*` is what every
// app has, asked with the resident's own token.

/** Splits a stream of server-sent events into messages; feed it text as it comes. */
export class EventText {
  #rest = '';

  /** The messages that this piece completes: `{event, data, id}`; comments are left out. */
  push(piece) {
    this.#rest += piece;
    const blocks = this.#rest.split(/\r?\n\r?\n/);
    this.#rest = blocks.pop();
    return blocks.map(message).filter((m) => m.data !== '');
  }
}

function message(block) {
  const found = { event: 'message', data: '', id: null };
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const [field, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
    if (field === 'data') found.data += found.data ? `\n${value}` : value;
    else if (field === 'event' || field === 'id') found[field] = value;
  }
  return found;
}

async function json(path, init) {
  const response = await fetch(path, init);
  if (!response.ok) throw Object.assign(new Error(`${path}: ${response.status}`), { status: response.status });
  return response.json();
}

/** The city as it was founded. */
export const scene = () => json('/city/scene');

/** What a resident's phone got, oldest first: `[{tag, payload, at, replaced}]`. */
export const phone = (subject) => json(`/city/phones/${encodeURIComponent(subject)}`);

/** Beats and numbers, for as long as the page is open; `on` has `beat`, `numbers` and `state` ("live", "waiting"). */
export function watchCity(on) {
  const source = new EventSource('/city/stream');
  source.addEventListener('beat', (e) => on.beat(JSON.parse(e.data)));
  source.addEventListener('numbers', (e) => on.numbers(JSON.parse(e.data)));
  source.addEventListener('open', () => on.state('live'));
  source.addEventListener('error', () => {
    on.state('waiting');
    // After an answer that is no stream the browser gives up; the city may only be starting.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => watchCity(on), 2000);
  });
}

/** A resident's app: everything by that resident's own token. */
export class App {
  #token = null;
  #end = new AbortController();

  constructor(subject) {
    this.subject = subject;
  }

  async #bearer() {
    this.#token ??= json('/city/token', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ subject: this.subject }),
    }).then((answer) => answer.access_token);
    try {
      return { authorization: `Bearer ${await this.#token}` };
    } catch (error) {
      this.#token = null;
      throw error;
    }
  }

  async #get(path) {
    const ask = async () => json(path, { headers: await this.#bearer(), signal: this.#end.signal });
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 401) throw error;
      this.#token = null;
      return ask();
    }
  }

  /** The first page of the feed. */
  feed = (limit) => this.#get(`/v1/feed?limit=${limit}`);
  /** One item, a clip's or thumbnail's description, what became of an alert: null where the answer is 404. */
  item = (id) => this.#orNull(`/v1/items/${id}`);
  media = (id) => this.#orNull(`/v1/media/${id}`);
  why = (alert) => this.#orNull(`/v1/alerts/${alert}/why`);

  async #orNull(path) {
    try {
      return await this.#get(path);
    } catch (error) {
      if (error.status === 404 || error.status === 410) return null;
      throw error;
    }
  }

  /** Items as they change, until `close`. Comes again by itself, from where it was. */
  async follow(onItem, onResync) {
    let last = null;
    while (!this.#end.signal.aborted) {
      try {
        const headers = { ...(await this.#bearer()), ...(last ? { 'last-event-id': last } : {}) };
        const response = await fetch('/v1/feed/stream', { headers, signal: this.#end.signal });
        if (response.status === 401) this.#token = null;
        if (response.ok) last = await this.#read(response, onItem, onResync, last);
      } catch {
        // Cut off: the next turn asks again.
      }
      await new Promise((again) => setTimeout(again, 1500));
    }
  }

  async #read(response, onItem, onResync, last) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const text = new EventText();
    for (let at = last; ; ) {
      const { value, done } = await reader.read().catch(() => ({ done: true }));
      if (done) return at;
      for (const { event, data, id } of text.push(value)) {
        at = id ?? at;
        if (event === 'item') onItem(JSON.parse(data));
        else if (event === 'resync') onResync();
        else if (event === 'closed' && JSON.parse(data).reason === 'token_expired') this.#token = null;
      }
    }
  }

  /** Ends the stream and whatever is under way. */
  close() {
    this.#end.abort();
  }
}
