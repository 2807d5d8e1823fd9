import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { stage, until } from './helper.mjs';

const city = stage({ rate: 20 });
const AXE = readFileSync(new URL('../../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** What axe finds that is serious. It is put in by the driver: the page's own policy lets no foreign script in. */
async function serious(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  return violations.filter((v) => ['serious', 'critical', 'moderate'].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`);
}

for (const [width, height] of [[1280, 900], [390, 844]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`axe finds nothing at ${width} pixels, ${colorScheme}, and nothing is wider than the screen`, async () => {
      const { page, trouble, done } = await city.open('/', { viewport: { width, height }, colorScheme });
      await until(page, () => document.querySelectorAll('#feed button').length > 0 && document.querySelectorAll('#alerts tr').length > 2 && document.querySelectorAll('#pushes .push').length > 0);
      await page.click('#feed button');
      await page.click('#pause');
      // What moves must stand before its colours are looked at.
      await page.waitForTimeout(1200);
      assert.deepEqual(await serious(page), []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'no sideways scrolling');
      assert.deepEqual(trouble, []);
      await done();
    });
  }
}

test('the sample page is as usable', async () => {
  const { page, trouble, done } = await city.open('/push-sample.html');
  assert.deepEqual(await serious(page), []);
  assert.deepEqual(trouble, []);
  await done();
});

test('the keyboard reaches everything, in order and visibly, and gets out of the map again', async () => {
  const { page, done } = await city.open();
  await until(page, () => document.querySelectorAll('#feed button').length > 0 && document.querySelectorAll('#alerts tr').length > 2);
  await page.click('#pause');
  await page.evaluate(() => document.activeElement.blur());
  const wanted = ['#pause', '#theme', '#map', '.leaflet-control-zoom-in', '#whole', '#whose', '#across', '#feed', '#feed button', '#alerts button', 'a[href="#real"]', 'a[href="/openapi.json"]', 'a[href="/push-sample.html"]', '.skip'];
  const reached = new Set();
  const invisible = new Set();
  await page.evaluate(() => document.querySelector('.skip').focus());
  for (let i = 0; i < 120; i++) {
    const here = await page.evaluate((wanted) => {
      const now = document.activeElement;
      const style = getComputedStyle(now);
      return { is: wanted.filter((w) => now.matches(w)), ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2, tag: `${now.tagName}#${now.id}.${now.className}`, end: now === document.body };
    }, wanted);
    here.is.forEach((w) => reached.add(w));
    // The first was not reached by a key.
    if (i > 0 && !here.ring && !here.end) invisible.add(here.tag);
    if (here.end && i > 5) break;
    await page.keyboard.press('Tab');
  }
  assert.deepEqual(wanted.filter((w) => !reached.has(w)), []);
  assert.deepEqual([...invisible], []);
  await done();
});

test('by keys alone: the map moves and zooms, the list chooses, a skip link jumps, pause stops', async () => {
  const { page, done } = await city.open();
  const view = () => page.evaluate(async () => {
    const { map } = (await import('/page/main.js')).city.map;
    return [map.getZoom(), map.getCenter().lng];
  });
  await page.focus('#map');
  const before = await view();
  await page.keyboard.press('+');
  await until(page, async (zoom) => (await import('/page/main.js')).city.map.map.getZoom() > zoom, before[0]);
  const zoomed = await view();
  await page.keyboard.press('ArrowRight');
  await until(page, async (lng) => (await import('/page/main.js')).city.map.map.getCenter().lng > lng, zoomed[1]);
  await page.focus('#whose');
  const name = await page.textContent('#phone-name');
  const whose = await page.inputValue('#whose');
  await page.keyboard.press('ArrowDown');
  await until(page, (whose) => document.getElementById('whose').value !== whose, whose);
  assert.ok((await page.textContent('#phone-name')) !== name || (await page.inputValue('#whose')) !== whose);
  await page.focus('.skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => location.hash), '#whose');
  await page.focus('#pause');
  await page.keyboard.press('Space');
  const still = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    const table = document.getElementById('alerts').textContent;
    const count = city.blinks.count;
    await new Promise((later) => setTimeout(later, 3000));
    return [city.paused, document.getElementById('alerts').textContent === table, city.blinks.count === count];
  });
  assert.deepEqual(still, [true, true, true]);
  await done();
});

test('a screen reader is told politely, and seldom', async () => {
  const { page, done } = await city.open();
  const said = await page.evaluate(async () => {
    const box = document.getElementById('spoken');
    const heard = [];
    new MutationObserver(() => heard.push(box.textContent)).observe(box, { childList: true, characterData: true, subtree: true });
    await new Promise((later) => setTimeout(later, 20_000));
    return { heard, live: box.getAttribute('aria-live'), others: [...document.querySelectorAll('[aria-live]:not(#spoken), [role=alert]')].length };
  });
  assert.equal(said.live, 'polite');
  assert.equal(said.others, 0);
  assert.ok(said.heard.length >= 1 && said.heard.length <= 2, JSON.stringify(said.heard));
  assert.match(said.heard[0], /In the last 15 seconds \d+ events\..*Nothing crossed a border\./);
  await done();
});

test('the tables say what the map shows', async () => {
  const { page, done } = await city.open();
  const told = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    const rows = [...document.querySelectorAll('#hoods tr')].map((tr) => [...tr.cells].map((c) => c.textContent));
    const lived = city.scene.neighborhoods.filter((n) => n.lived);
    return { rows: rows.length, lived: lived.length, wrong: rows.filter(([name, homes, cameras]) => !lived.some((n) => n.name === name && String(n.homes.length) === homes && String(n.cameras.length) === cameras)) };
  });
  assert.ok(told.rows > 1);
  assert.deepEqual([told.rows, told.wrong], [told.lived, []]);
  const body = await page.textContent('body');
  assert.match(body.replace(/\s+/g, ' '), /for trying, developing and testing: its people are made up, and its issuer mints any token/);
  assert.match(body, /make city REAL=1[\s\S]*make up[\s\S]*porchlight config/);
  await done();
});

test('light or dark can be chosen, and is remembered', async () => {
  const { page, done } = await city.open('/', { colorScheme: 'light' });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.selectOption('#theme', 'dark');
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  await page.waitForSelector('html[data-ready]');
  assert.equal(await ground(), dark);
  await done();
});

test('the policy lets nothing in that does not come from here, and no inline code', async () => {
  const { page, done } = await city.open();
  const policy = (await page.request.get(city.url)).headers()['content-security-policy'];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  const blocked = await page.evaluate(async () => {
    const refusals = [];
    document.addEventListener('securitypolicyviolation', (e) => refusals.push(e.effectiveDirective));
    const script = document.createElement('script');
    script.textContent = 'globalThis.broken = true';
    document.body.append(script);
    const image = new Image();
    image.src = 'http://127.0.0.1:9/x.png';
    await fetch('http://127.0.0.1:9/').catch(() => {});
    await new Promise((later) => setTimeout(later, 300));
    return { refusals: [...new Set(refusals)].sort(), broken: globalThis.broken ?? false };
  });
  assert.deepEqual(blocked, { refusals: ['connect-src', 'img-src', 'script-src-elem'], broken: false });
  await done();
});
