// Metadata Objects but those of vectors: specs 0001, 0007, 0011 and 0020. Each check returns nothing and throws when the
// value is not what the specification says; canonical CBOR is all that encoding takes.

import { Unsupported, demand } from './errors.js';
import { checkRange } from './names.js';
import { decodeValue } from './scalars.js';
import { address, bytesOf, closedMap, listOf, tag, text, uint } from './shapes.js';

export function checkGenesis(value) {
  bytesOf(closedMap(value, ['nonce']).get('nonce'), 16); // 0001-R1
}

// --- Manifests -----------------------------------------------------------------------------------------------

export function checkManifest(value) {
  demand(value instanceof Map, 'a Manifest is a map');
  for (const key of ['ts', 'tracks', 'writer', 'parents', 'registry', 'timelines']) {
    demand(value.has(key), `${key} is missing`); // 0001-R2
  }
  uint(value.get('ts'));
  text(value.get('writer'));
  listOf(value.get('parents'), address);
  demand(value.get('registry') instanceof Map, 'a registry is a map');
  demand(listOf(value.get('timelines'), address).length > 0, 'no timeline'); // 0001-R2
  const single = value.get('timelines').length === 1;
  const tracks = value.get('tracks');
  if (Array.isArray(tracks)) {
    checkEntries(tracks, single); // 0001-R8: the older form
    return;
  }
  demand(tracks instanceof Map, 'tracks are a map or an array');
  const claims = FORMS[tracks.get('form')];
  if (claims === undefined) throw new Unsupported('a form that is not known'); // 0001-R8
  closedMap(tracks, ['form', 'active', 'lineage', 'edges', ...claims]);
  for (const key of claims) listOf(tracks.get(key), () => {});
  checkEntries(tracks.get('active'), single);
  checkEntries(tracks.get('lineage'), single);
  checkEdges(tracks, single);
}

const FORMS = {
  'lineage-v1': [],
  'lineage-v2': ['backfill_claims'],
  'lineage-v4': ['backfill_claims'],
  'lineage-v5': ['origins'],
};

const END = ['field', 'address', 'modality', 'timeline'];

function checkEnd(end) {
  text(end.get('field'));
  address(end.get('address'));
  tag(end.get('modality'));
  address(end.get('timeline'));
}

function checkEntry(entry) {
  closedMap(entry, [...END, 'kind', 'role', 'coverage']);
  checkEnd(entry);
  demand(['event', 'continuous', 'constant'].includes(entry.get('kind')), 'a kind that is not known');
  demand(/^(base|layer-of:d[a-z2-7]{52})$/.test(text(entry.get('role'))), 'a role that is not known');
  checkRange(entry.get('coverage'));
}

function checkEntries(entries, single) {
  listOf(entries, checkEntry);
  if (single) ascending(entries.map((entry) => [entry]));
}

function checkEdges(tracks, single) {
  const edges = listOf(tracks.get('edges'), (edge) => {
    closedMap(edge, ['child', 'exact_parent']);
    for (const end of edge.values()) checkEnd(closedMap(end, END));
  });
  if (single) ascending(edges.map((edge) => [edge.get('child'), edge.get('exact_parent')]));
  const active = new Set(tracks.get('active').map(nameOf));
  const lineage = new Set(tracks.get('lineage').map(nameOf));
  const pairs = edges.map((edge) => [nameOf(edge.get('child')), nameOf(edge.get('exact_parent'))]);
  for (const end of pairs.flat()) demand(active.has(end) || lineage.has(end), 'an edge to nowhere'); // 0001-R5
  const reached = new Set(active);
  for (let before = -1; before !== reached.size; ) {
    before = reached.size;
    for (const [child, parent] of pairs) if (reached.has(child)) reached.add(parent);
  }
  for (const end of lineage) demand(reached.has(end), 'lineage that is not reached'); // 0001-R5
}

function nameOf(end) {
  return JSON.stringify(END.map((key) => Buffer.from(end.get(key)).toString('hex')));
}

