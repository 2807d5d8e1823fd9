import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stage, until } from './helper.mjs';

const city = stage({ rate: 40 });

/** Chooses by the list, as people do, and waits until the feed is there. */
async function choose(page, subject) {
  await page.selectOption('#whose', subject);
  await until(page, () => document.getElementById('phone-live').textContent === 'live');
}

/** The ids of the items that a phone shows. */
const shown = (page) => page.$$eval('#feed button', (all) => all.map((b) => b.dataset.item));

/** Everybody's view, read as the city: which neighborhoods hold each item that was shared while the page looked. */
const alertsOf = (page) => page.evaluate(async () => {
  const { city } = await import('/page/main.js');
  city.heard ??= [];
  if (!city.listening) {
    city.listening = true;
    const take = city.lists.alert.bind(city.lists);
    city.lists.alert = (alert) => {
      city.heard.push({ id: alert.id, item: alert.item, names: alert.neighborhoods.map((n) => n.name) });
      take(alert);
    };
  }
  return city.heard;
});

test('the phone shows what its resident may see, and each tag once, replaced by its newer revision', async () => {
  const { page, trouble, done } = await city.open();
  await until(page, () => document.querySelectorAll('#feed button').length > 0 && document.querySelectorAll('#pushes .push').length > 0);
  const tags = await page.$$eval('#pushes .push', (all) => all.map((li) => li.dataset.tag));
  assert.equal(new Set(tags).size, tags.length);
  await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    // The phone answers as it would after another revision of what it shows first.
    const tag = document.querySelector('#pushes .push').dataset.tag;
    const fetched = globalThis.fetch;
    globalThis.fetch = async (path, init) => {
      const answer = await fetched(path, init);
      if (!String(path).startsWith('/city/phones/')) return answer;
      const pushes = await answer.json();
      const { payload } = pushes.find((p) => p.tag === tag);
      pushes.push({ tag, at: new Date(Date.now() + 60_000).toISOString(), replaced: 1, payload: { ...payload, revision: 99, silent: true, line: 'household.package', kind: 'motion' } });
      return { ok: true, json: async () => pushes };
    };
    city.replacing = tag;
  });
  await until(page, async () => {
    const { city } = await import('/page/main.js');
    const all = [...document.querySelectorAll('#pushes .push')].filter((li) => li.dataset.tag === city.replacing);
    return all.length === 1 && all[0].dataset.revision === '99' && all[0].textContent.includes('Package');
  });
  assert.deepEqual(trouble, []);
  await done();
});

test('somebody across the border sees nothing of it, and the API tells her nothing', async () => {
  const { page, trouble, done } = await city.open();
  await alertsOf(page);
  // An alert that spread somewhere, and a resident who lives elsewhere.
  await until(page, async () => (await import('/page/main.js')).city.heard.some((a) => a.names.length > 0));
  const alert = (await alertsOf(page)).find((a) => a.names.length > 0);
  const foreign = await page.evaluate(async (names) => {
    const { city } = await import('/page/main.js');
    return city.scene.residents.find((r) => r.neighborhoods.length > 0 && !r.neighborhoods.some((n) => names.includes(n.name))).subject;
  }, alert.names);
  await choose(page, foreign);
  await page.waitForTimeout(2500);
  assert.ok(!(await shown(page)).includes(alert.item));
  const asked = await page.evaluate(async ([alert, subject]) => {
    const { App } = await import('/page/api.js');
    const app = new App(subject);
    return [await app.item(alert.item), await app.why(alert.id), await app.item('00000000-0000-7000-8000-000000000000')];
  }, [alert, foreign]);
  assert.deepEqual(asked, [null, null, null]);
  // What she was shown at all was shared where she lives, or her own.
  const others = await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    const lives = city.phone.resident.neighborhoods.map((n) => n.name);
    return [...document.querySelectorAll('#feed button')].map((b) => b.textContent).filter((text) => text.includes('shared with') && !lives.some((name) => text.includes(name)));
  });
  assert.deepEqual(others, []);
  assert.deepEqual(trouble, []);
  await done();
});

test('"why" tells what became of it, and "why not" tells no more than her own token finds out', async () => {
  const { page, trouble, done } = await city.open();
  await until(page, () => document.querySelectorAll('#feed button').length > 0);
  await page.click('#feed button');
  await until(page, () => /Why does .* have this\?/.test(document.getElementById('why-title').textContent));
  await until(page, () => document.querySelectorAll('#alerts button').length > 0);
  await page.click('#across');
  const subject = await page.inputValue('#whose');
  await until(page, (subject) => document.getElementById('whose').value === subject && document.getElementById('phone-live').textContent === 'live', subject);
  await page.evaluate(async () => {
    const { city } = await import('/page/main.js');
    const alert = { id: '00000000-0000-5000-8000-000000000001', item: '00000000-0000-5000-8000-000000000002', camera: city.scene.cameras[0], neighborhoods: city.scene.neighborhoods.filter((n) => n.lived && !city.phone.resident.neighborhoods.includes(n)).slice(0, 1) };
    await city.phone.explainAlert(alert);
  });
  const said = await page.textContent('#why');
  assert.match(said, /not get this\?/);
  assert.match(said, /are 404/);
  assert.match(said, /stopped at the border/);
  assert.deepEqual(trouble, []);
  await done();
});

test('another resident’s phone keeps nothing of the one before', async () => {
  const { page, done } = await city.open();
  await until(page, () => document.querySelectorAll('#feed button').length > 0);
  const before = await shown(page);
  await page.click('#across');
  await until(page, () => document.getElementById('phone-live').textContent === 'live');
  await page.waitForTimeout(1500);
  const after = await shown(page);
  assert.ok(!after.some((id) => before.includes(id)), 'no item of the neighbors over there');
  await done();
});
