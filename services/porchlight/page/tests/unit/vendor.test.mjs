import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { differing } from '../../vendor.mjs';

const page = new URL('../../', import.meta.url);

test('what is shipped of the libraries is what the locked packages hold', () => {
  assert.deepEqual(differing(), []);
});

test('no file of the page names another host', () => {
  const own = readdirSync(page).filter((name) => /\.(js|css|html|svg)$/.test(name));
  assert.ok(own.length > 12, own.join(' '));
  for (const name of own) {
    const named = readFileSync(new URL(name, page), 'utf8').match(/https?:\/\/[^\s"'`)]+/g) ?? [];
    // A name of a vocabulary is no address.
    assert.deepEqual(named.filter((url) => url !== 'http://www.w3.org/2000/svg'), [], name);
  }
  assert.doesNotMatch(readFileSync(new URL('package-lock.json', page), 'utf8'), /"resolved"/);
});

test('modules stay short enough to read', () => {
  for (const name of readdirSync(page).filter((n) => /\.m?js$/.test(n))) {
    assert.ok(readFileSync(new URL(name, page), 'utf8').split('\n').length < 300, name);
  }
});
