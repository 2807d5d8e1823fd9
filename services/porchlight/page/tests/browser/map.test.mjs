import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stage, until } from './helper.mjs';

const city = stage({ rate: 20 });

test('the map draws every polygon, and each that is in view shows on the canvas', async () => {
  const { page, trouble, done } = await city.open();
  const seen = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    const scene = await (await fetch('/city/scene')).json();
    const view = city.map.view();
    city.map.drawStill(view);
    const { canvas } = city.map.still;
    const pixels = city.map.still.getImageData(0, 0, canvas.width, canvas.height).data;
    const blank = [];
    let looked = 0;
    for (const n of city.scene.neighborhoods) {
      const [x, y] = [n.label[0] * view.scale + view.x, n.label[1] * view.scale + view.y].map((v) => Math.round(v * city.map.ratio));
      if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) continue;
      looked += 1;
      if (pixels[(y * canvas.width + x) * 4 + 3] === 0) blank.push(n.name);
    }
    return { of: scene.neighborhoods.features.length, drawn: city.scene.neighborhoods.length, looked, blank, water: pixels[(40 * canvas.width + canvas.width - 60) * 4 + 3] };
  });
  assert.equal(seen.drawn, seen.of);
  assert.ok(seen.looked >= 8, `${seen.looked} in view`);
  assert.deepEqual(seen.blank, []);
  assert.deepEqual(trouble, []);
  await done();
});

test('an event blinks where its camera stands, and goes out', async () => {
  const { page, done } = await city.open();
  const light = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    city.paused = true;
    city.blinks.clear();
    const view = city.map.view();
    const { blinks: ctx, ratio, box } = city.map;
    const camera = city.scene.cameras.findIndex((c) => {
      const [x, y] = [c.x * view.scale + view.x, c.y * view.scale + view.y];
      return x > 20 && y > 20 && x < box.clientWidth - 20 && y < box.clientHeight - 20;
    });
    city.paused = false;
    city.beat({ events: [[camera, 'person', 0]], alerts: [] });
    city.paused = true;
    const now = performance.now();
    const { x, y } = city.scene.cameras[camera];
    const at = () => ctx.getImageData(Math.round((x * view.scale + view.x) * ratio), Math.round((y * view.scale + view.y) * ratio), 1, 1).data[3];
    const readings = [];
    for (const after of [60, 500, 2000]) {
      city.blinks.draw(view, now + after);
      readings.push(at());
    }
    return readings;
  });
  assert.ok(light[0] > 120 && light[1] > 0 && light[2] === 0, light.join(' '));
  await done();
});

test('what really comes on the stream blinks', async () => {
  const { page, done } = await city.open();
  await until(page, async () => (await import('/page/main.js')).city.blinks.count > 0);
  await done();
});

/** How far beyond a border a pixel's middle may be lit, px: outlines leave out what is closer than 0.7, half a pixel's diagonal is 0.71. */
const GRACE = 1.5;

/** Gives the page `litPixels`: of what the waves' canvas shows, how many pixels are lit, how many brightly, and which beyond all of the polygons. */
const measure = (page) => page.evaluate(async (grace) => {
  const { inside } = await import('/page/scene.js');
  const fromEdge = (rings, x, y) => {
    let near = Infinity;
    for (const ring of rings) {
      for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
        const [dx, dy, px, py] = [ring[i] - ring[j], ring[i + 1] - ring[j + 1], x - ring[j], y - ring[j + 1]];
        const t = Math.max(0, Math.min(1, (px * dx + py * dy) / (dx * dx + dy * dy || 1)));
        near = Math.min(near, Math.hypot(px - t * dx, py - t * dy));
      }
    }
    return near;
  };
  globalThis.litPixels = (map, view, polygons) => {
    const { canvas } = map.waves;
    const pixels = map.waves.getImageData(0, 0, canvas.width, canvas.height).data;
    const seen = { lit: 0, bright: 0, outside: [] };
    for (let i = 0; i < pixels.length; i += 4) {
      const alpha = pixels[i + 3];
      if (alpha === 0) continue;
      seen.lit += 1;
      if (alpha > 60) seen.bright += 1;
      const [px, py] = [(i / 4) % canvas.width, Math.floor(i / 4 / canvas.width)];
      const [x, y] = [((px + 0.5) / map.ratio - view.x) / view.scale, ((py + 0.5) / map.ratio - view.y) / view.scale];
      if (!polygons.some(({ rings }) => inside(rings, x, y) || fromEdge(rings, x, y) * view.scale <= grace)) seen.outside.push([px, py, alpha]);
    }
    return seen;
  };
}, GRACE);

/** For every moment of an alert's wave: how many pixels are lit inside its polygon, and which outside of it. */
const spread = async (page, name) => {
  await measure(page);
  return page.evaluate(async (name) => {
    const { city } = await import('/page/main.js');
    city.paused = true;
    city.waves.clear();
    const { map, scene } = city;
    const n = name ? scene.neighborhoods.find((n) => n.name === name) : [...scene.neighborhoods].sort((a, b) => b.cameras.length - a.cameras.length)[0];
    map.show(n.homes[0]);
    await new Promise((drawn) => setTimeout(drawn, 600));
    const view = map.view();
    const camera = n.cameras.find((c) => c.neighborhoods.length === 1);
    city.paused = false;
    city.beat({ events: [], alerts: [{ id: 'a', item: 'i', camera: camera.index, neighborhoods: [n.id], revision: 1 }] });
    city.paused = true;
    const now = performance.now();
    const moments = [];
    for (const after of [100, 500, 1000, 1800, 2500, 3500, 8000]) {
      city.waves.draw(view, now + after);
      const { lit, bright, outside } = globalThis.litPixels(map, view, [n]);
      moments.push({ after, lit, bright, outside: outside.length, first: outside.slice(0, 3) });
    }
    return { name: n.name, holes: n.rings.length - 1, moments };
  }, name);
};

