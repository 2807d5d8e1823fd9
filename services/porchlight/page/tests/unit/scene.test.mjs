import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventText } from '../../api.js';
import { acrossTheBorder, boxOf, degrees, homeBox, inside, labelPoint, mercator, ownersOf, reach, readScene, thinned } from '../../scene.js';
import { kindOf, listed, pushText, reason, whyNot, whySentences } from '../../words.js';
import { makeScene } from '../../mock/people.mjs';

const square = (x, y, side) => [x, y, x + side, y, x + side, y + side, x, y + side, x, y];

test('mercator and back is where it was', () => {
  for (const [lon, lat] of [[-71.0662, 42.4251], [0, 0], [179.9, -80], [-179.9, 84]]) {
    const [back, up] = degrees(...mercator(lon, lat));
    assert.ok(Math.abs(back - lon) < 1e-9 && Math.abs(up - lat) < 1e-9, `${lon} ${lat}: ${back} ${up}`);
  }
});

test('a hole is outside, and what fills it is not', () => {
  const holed = [square(0, 0, 10), square(4, 4, 2)];
  assert.ok(inside(holed, 1, 1) && !inside(holed, 5, 5) && !inside(holed, 11, 1));
  assert.ok(inside([holed[1]], 5, 5));
});

test('thinning keeps the ends of what can be seen, and never less than a triangle', () => {
  assert.deepEqual(thinned([0, 0, 0.1, 0, 5, 0, 5, 0.1, 5, 5, 0, 0], 1), [0, 0, 5, 0, 5, 5, 0, 0]);
  const tiny = [0, 0, 0.1, 0, 0.1, 0.1];
  assert.equal(thinned(tiny, 1), tiny);
});

test('a wave that has grown to its reach covers every corner', () => {
  const rings = [square(0, 0, 10), square(4, 4, 2)];
  assert.equal(reach(rings, 0, 0), Math.hypot(10, 10));
  assert.deepEqual(boxOf(rings), [0, 0, 10, 10]);
  assert.ok(inside(rings, ...labelPoint(rings, boxOf(rings))));
});

test('every camera and home of the scene lies in the polygon that it is said to lie in', () => {
  const scene = readScene(makeScene({ cameras: 300, homes: 200 }));
  assert.equal(scene.cameras.length, 300);
  for (const r of scene.residents) assert.deepEqual(ownersOf(scene.neighborhoods, r.x, r.y).filter((n) => r.neighborhoods.includes(n)), r.neighborhoods);
  assert.ok(scene.cameras.every((c) => c.neighborhoods.length > 0));
  const common = scene.neighborhoods.find((n) => n.name === 'Malden Common');
  const malden = scene.neighborhoods.find((n) => n.name === 'Malden');
  assert.equal(malden.rings.length, 2, 'Malden has a hole');
  assert.ok(!malden.homes.some((h) => inside(common.rings, h.x, h.y)));
  const [west, south, east, north] = homeBox(scene);
  assert.ok(west < east && south < north && west > -72 && north < 43);
});

test('whoever is across the border shares no neighborhood', () => {
  const scene = readScene(makeScene({ cameras: 10, homes: 200 }));
  for (const r of scene.residents.slice(0, 40)) {
    const other = acrossTheBorder(scene.residents, r);
    assert.ok(!other.neighborhoods.some((n) => r.neighborhoods.includes(n)));
  }
});

test('an empty city can be read', () => {
  const scene = readScene({ ...makeScene({ cameras: 1, homes: 1 }), cameras: [], residents: [] });
  assert.equal(scene.residents.length, 0);
  assert.equal(scene.neighborhoods.filter((n) => n.lived).length, 0);
  assert.ok(homeBox(scene).every(Number.isFinite));
  assert.ok(homeBox(readScene({ cameras: [], residents: [], neighborhoods: { features: [] } })).every(Number.isFinite));
});

test('events are whole however the bytes come', () => {
  const sent = 'retry: 1000\n\nevent: item\nid: 7\ndata: {"a":\ndata: 1}\n\n: live\n\nevent: closed\r\ndata: {}\r\n\r\n';
  for (let cut = 0; cut < sent.length; cut++) {
    const text = new EventText();
    const got = [...text.push(sent.slice(0, cut)), ...text.push(sent.slice(cut))];
    assert.deepEqual(got.map((m) => [m.event, m.data, m.id]), [['item', '{"a":\n1}', '7'], ['closed', '{}', null]], `cut at ${cut}`);
  }
});

test('a push is said in words, and what is new to this page is motion', () => {
  assert.deepEqual(pushText({ line: 'household.package', kind: 'motion' }), { kind: 'package', title: 'Package', body: 'At your own door' });
  assert.equal(pushText({ line: 'neighborhood.person', kind: 'ding' }).title, 'Somebody rang');
  assert.equal(pushText({ line: 'neighborhood.dragon', kind: 'motion' }).kind, 'motion');
  assert.equal(kindOf({ kind: 'motion', labels: ['vehicle', 'person'] }), 'person');
  assert.equal(listed(['A', 'B', 'C']), 'A, B and C');
});

test('why, and why not, are said', () => {
  const [said] = whySentences([{ revision: 2, outcome: 'not_allowed', as: 'neighborhood', at: '2026-01-01T10:00:00.000Z' }]);
  assert.match(said, /revision 2, as a neighbor: not sent: the gate said no/);
  const not = whyNot({ neighborhoods: [{ name: 'Quincy' }] }, { neighborhoods: [{ name: 'Malden' }] });
  assert.match(not.city, /spread in Malden and stopped at the border; her home lies in Quincy/);
  assert.match(reason({ scope: 'neighborhood', neighborhoods: ['m'] }, () => 'Malden'), /shared with Malden/);
});
