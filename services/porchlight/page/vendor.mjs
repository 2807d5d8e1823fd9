// Copies the built files of the libraries that the page ships, and their licences, from node_modules into vendor/.
//   npm ci && node vendor.mjs           copies
//   npm ci && node vendor.mjs --check   says what differs, and fails if anything does
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = new URL('.', import.meta.url);
const FILES = {
  'leaflet.js': 'leaflet/dist/leaflet.js',
  'leaflet.css': 'leaflet/dist/leaflet.css',
  'leaflet.LICENSE.txt': 'leaflet/LICENSE',
  'uplot.js': 'uplot/dist/uPlot.iife.min.js',
  'uplot.css': 'uplot/dist/uPlot.min.css',
  'uplot.LICENSE.txt': 'uplot/LICENSE',
};

/** A library's file as it is shipped: without the pointer to a source map, which is not shipped. */
const shipped = (path) =>
  readFileSync(new URL(`node_modules/${path}`, here), 'utf8').replace(/\n?\/\/# sourceMappingURL=.*\s*$/, '\n');

/** The names of shipped files that are not what the locked packages hold. */
export function differing() {
  const there = readdirSync(new URL('vendor/', here));
  const unknown = there.filter((name) => !(name in FILES));
  const changed = Object.entries(FILES).filter(
    ([name, path]) => !there.includes(name) || readFileSync(new URL(`vendor/${name}`, here), 'utf8') !== shipped(path),
  );
  return [...unknown, ...changed.map(([name]) => name)];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) {
    const names = differing();
    if (names.length > 0) {
      console.error(`vendor/ differs from the locked packages: ${names.join(', ')}`);
      process.exit(1);
    }
  } else {
    mkdirSync(new URL('vendor/', here), { recursive: true });
    for (const [name, path] of Object.entries(FILES)) writeFileSync(new URL(`vendor/${name}`, here), shipped(path));
  }
}
