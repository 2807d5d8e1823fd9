// The city's page without a city: the same paths and shapes from a made-up one, for working on the page and for its tests.
//   node mock/server.mjs [--port 8788] [--rate 200] [--cameras 2000] [--homes 1500] [--seed 1]
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

import { Life } from './life.mjs';
import { makeScene } from './people.mjs';

const PAGE = new URL('../', import.meta.url);
const CSP = readFileSync(new URL('csp.txt', PAGE), 'utf8').trim();
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' };
const ROOT = { '/': 'index.html', '/sw.js': 'sw.js', '/push-sample.html': 'push-sample.html' };
const NOT_FOUND = { type: 'about:blank', title: 'Not Found', status: 404, code: 'not_found' };

/** Starts a mock; answers `{url, life, scene, close}`. */
export async function startMock(options = {}) {
  const scene = makeScene(options);
  const sceneText = JSON.stringify(scene);
  const watchers = new Set();
  const say = (event, data) => watchers.forEach((w) => w.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
  const life = new Life(scene, say, options);
  // An evening before anybody looks.
  for (let i = 0; i < 600; i++) life.happen(Math.floor(life.rng() * scene.cameras.length), 'motion', ['person'], Date.now() - (600 - i) * 900);
  const timers = [setInterval(() => life.beat(), 100), setInterval(() => life.numbers(), 1000)];
  const server = createServer((request, response) => {
    const answer = (status, body, headers = {}) => {
      response.writeHead(status, { 'content-security-policy': CSP, 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'cache-control': 'no-cache', ...headers });
      if (body !== undefined) response.end(typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
    };
    const json = (body) => (body === null ? answer(404, NOT_FOUND, { 'content-type': 'application/problem+json' }) : answer(200, body, { 'content-type': 'application/json' }));
    const stream = (subscribe) => {
      answer(200, undefined, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      response.write('retry: 1000\n\n');
      const end = subscribe();
      request.on('close', end);
    };
    const { pathname, searchParams } = new URL(request.url, 'http://mock');
    const subject = (request.headers.authorization ?? '').replace(/^Bearer mock:/, '');
    if (pathname in ROOT || /^\/page\/(vendor\/)?[\w.-]+$/.test(pathname)) return file(pathname, answer);
    if (pathname === '/city/scene') return answer(200, sceneText, { 'content-type': 'application/json' });
    if (pathname === '/city/stream') return stream(() => (watchers.add(response), () => watchers.delete(response)));
    if (pathname === '/city/token') {
      let body = '';
      request.on('data', (d) => (body += d)).on('end', () => {
        const asked = JSON.parse(body).subject;
        json(life.resident.has(asked) ? { access_token: `mock:${asked}` } : null);
      });
      return undefined;
    }
    if (pathname.startsWith('/city/phones/')) return json(life.phone(decodeURIComponent(pathname.slice(13))));
    if (!pathname.startsWith('/v1/') || pathname === '/v1/push-endpoints') return json(null);
    if (!life.resident.has(subject)) return answer(401, { ...NOT_FOUND, status: 401, code: 'token_invalid' });
    const [, , kind, key, more] = pathname.split('/');
    if (kind === 'feed' && key === 'stream') {
      const write = (item) => {
        const view = life.view(item, subject);
        if (view) response.write(`event: item\nid: ${Date.now()}\ndata: ${JSON.stringify(view)}\n\n`);
      };
      return stream(() => (life.listeners.add(write), () => life.listeners.delete(write)));
    }
    if (kind === 'feed') return json({ items: life.feed(subject, Number(searchParams.get('limit') ?? 50)), next_cursor: null });
    const item = life.items.get(key);
    if (kind === 'items') return json((item && life.view(item, subject)) ?? null);
    if (kind === 'alerts' && more === 'why') return json(life.why(key, subject) ?? null);
    if (kind === 'media') return json({ id: key, scope: 'household', kind: 'thumbnail', content_type: 'image/png', bytes: 112, sha256: key.replaceAll('-', '').repeat(2), url: '/', url_expires_at: new Date().toISOString() });
    return json(null);
  });
  await new Promise((listening) => server.listen(options.port ?? 0, '127.0.0.1', listening));
  const close = () => {
    timers.forEach(clearInterval);
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, life, scene, close };
}

function file(pathname, answer) {
  const path = ROOT[pathname] ?? pathname.slice(6);
  try {
    answer(200, readFileSync(new URL(path, PAGE)), { 'content-type': TYPES[path.split('.').pop()] ?? 'text/plain; charset=utf-8' });
  } catch {
    answer(404, NOT_FOUND, { 'content-type': 'application/problem+json' });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const number = { type: 'string' };
  const { values } = parseArgs({ options: { port: number, rate: number, cameras: number, homes: number, seed: number } });
  const options = Object.fromEntries(Object.entries(values).map(([k, v]) => [k, Number(v)]));
  const { url } = await startMock({ port: 8788, ...options });
  console.log(`the page, on a made-up city: ${url}/?frames`);
}
