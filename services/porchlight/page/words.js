// What is said to people, in one place: of labels, scopes and outcomes. Pure.

const WHAT = {
  ding: 'Somebody rang',
  person: 'Person',
  package: 'Package',
  vehicle: 'Vehicle',
  animal: 'Animal',
  motion: 'Motion',
};
const ORDER = ['person', 'package', 'vehicle', 'animal', 'motion'];

/** The word that stands first for an item or event: rung before seen, a person before a parcel. */
export function kindOf(item) {
  return item.kind === 'ding' ? 'ding' : (ORDER.find((label) => item.labels?.includes(label)) ?? 'motion');
}

/** A word for people. */
export const what = (kind) => WHAT[kind] ?? WHAT.motion;

/** What a push says on the lock screen: its `line` is a key, the words are the app's. */
export function pushText(payload) {
  const [scope, label] = String(payload.line ?? '').split('.');
  const kind = payload.kind === 'ding' ? 'ding' : label in WHAT ? label : 'motion';
  return { kind, title: what(kind), body: scope === 'household' ? 'At your own door' : 'In your neighborhood' };
}

/** Names as a sentence has them. */
export const listed = (names) =>
  names.length < 2 ? (names[0] ?? '') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`;

/** Time of day of a timestamp, by the reader's clock. */
export const clock = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

/** How long ago, short. */
export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s ago`;
  return s < 3600 ? `${Math.round(s / 60)} min ago` : `${Math.round(s / 3600)} h ago`;
}

/** Why an item stands in somebody's feed. `nameOf` knows the neighborhoods' names. */
export function reason(item, nameOf) {
  if (item.scope === 'household') return item.shared ? 'at your door; neighbors hear too' : 'at your door; stays in the house';
  const names = listed(item.neighborhoods.map(nameOf));
  return names ? `shared with ${names}` : 'shared where you live';
}

const OUTCOMES = {
  handed_over: 'handed over to the phone',
  not_allowed: 'not sent: the gate said no at the moment of sending',
  expired: 'not sent: it was no news any more',
  endpoint_gone: 'not sent: the phone has said goodbye',
  refused: 'refused by the push service',
  no_endpoint: 'no phone to send it to',
};

/** `GET /v1/alerts/{id}/why`, as sentences. */
export function whySentences(entries) {
  return entries.map((entry) => {
    const as = entry.as === 'household' ? 'as the household' : 'as a neighbor';
    return `${clock(entry.at)}: revision ${entry.revision}, ${as}: ${OUTCOMES[entry.outcome] ?? entry.outcome}.`;
  });
}

/**
 * Why a resident heard nothing of an alert. The first part is all that her own token can find out (404 and 404); the rest
 * only the city's own view knows, and says so.
 */
export function whyNot(resident, alert) {
  const lives = listed(resident.neighborhoods.map((n) => n.name)) || 'no neighborhood';
  const went = listed(alert.neighborhoods.map((n) => n.name));
  const known = went
    ? `it spread in ${went} and stopped at the border; her home lies in ${lives}.`
    : 'its household keeps it to itself; no neighbor hears of it.';
  return {
    api: 'Asked with her own token, the alert and its item are 404: the same bytes as for an id that never was.',
    city: `What only this trial city's own view knows: ${known}`,
  };
}