function ascending(rows) {
  const ranks = rows.map((ends) => ends.flatMap((end) => [Buffer.from(end.get('field')), end.get('address')]));
  for (let n = 1; n < ranks.length; n += 1) demand(compareAll(ranks[n - 1], ranks[n]) < 0, 'out of order'); // 0001-R4
}

function compareAll(left, right) {
  for (let n = 0; n < left.length; n += 1) {
    const order = Buffer.compare(left[n], right[n]);
    if (order) return order;
  }
  return 0;
}

// --- Tracks --------------------------------------------------------------------------------------------------

const TREES = { i64: 'int', f64: 'float', str: 'string', ts: 'timestamp' };
const LISTS = { cat: 'categorical', bool: 'bool' };

export function checkTrack(value) {
  closedMap(value, ['coverage', 'modality', 'timeline', 'object_index'], ['init_segment', 'item_key_index']);
  checkRange(value.get('coverage'));
  address(value.get('timeline'));
  if (value.has('init_segment')) address(value.get('init_segment'));
  demand(value.get('item_key_index') !== null, 'item_key_index is null');
  const [family, kind] = tag(value.get('modality')).split('.');
  const index = value.get('object_index');
  if (family === 'scalar') checkScalarIndex(kind, index);
  else if (['image', 'audio', 'video'].includes(family)) checkIndex(index, checkMediaEntry);
  else if (family === 'embedding' && value.get('modality').includes('.bucketed')) checkIndex(index, checkCell);
}

function checkIndex(index, checkEntry) {
  if (Array.isArray(index)) {
    for (const entry of index) checkEntry(listOf(entry, () => {}));
    return;
  }
  demand(index instanceof Map, 'an index is an array or a map');
  if (index.get('form') !== 'paged') throw new Unsupported('a form that is not known');
  closedMap(index, ['form', 'root', 'fanout', 'page_count', 'total_items', 'tree_height']);
  checkTree(index, 'total_items');
}

function checkTree(index, total) {
  address(index.get('root'));
  uint(index.get('page_count'));
  uint(index.get(total));
  const height = uint(index.get('tree_height'));
  demand(height >= 1n && height <= 32n, 'an index of that many levels'); // 0007-R4
}

function checkMediaEntry(entry) {
  demand(entry.length >= 4 && entry.length <= 6, 'an entry has 4 to 6 items');
  checkTimes(entry);
  if (entry.length > 4) demand(typeof entry[4] === 'boolean', 'the fifth item is true or false');
  if (entry.length > 5) uint(entry[5]);
}

function checkCell(entry) {
  demand(entry.length >= 5 && entry.length <= 7, 'an entry has 5 to 7 items'); // 0007-R7
  text(entry[0]);
  checkTimes(entry.slice(1));
  if (entry.length > 5) uint(entry[5]);
  if (entry.length > 6) address(entry[6]);
}

function checkTimes([first, stop, size, payload]) {
  checkRange([first, stop]);
  uint(size);
  address(payload);
}

function checkScalarIndex(kind, index) {
  if (kind in LISTS) {
    listOf(index, (entry) => checkScalarEntry(LISTS[kind], entry)); // 0011-R7
    return;
  }
  if (!(kind in TREES)) throw new Unsupported(`a scalar of kind ${kind}`);
  if (Array.isArray(index)) {
    demand(index.length === 0, 'a B-tree that is a list'); // 0011-R8
    return;
  }
  demand(index instanceof Map, 'an index is an array or a map');
  if (index.get('form') === 'hot-overlay-v1') {
    closedMap(index, ['form', 'hot_shard', 'base_track']); // 0016
    address(index.get('hot_shard'));
    address(index.get('base_track'));
    return;
  }
  if (index.get('form') !== 'scalar-btree-v1') throw new Unsupported('a form that is not known');
  closedMap(index, ['form', 'root', 'page_count', 'tree_height', 'total_entries']);
  checkTree(index, 'total_entries');
}

