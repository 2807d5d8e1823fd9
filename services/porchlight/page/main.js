// Puts the page together: the city's stream goes to the map, the tables and the numbers; a chosen resident to the phone.

import * as api from './api.js';
import { Blinks } from './blink.js';
import { Frames } from './frames.js';
import { Lists, Speaker } from './lists.js';
import { CityMap } from './map.js';
import { Numbers } from './numbers.js';
import { Phone } from './phone.js';
import { acrossTheBorder, readScene } from './scene.js';
import { applyTheme } from './theme.js';
import { Waves } from './wave.js';
import { listed } from './words.js';

const $ = (id) => document.getElementById(id);

/** The parts of the running page, for tests and for the curious: `(await import('/page/main.js')).city`. */
export const city = { ready: false, paused: false };

async function begin() {
  const numbers = new Numbers($('tiles'));
  const retheme = applyTheme($('theme'), () => {
    numbers.theme();
    city.map?.theme();
    city.blinks?.theme();
    city.waves?.theme();
  });
  retheme();
  const scene = readScene(await patiently(api.scene));
  const speaker = new Speaker($('spoken'), numbers);
  const phone = new Phone(scene, (text) => speaker.later(text));
  const lists = new Lists(scene, (alert) => phone.explainAlert(alert));
  const map = new CityMap($('map'), scene, { pick: (r) => choose(r), hover: (n) => hover(n) });
  const blinks = new Blinks(map);
  const waves = new Waves(map, (resident, now) => blinks.home(resident, now));
  const frames = new Frames(new URLSearchParams(location.search).has('frames') ? $('frames') : null);
  Object.assign(city, { scene, numbers, speaker, phone, lists, map, blinks, waves, frames, beat, choose, drawAt });

  const lived = scene.neighborhoods.filter((n) => n.lived);
  $('city-name').textContent = scene.name;
  $('about').textContent = `${scene.residents.length.toLocaleString('en')} homes, ${scene.cameras.length.toLocaleString('en')} cameras, ${scene.neighborhoods.length} neighborhoods, ${scene.rate} events a second, seed ${scene.seed}`;
  fillChoice(scene, lived);
  listen();
  const first = [...lived].sort((a, b) => b.cameras.length * b.homes.length - a.cameras.length * a.homes.length)[0];
  const owners = new Set(scene.cameras.map((c) => c.home));
  const somebody = first?.homes.find((r) => owners.has(r.subject)) ?? first?.homes[0] ?? scene.residents[0];
  if (somebody) choose(somebody, { silent: true });
  api.watchCity({ beat, numbers: (n) => city.paused || numbers.take(n), state });
  requestAnimationFrame(loop);
  city.ready = true;
  document.documentElement.dataset.ready = 'yes';
}

/** The city may be starting still. */
async function patiently(ask) {
  for (;;) {
    try {
      return await ask();
    } catch {
      await new Promise((again) => setTimeout(again, 1000));
    }
  }
}

/** A tenth of a second of the city. */
function beat({ events, alerts }) {
  if (city.paused || document.hidden) return;
  const { scene, blinks, waves, lists, speaker } = city;
  const now = performance.now();
  for (const [index, , after] of events) {
    if (scene.cameras[index]) blinks.camera(scene.cameras[index], now + after);
  }
  const known = alerts.filter((a) => scene.cameras[a.camera]).map((a) => ({
    ...a,
    at: Date.now(),
    camera: scene.cameras[a.camera],
    neighborhoods: a.neighborhoods.map((id) => scene.byId.get(id)).filter(Boolean),
  }));
  for (const alert of known) {
    waves.start(alert.camera, alert.neighborhoods, now);
    lists.alert(alert);
  }
  speaker.count(events.length, known);
}

function loop(now) {
  requestAnimationFrame(loop);
  const begun = performance.now();
  if (!city.paused) drawAt(now, city.frames.count % share());
  else city.map.drawStill(city.map.view(now));
  city.frames.frame(now, performance.now() - begun);
}

/** Over how many frames one picture is spread where the machine cannot draw all of it in each. */
function share() {
  const { pace } = city.frames;
  return pace > 30 ? 4 : pace > 22 ? 3 : pace > 18.5 ? 2 : 1;
}

/** Draws the frame of a moment: `part` 0 has the waves, the one before it the blinks; where one is all, both. */
function drawAt(now, part = 0) {
  const view = city.map.view(now);
  const moved = city.map.drawStill(view);
  if (part === 0 || moved) city.waves.draw(view, now);
  if (part === 1 || share() === 1 || moved) city.blinks.draw(view, now);
}

/** The phone becomes a resident's. */
function choose(resident, { silent = false } = {}) {
  $('whose').value = resident.subject;
  city.map.select(resident);
  city.lists.resident = resident;
  city.lists.draw();
  city.phone.choose(resident);
  if (!silent) city.speaker.now(`The phone is ${resident.name}'s, of ${listed(resident.neighborhoods.map((n) => n.name))}.`);
}

function hover(n) {
  $('hover').textContent = n
    ? `${n.name}: ${n.homes.length} homes, ${n.cameras.length} cameras, ${n.alerts} alerts since you look`
    : 'Each shared alert spreads inside its polygon and stops at the border.';
}

function state(word) {
  $('state').className = `state ${word}`;
  $('state-text').textContent = word === 'live' ? 'live' : 'waiting for the city';
}

function fillChoice(scene, lived) {
  const groups = lived.sort((a, b) => a.name.localeCompare(b.name)).filter((n) => n.homes.length > 0).map((n) => {
    const group = document.createElement('optgroup');
    group.label = n.name;
    group.append(...n.homes.filter((r) => r.neighborhoods[0] === n).map((r) => new Option(r.name, r.subject)));
    return group;
  });
  $('whose').replaceChildren(...groups, ...scene.residents.filter((r) => r.neighborhoods.length === 0).map((r) => new Option(r.name, r.subject)));
}

function listen() {
  const bySubject = new Map(city.scene.residents.map((r) => [r.subject, r]));
  $('whose').addEventListener('change', (e) => choose(bySubject.get(e.target.value)));
  $('across').addEventListener('click', () => {
    const other = acrossTheBorder(city.scene.residents, city.phone.resident);
    if (other) choose(other);
  });
  $('whole').addEventListener('click', () => city.map.showAll());
  $('pause').addEventListener('click', () => {
    city.paused = !city.paused;
    for (const part of [city.phone, city.lists, city.speaker]) part.paused = city.paused;
    $('pause').setAttribute('aria-pressed', String(city.paused));
    city.speaker.now(city.paused ? 'Paused: nothing moves.' : 'Goes on.');
  });
}


begin();
