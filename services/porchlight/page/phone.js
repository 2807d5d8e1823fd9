// The phone beside the map: what one resident got, what she may see, and why. All of it by her own token, except the list
// of pushes, which is her phone's own.

import * as api from './api.js';
import { clock, kindOf, listed, pushText, reason, what, whyNot, whySentences } from './words.js';

const MOST_ITEMS = 30;
const SHOWN_PUSHES = 3;
const DRAW_MS = 700;

/** An element with classes and children. */
export function element(tag, cls, ...children) {
  const made = document.createElement(tag);
  if (cls) made.className = cls;
  made.append(...children.filter((c) => c !== null));
  return made;
}

/** The mark of a kind: a shape, for nothing is told by colour alone; the words stand beside it. */
function sign(kind) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `/page/icons.svg#${kind}`);
  svg.append(use);
  const box = element('span', 'sign', svg);
  box.setAttribute('aria-hidden', 'true');
  return box;
}

const $ = (id) => document.getElementById(id);

/** The phone; `onNews(text)` hears what a screen reader should be told. */
export class Phone {
  #app = null;
  #items = new Map();
  #pushes = [];
  #timer = null;
  #changed = false;

  constructor(scene, onNews) {
    this.scene = scene;
    this.onNews = onNews;
    this.resident = null;
    this.paused = false;
    setInterval(() => this.#draw(), DRAW_MS);
  }

  /** The phone becomes a resident's: whoever's it was before, nothing of that stays. */
  async choose(resident) {
    this.#app?.close();
    clearTimeout(this.#timer);
    this.resident = resident;
    this.#items = new Map();
    this.#pushes = [];
    this.#changed = true;
    const app = (this.#app = new api.App(resident.subject));
    $('phone-name').textContent = resident.name;
    $('phone-place').textContent = `lives in ${listed(resident.neighborhoods.map((n) => n.name)) || 'no neighborhood'}`;
    $('phone-live').textContent = 'connecting';
    this.#say('Why?', [element('p', '', 'Choose an item of the phone, or an alert of the city: here stands why this resident did, or did not, get it.')]);
    this.#draw();
    this.#readPushes(app);
    await this.#readFeed(app);
    app.follow((item) => this.#take(app, item), () => this.#readFeed(app));
  }

  async #readFeed(app) {
    try {
      const page = await app.feed(MOST_ITEMS);
      for (const item of page.items) this.#take(app, item);
      if (app === this.#app) $('phone-live').textContent = 'live';
    } catch (error) {
      if (app === this.#app) $('phone-live').textContent = error.status ? `refused (${error.status})` : 'offline';
    }
  }

  /** Every state of an item comes by id and revision: older ones, and repeats, change nothing. */
  #take(app, item) {
    if (app !== this.#app || (this.#items.get(item.id)?.revision ?? 0) >= item.revision) return;
    this.#items.set(item.id, item);
    const oldest = [...this.#items.values()].sort((a, b) => (a.received_at < b.received_at ? 1 : -1)).slice(MOST_ITEMS);
    for (const { id } of oldest) this.#items.delete(id);
    $('phone-live').textContent = 'live';
    this.#changed = true;
  }

  async #readPushes(app) {
    if (!this.paused && !document.hidden) {
      try {
        const pushes = await api.phone(app.subject);
        if (app !== this.#app) return;
        this.#note(pushes);
      } catch {
        // The next turn asks again.
      }
    }
    if (app === this.#app) this.#timer = setTimeout(() => this.#readPushes(app), 1000);
  }

  /** The phone shows one notification for each tag: the newest. */
  #note(pushes) {
    const byTag = new Map();
    for (const push of pushes) {
      const known = byTag.get(push.tag);
      byTag.delete(push.tag);
      byTag.set(push.tag, { ...push, replaced: Math.max(push.replaced, known ? known.replaced + 1 : 0) });
    }
    const now = [...byTag.values()].reverse();
    if (now[0]?.at === this.#pushes[0]?.at && now.length === this.#pushes.length) return;
    const first = this.#pushes.length === 0;
    this.#pushes = now;
    this.#changed = true;
    if (!first && now[0]) {
      const { title, body } = pushText(now[0].payload);
      this.onNews(`${this.resident.name}'s phone: ${title}. ${body}.`);
    }
  }

  #draw() {
    $('phone-clock').textContent = clock(Date.now()).slice(0, 5);
    if (!this.#changed || this.paused) return;
    this.#changed = false;
    this.#drawPushes();
    this.#drawFeed();
  }

  #drawPushes() {
    const list = $('pushes');
    const before = new Map([...list.children].map((li) => [li.dataset.tag, li]));
    $('pushes-count').textContent = this.#pushes.length > SHOWN_PUSHES ? `the newest ${SHOWN_PUSHES} of ${this.#pushes.length}` : '';
    const shown = this.#pushes.slice(0, SHOWN_PUSHES).map((push) => {
      const { kind, title, body } = pushText(push.payload);
      const old = before.get(push.tag);
      if (old?.dataset.at === push.at) {
        old.className = 'push';
        return old;
      }
      const replaced = push.replaced > 0 ? element('span', '', `replaced ${push.replaced}×`) : null;
      const time = element('div', 'when', element('time', '', clock(push.at)), replaced);
      const li = element('li', `push ${old ? 'again' : before.size > 0 ? 'new' : ''}`, sign(kind), element('div', '', element('b', '', title), element('span', '', body)), time);
      Object.assign(li.dataset, { tag: push.tag, at: push.at, revision: push.payload.revision });
      return li;
    });
    list.replaceChildren(...(shown.length > 0 ? shown : [element('li', 'none', 'No notification yet.')]));
  }

  #drawFeed() {
    const list = $('feed');
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.item : null;
    const items = [...this.#items.values()].sort((a, b) => (a.received_at < b.received_at ? 1 : -1));
    const before = new Map([...list.children].map((li) => [li.dataset.state, li]));
    const rows = items.map((item) => {
      // A row is made once for each revision: a busy neighborhood changes its first rows many times a minute.
      const state = `${item.id} ${item.revision}`;
      if (before.has(state)) return before.get(state);
      const kind = kindOf(item);
      const media = item.media.length > 0 ? `, ${item.media.length} ${item.media.length === 1 ? 'picture' : 'pictures'}` : '';
      const words = element('span', '', element('b', '', what(kind)), element('span', '', reason(item, this.#nameOf) + media));
      const button = element('button', '', sign(kind), words, element('time', '', clock(item.received_at)));
      button.type = 'button';
      button.dataset.item = item.id;
      button.addEventListener('click', () => this.explainItem(item));
      const li = element('li', '', button);
      li.dataset.state = state;
      return li;
    });
    list.replaceChildren(...(rows.length > 0 ? rows : [element('li', 'none', 'Nothing that this resident may see has happened yet.')]));
    if (focused) list.querySelector(`[data-item="${focused}"]`)?.focus();
  }

  #nameOf = (id) => this.scene.byId.get(id)?.name ?? 'a neighborhood';

  #say(title, parts) {
    $('why-title').textContent = title;
    $('why-text').replaceChildren(...parts);
  }

  /** Why she sees an item of her feed, and got (or not) its pushes. */
  async explainItem(item) {
    const app = this.#app;
    const entries = await app.why(item.alert).catch(() => null);
    const media = item.media.length > 0 ? await app.media(item.media[0].id).catch(() => null) : null;
    if (app !== this.#app) return;
    const sentences = whySentences(entries ?? []);
    const pushes = sentences.length > 0
      ? element('ul', '', ...sentences.map((s) => element('li', '', s)))
      : element('p', '', 'No push was planned for her: it is in her feed, but was no news for her phone.');
    const picture = media && element('p', 'quiet', `Picture: ${media.content_type}, ${media.bytes} bytes, SHA-256 ${media.sha256.slice(0, 16)}…; the link to it holds a minute and is not opened here.`);
    this.#show(`Why does ${this.resident.name} have this?`, [element('p', '', `${what(kindOf(item))}: ${reason(item, this.#nameOf)}.`), pushes, picture]);
  }

  /** Why she did or did not get an alert of the city: asked with her own token. */
  async explainAlert(alert) {
    const app = this.#app;
    const [entries, item] = await Promise.all([app.why(alert.id), app.item(alert.item)]).catch(() => [undefined]);
    if (app !== this.#app) return;
    if (entries === undefined) {
      this.#show('Why?', [element('p', '', 'The city did not answer. Try again in a moment.')]);
    } else if (item) {
      await this.explainItem(item);
    } else {
      const { api: asked, city } = whyNot(this.resident, alert);
      this.#show(`Why did ${this.resident.name} not get this?`, [element('p', '', asked), element('p', '', city)]);
    }
  }

  #show(title, parts) {
    this.#say(title, parts.filter(Boolean));
    $('why').focus({ preventScroll: matchMedia('(min-width: 1001px)').matches });
    $('why').scrollIntoView({ block: 'nearest' });
  }
}
