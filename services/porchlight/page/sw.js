// A sample service worker for apps: what to do with a Web Push of Porchlight. Copy it; it needs nothing of this page.
//
// The payload is a hint (JSON, filled up with spaces): {"alert", "item", "revision", "kind", "lane", "collapse", "silent",
// "line"}. `line` is a key for the app's own words, `collapse` the tag under which a later revision takes the place of an
// earlier one, `silent` says that it should do so quietly. Nothing of what happened stands in it: the app asks the API.

const WORDS = { person: 'Person', package: 'Package', vehicle: 'Vehicle', animal: 'Animal', motion: 'Motion' };

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

// One after the other: two at once would each look at what is shown before the other has changed it. And Chromium throws
// away a notification that is asked about while it is being put up.
let before = Promise.resolve();
self.addEventListener('push', (event) => {
  before = before.then(() => show(read(event.data)), () => show(read(event.data)));
  event.waitUntil(before);
});

/** A push that cannot be read must still show something: browsers take the permission from those that stay silent. */
function read(data) {
  try {
    return data.json();
  } catch {
    return { alert: null, item: null, revision: 0, kind: 'motion', collapse: 'unreadable', silent: false, line: 'neighborhood.motion' };
  }
}

async function show(hint) {
  // Pushes may overtake each other: an older revision must not take the place of a newer one.
  const [shown] = await self.registration.getNotifications({ tag: hint.collapse });
  const newest = shown && shown.data.revision > hint.revision ? shown.data : hint;
  const [scope, label] = String(newest.line).split('.');
  const title = newest.kind === 'ding' ? 'Somebody rang' : (WORDS[label] ?? WORDS.motion);
  const where = scope === 'household' ? 'At your own door' : 'In your neighborhood';
  await self.registration.showNotification(title, {
    body: newest.revision > 1 ? `${where} (update ${newest.revision})` : where,
    tag: newest.collapse,
    renotify: !hint.silent && !shown,
    silent: hint.silent,
    icon: '/page/icon.svg',
    data: newest,
  });
  // Open pages hear what is shown now, and need not ask.
  const all = (await self.registration.getNotifications()).map(({ title, body }) => ({ title, body }));
  for (const client of await self.clients.matchAll()) client.postMessage(all);
}

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data));
});

async function open({ item }) {
  const [client] = await self.clients.matchAll({ type: 'window' });
  if (client) await client.focus();
  else await self.clients.openWindow(item ? `/#${item}` : '/');
}
