// A browser on the page. Against the mock, or against whatever PAGE_URL names: a real city answers the same.
import { after, before } from 'node:test';

import { chromium } from 'playwright-core';

import { startMock } from '../../mock/server.mjs';

const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Whether the city is the mock: what only a mock can be asked for is tested there alone. */
export const mocked = !process.env.PAGE_URL;

/** One browser and one city for the tests of a file. */
export function stage(options = {}) {
  const it = { url: process.env.PAGE_URL?.replace(/\/$/, ''), browser: null, mock: null };
  before(async () => {
    if (mocked) {
      it.mock = await startMock(options);
      it.url = it.mock.url;
    }
    it.browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  });
  after(async () => {
    await it.browser?.close();
    await it.mock?.close();
  });
  /** A page that has drawn; `trouble` collects what must not happen: errors, refusals by the policy, foreign requests. */
  it.open = async (path = '/', context = {}) => {
    const inside = await it.browser.newContext({ viewport: { width: 1280, height: 900 }, ...context });
    const page = await inside.newPage();
    page.setDefaultTimeout(60_000);
    const trouble = [];
    page.on('console', (m) => m.type() === 'error' && !expected(m) && trouble.push(m.text()));
    page.on('pageerror', (e) => trouble.push(String(e)));
    page.on('request', (r) => /^https?:/.test(r.url()) && new URL(r.url()).origin !== it.url && trouble.push(`a request to ${r.url()}`));
    await page.goto(it.url + path);
    await page.waitForSelector('html[data-ready]');
    return { page, trouble, done: () => inside.close() };
  };
  return it;
}

/** "Why" of what is not hers is a 404, and a browser writes that into the console: it is the answer that is wanted. */
const expected = (message) => /status of 404/.test(message.text()) && /\/v1\/(alerts|items)\//.test(message.location().url);

/** Waits until `ask` (in the page, it may be async) is true. */
export async function until(page, ask, arg) {
  for (const begun = Date.now(); Date.now() - begun < 60_000; ) {
    if (await page.evaluate(ask, arg)) return;
    await page.waitForTimeout(100);
  }
  throw new Error(`it never came: ${ask}`);
}
