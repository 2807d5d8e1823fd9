// A sample for apps: installs the service worker, subscribes to Web Push, and tells Porchlight where to push to.

const $ = (id) => document.getElementById(id);
const say = (text) => ($('said').textContent = text);

async function json(path, init) {
  const response = await fetch(path, init);
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.status === 204 ? null : response.json();
}

/** base64url, as the API gives and takes keys, to bytes and back. */
const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/** Subscribes this browser, and registers it as an endpoint of whoever the token stands for. */
async function subscribe(registration, token) {
  const authorization = `Bearer ${token}`;
  const { vapid_public_key: key } = await json('/v1/push/vapid-key', { headers: { authorization } });
  const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
  // One browser is one endpoint: its id is made once and kept.
  const id = localStorage.getItem('porchlight-endpoint') ?? crypto.randomUUID();
  localStorage.setItem('porchlight-endpoint', id);
  const body = { transport: 'webpush', url: subscription.endpoint, p256dh: text(subscription.getKey('p256dh')), auth: text(subscription.getKey('auth')) };
  await json(`/v1/push-endpoints/${id}`, { method: 'PUT', headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

function list(shown) {
  $('shown').replaceChildren(...(shown.length > 0 ? shown : [{ title: 'Nothing', body: 'yet' }]).map(({ title, body }) => {
    const li = document.createElement('li');
    li.textContent = `${title}: ${body}`;
    return li;
  }));
}

const registration = await navigator.serviceWorker.register('/sw.js');
await navigator.serviceWorker.ready;
navigator.serviceWorker.addEventListener('message', ({ data }) => list(data));
list(await registration.getNotifications());
say('The service worker is installed.');
document.documentElement.dataset.ready = 'yes';

const { residents } = await json('/city/scene');
$('subject').replaceChildren(...residents.slice(0, 50).map((r) => new Option(r.name, r.subject)));
$('subscribe').addEventListener('click', async () => {
  try {
    if ((await Notification.requestPermission()) !== 'granted') throw new Error('the browser was not allowed to show notifications');
    const { access_token: token } = await json('/city/token', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ subject: $('subject').value }) });
    await subscribe(registration, token);
    say('Subscribed: what this resident is told, this browser shows.');
  } catch (error) {
    // No push service (as in headless browsers), no permission, or an address that the deployment does not push to.
    say(`It did not work: ${error.message}.`);
  }
});