test('an alert spreads inside its polygon and not a pixel beyond the border', async () => {
  const { page, done } = await city.open();
  const { name, moments } = await spread(page);
  for (const m of moments) assert.equal(m.outside, 0, `${name} after ${m.after} ms: ${JSON.stringify(m)}`);
  const lit = moments.map((m) => m.lit);
  assert.ok(lit[0] > 500, `it begins: ${lit}`);
  // The ring of light wanders, and what was lit is dark again at the end.
  assert.ok(moments.some((m) => m.bright > 100), JSON.stringify(moments));
  assert.equal(lit.at(-1), 0);
  await done();
});

test('it leaves out the hole of its polygon, where other people live', { skip: process.env.PAGE_URL && 'the polygons with people have no hole there' }, async () => {
  const { page, done } = await city.open();
  const { holes, moments } = await spread(page, 'Malden');
  assert.equal(holes, 1);
  for (const m of moments) assert.equal(m.outside, 0, JSON.stringify(m));
  await done();
});

test('seen from afar too, it stays within the border of every polygon', async () => {
  const { page, done } = await city.open();
  await measure(page);
  const shown = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    city.paused = true;
    const { map, scene, waves } = city;
    const view = map.view();
    return scene.neighborhoods.filter((n) => n.cameras.length > 0 && map.sees(n.box, view)).map((n) => {
      waves.clear();
      const now = performance.now();
      waves.start(n.cameras[0], [n], now);
      waves.draw(view, now + 1500);
      const { lit, outside } = globalThis.litPixels(map, view, [n]);
      return { name: n.name, lit, outside };
    });
  });
  assert.ok(shown.filter(({ lit }) => lit > 0).length >= 8, JSON.stringify(shown));
  assert.deepEqual(shown.filter(({ outside }) => outside.length > 0), []);
  await done();
});

test('of the real stream too, only polygons that may hear light up', async () => {
  const { page, trouble, done } = await city.open();
  await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    city.waves.clear();
    city.may = new Set();
    const start = city.waves.start.bind(city.waves);
    city.waves.start = (camera, neighborhoods, now) => {
      for (const n of neighborhoods) {
        city.may.add(n);
        if (!camera.neighborhoods.includes(n)) throw new Error(`an alert of a camera outside of ${n.name}`);
      }
      start(camera, neighborhoods, now);
    };
  });
  await until(page, async () => (await import('/page/main.js')).city.may.size >= 2);
  await measure(page);
  const found = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    city.paused = true;
    const { map, may } = city;
    const view = map.view();
    city.waves.draw(view, performance.now());
    return globalThis.litPixels(map, view, [...may]);
  });
  assert.ok(found.lit > 0);
  assert.deepEqual(found.outside, []);
  assert.deepEqual(trouble, []);
  await done();
});

test('the homes of the polygon are told as the front passes them, and no other home', async () => {
  const { page, done } = await city.open();
  const told = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    city.paused = true;
    city.waves.clear();
    const n = city.scene.neighborhoods.filter((n) => n.cameras.length > 0).sort((a, b) => b.homes.length - a.homes.length)[0];
    const now = performance.now();
    city.waves.start(n.cameras[0], [n], now);
    const heard = [];
    city.waves.told = (r, at) => heard.push([r, at - now]);
    for (let t = 0; t < 4000; t += 50) city.waves.draw(city.map.view(), now + t);
    return { homes: n.homes.length, heard: new Set(heard.map(([r]) => r)).size, times: heard.length, foreign: heard.filter(([r]) => !r.neighborhoods.includes(n)).length, first: heard[0][1], last: heard.at(-1)[1] };
  });
  assert.deepEqual([told.heard, told.times, told.foreign], [told.homes, told.homes, 0]);
  assert.ok(told.last > told.first, 'one after the other');
  await done();
});

test('with reduced motion nothing grows: the polygon is lit as a whole, and the homes are told', async () => {
  const { page, done } = await city.open('/', { reducedMotion: 'reduce' });
  const { moments } = await spread(page);
  assert.equal(moments[0].lit, moments[1].lit, JSON.stringify(moments));
  assert.ok(moments.every((m) => m.outside === 0));
  await done();
});

test('a click on the map picks a resident who lives there', async () => {
  const { page, done } = await city.open();
  const box = await page.locator('#map').boundingBox();
  const aim = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    const view = city.map.view();
    const n = city.scene.neighborhoods.filter((n) => n.homes.length > 0 && n !== city.phone.resident.neighborhoods[0]).sort((a, b) => b.homes.length - a.homes.length)[0];
    return { name: n.name, x: n.label[0] * view.scale + view.x, y: n.label[1] * view.scale + view.y };
  });
  await page.mouse.click(box.x + aim.x, box.y + aim.y);
  await until(page, (name) => document.getElementById('phone-place').textContent.includes(name), aim.name);
  await done();
});
