// An app in sixty lines: it signs in, moves in, reads the feed and follows it. Node 20, no libraries:
//   node client.mjs GATEWAY ISSUER SUBJECT LON LAT [N]     ends after N items; without, never
const [gateway, issuer, subject, lon, lat, most = "Infinity"] = process.argv.slice(2);
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// A city mints any token. With a real issuer this is its sign-in (authorization code with PKCE).
async function signIn() {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ subject, scopes: [] });
  return (await (await fetch(`${issuer}/token`, { method: "POST", headers, body })).json()).access_token;
}
let token = await signIn();

async function call(method, path, body) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const answer = await fetch(gateway + path, { method, headers, body: body && JSON.stringify(body) });
  const said = await answer.json();
  if (answer.ok) return said;
  const after = answer.headers.get("retry-after"); // 429 and 503 say when to come again
  if (!after && answer.status !== 401) throw new Error(`${answer.status} ${said.code}: ${said.detail ?? said.title}`);
  if (after) await sleep(+after);
  else token = await signIn();
  return call(method, path, body);
}

const have = new Map(); // item -> revision: what comes again is known by both
function show(item) {
  if ((have.get(item.id) ?? 0) >= item.revision) return;
  have.set(item.id, item.revision);
  console.log(JSON.stringify({ item: item.id, revision: item.revision, scope: item.scope, labels: item.labels }));
  if (have.size >= +most) process.exit(0);
}
async function readFeed(cursor = "") {
  const page = await call("GET", `/v1/feed${cursor && `?cursor=${encodeURIComponent(cursor)}`}`);
  page.items.forEach(show);
  if (page.next_cursor) await readFeed(page.next_cursor);
}
async function follow(last) {
  const headers = { authorization: `Bearer ${token}`, ...(last && { "last-event-id": last }) };
  const stream = await fetch(`${gateway}/v1/feed/stream`, { headers }).catch(() => ({ status: 0 }));
  if (stream.status === 401) token = await signIn();
  let text = "";
  try {
    for await (const chunk of stream.ok ? stream.body.pipeThrough(new TextDecoderStream()) : []) {
      const frames = (text += chunk).split("\n\n");
      text = frames.pop();
      for (const frame of frames) {
        const field = (name) => frame.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1];
        last = field("id") ?? last;
        if (field("event") === "item") show(JSON.parse(field("data")));
        if (field("event") === "resync") await readFeed(); // more was missed than is kept
      }
    }
  } catch {} // the connection broke
  await sleep(1);
  return follow(last); // with the last id: nothing is missed
}
const home = "01900000-0000-7000-8000-000000000001"; // of the app's choice, and kept: doing it again changes nothing
await call("PUT", `/v1/homes/${home}`, { name: "Home", position: { lon: +lon, lat: +lat } });
await readFeed();
await follow();
