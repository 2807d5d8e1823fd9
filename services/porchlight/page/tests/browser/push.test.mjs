// The sample service worker. A headless browser has no push service to subscribe at, so the push is delivered by the
// browser's own debugging protocol, with the payload as it is once decrypted.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stage, until } from './helper.mjs';

const city = stage({ rate: 1, cameras: 50, homes: 50 });

const ALERT = '9b2f6d3e-7d57-5f0e-9a55-0d8f1b0a7c11';
/** A hint as `libs/push` sends it: filled up with spaces to 512 bytes. */
const hint = (changes) => JSON.stringify({
  alert: ALERT, item: '5e0c2d4a-1111-5222-8333-444455556666', revision: 1, kind: 'motion', lane: 'neighborhood',
  collapse: ALERT.replaceAll('-', ''), silent: false, line: 'neighborhood.person', ...changes,
}).padEnd(512, ' ');

async function receiver() {
  const { page, trouble, done } = await city.open('/push-sample.html', { permissions: ['notifications'] });
  const driver = await page.context().newCDPSession(page);
  const registered = new Promise((known) => driver.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
    const ours = registrations.find((r) => r.scopeURL === `${city.url}/`);
    if (ours) known(ours.registrationId);
  }));
  await driver.send('ServiceWorker.enable');
  const registrationId = await registered;
  await page.evaluate(() => {
    window.heard = 0;
    navigator.serviceWorker.addEventListener('message', () => { window.heard += 1; });
  });
  let sent = 0;
  // The list of notifications is asked for only once the worker has said that it showed this one: whoever asks while one is
  // being put up makes Chromium compare its store with its screen, and what is not yet on the screen is thrown away.
  const deliver = async (...hints) => {
    sent += hints.length;
    await Promise.all(hints.map((data) => driver.send('ServiceWorker.deliverPushMessage', { origin: city.url, registrationId, data })));
    await until(page, (sent) => window.heard >= sent, sent);
  };
  const shown = () => page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready;
    return (await registration.getNotifications()).map(({ title, body, tag, silent, data }) => ({ title, body, tag, silent, revision: data.revision }));
  });
  return { page, trouble, done, deliver, shown };
}

test('two revisions under one tag leave one notification, with the newer text', async () => {
  const { page, trouble, done, deliver, shown } = await receiver();
  await deliver(hint({}));
  assert.deepEqual(await shown(), [{ title: 'Person', body: 'In your neighborhood', tag: ALERT.replaceAll('-', ''), silent: false, revision: 1 }]);
  await deliver(hint({ revision: 2, silent: true, line: 'neighborhood.package' }));
  assert.deepEqual(await shown(), [{ title: 'Package', body: 'In your neighborhood (update 2)', tag: ALERT.replaceAll('-', ''), silent: true, revision: 2 }]);
  await until(page, () => document.getElementById('shown').textContent.includes('Package'));
  assert.deepEqual(trouble, []);
  await done();
});

test('another alert stands beside it, and an older revision that comes late replaces nothing', async () => {
  const { done, deliver, shown } = await receiver();
  await deliver(hint({ revision: 3, line: 'household.vehicle' }));
  await deliver(hint({ alert: 'other', collapse: 'other', kind: 'ding', lane: 'ding', line: 'household.person', revision: 7 }));
  const two = await shown();
  assert.deepEqual(two.map((n) => n.title).sort(), ['Somebody rang', 'Vehicle']);
  await deliver(hint({ revision: 2, line: 'household.person' }));
  await deliver(hint({ alert: 'other', collapse: 'other', kind: 'ding', lane: 'ding', line: 'household.person', revision: 8 }));
  const still = await shown();
  assert.deepEqual(still.map((n) => [n.title, n.revision]).sort(), [['Somebody rang', 8], ['Vehicle', 3]]);
  await done();
});

test('of pushes that come at the same time the newest revision stays, in whatever order they come', async () => {
  const { done, deliver, shown } = await receiver();
  await deliver(...[4, 9, 2, 7, 1, 8].map((revision) => hint({ revision })));
  assert.deepEqual((await shown()).map((n) => n.revision), [9]);
  await done();
});

test('a push that cannot be read still shows something', async () => {
  const { done, deliver, shown } = await receiver();
  await deliver('no JSON at all');
  assert.equal((await shown())[0].tag, 'unreadable');
  await done();
});