export function checkScalarEntry(valueType, entry) {
  demand(Array.isArray(entry) && [4, 6].includes(entry.length), 'an entry has four or six items');
  const [value, first, stop, bucket, ...place] = entry;
  demand(value instanceof Uint8Array, 'a value is bytes');
  decodeValue(value, valueType);
  checkRange([first, stop]);
  demand(first < stop, 'an entry covers no time');
  address(bucket);
  for (const number of place) demand(uint(number) < 1n << 62n, 'beyond any bucket'); // 0011-R4
}

// --- others --------------------------------------------------------------------------------------------------

export function checkItems(value) {
  closedMap(value, ['chunks', 'total_size']);
  let total = 0n;
  listOf(value.get('chunks'), (chunk) => {
    closedMap(chunk, ['hash', 'size']);
    address(chunk.get('hash'));
    total += uint(chunk.get('size'));
  });
  demand(uint(value.get('total_size')) === total, 'total_size is not that of the chunks'); // 0007-R2
}

const ORDINAL = new Map([['version', 1n], ['leaf_fanout', 4096n], ['internal_fanout', 256n]]);
const CATEGORICAL = new Map([['version', 1n], ['cardinality_limit', 65536n]]);
const SCALAR_KINDS = {
  'dreamdb.btree-int64': ['ordinal', ORDINAL],
  'dreamdb.btree-float64': ['ordinal', ORDINAL],
  'dreamdb.btree-string': ['ordinal', ORDINAL],
  'dreamdb.bitmap-categorical': ['categorical', CATEGORICAL],
};

export function checkScalarIndexObject(value) {
  closedMap(value, ['metric', 'params', 'algorithm', 'field_name']);
  text(value.get('field_name'));
  const known = SCALAR_KINDS[text(value.get('algorithm'))];
  if (known === undefined) throw new Unsupported('an algorithm that is not known');
  const [metric, params] = known;
  demand(value.get('metric') === metric, 'another metric');
  closedMap(value.get('params'), [...params.keys()]);
  for (const [key, number] of params) demand(value.get('params').get(key) === number, `another ${key}`);
}

export function checkTombstonePage(value) {
  demand(value instanceof Map, 'a page is a map');
  const level = checkLevel(value.get('level'));
  const name = level > 0n ? 'children' : 'entries';
  closedMap(value, ['kind', 'level', name]);
  demand(value.get('kind') === 'dreamdb.tombstone-page.v1', 'another kind');
  const items = listOf(value.get(name), level > 0n ? checkPageRef : checkTombstone);
  demand(items.length >= 1 && items.length <= 128, '1 to 128 items'); // 0020-R2
  if (level > 0n) demand(items.every((item) => item.get('level') === level - 1n), 'a child of another level');
  for (let n = 1; n < items.length; n += 1) {
    const [last, next] = level > 0n ? ['max', 'min'] : ['anchor', 'anchor'];
    demand(items[n - 1].get(last) < items[n].get(next), 'out of order'); // 0020-R2
  }
}

export function checkTombstoneIndex(value) {
  closedMap(value, ['kind', 'root', 'parents', 'timeline', 'issued_at']);
  demand(value.get('kind') === 'dreamdb.tombstone-index.v1', 'another kind');
  if (value.get('root') !== null) checkPageRef(value.get('root'));
  listOf(value.get('parents'), address);
  address(value.get('timeline'));
  uint(value.get('issued_at'));
}

function checkLevel(level) {
  demand(uint(level) <= 9n, 'too many levels'); // 0020-R4
  return level;
}

function checkPageRef(ref) {
  closedMap(ref, ['hash', 'level', 'count', 'min', 'max']);
  address(ref.get('hash'));
  checkLevel(ref.get('level'));
  const [first, last, count] = ['min', 'max', 'count'].map((key) => uint(ref.get(key)));
  demand(first <= last && count >= 1n && count <= last - first + 1n, 'so many do not fit in there'); // 0020-R3
}

function checkTombstone(entry) {
  closedMap(entry, ['anchor', 'deleted_at'], ['reason']);
  uint(entry.get('anchor'));
  uint(entry.get('deleted_at'));
  if (entry.has('reason')) text(entry.get('reason'));
}
