// An adapter for conformance/runner.py, written from spec/ in plain JavaScript: one request a line in, one answer a line out.
//
//   npm ci
//   node conformance/adapters/javascript/adapter.js < requests.jsonl > answers.jsonl

import { createInterface } from 'node:readline';
import { addressOf, checkAddress, formatAddress, outboardOf, parseAddress } from './lib/address.js';
import { decodeCbor, encodeCbor } from './lib/cbor.js';
import { Invalid, Unsupported, demand } from './lib/errors.js';
import * as names from './lib/names.js';
import { expandHex, fromJson, toHex, toJson } from './lib/notation.js';
import * as objects from './lib/objects.js';
import * as scalars from './lib/scalars.js';
import * as spatial from './lib/spatial.js';

function metadata(check, repeated = null) {
  return {
    decode: (bytes) => {
      const value = decodeCbor(bytes, repeated);
      check(value);
      return value;
    },
    encode: (value) => {
      check(value);
      return encodeCbor(value);
    },
  };
}

function pattern(length) {
  return Uint8Array.from({ length: Number(length) }, (_, n) => n % 251);
}

const addressCodec = { decode: formatAddress, encode: parseAddress };

const CODECS = {
  cbor: { decode: (bytes) => decodeCbor(bytes), encode: encodeCbor },
  address: addressCodec,
  ref: { decode: (bytes) => formatAddress(checkAddress(bytes)), encode: parseAddress },
  outboard: {
    decode: (bytes, given) => {
      const length = given.get('payload_length');
      demand(Buffer.compare(bytes, outboardOf(pattern(length))) === 0, 'not the outboard of this payload');
      return new Map([['length', length]]);
    },
    encode: (_, given) => outboardOf(pattern(given.get('payload_length'))),
  },
  genesis: metadata(objects.checkGenesis),
  manifest: metadata(objects.checkManifest, 'array.'),
  track: metadata(objects.checkTrack),
  items: metadata(objects.checkItems),
  scalar_index: metadata(objects.checkScalarIndexObject),
  spatial_index: metadata(spatial.checkSpatialIndex),
  tombstone_page: metadata(objects.checkTombstonePage),
  tombstone_index: metadata(objects.checkTombstoneIndex),
  spatial_bucket: { decode: spatial.decodeBucket, encode: spatial.encodeBucket },
  vector_sidecar: { decode: spatial.decodeSidecar, encode: spatial.encodeSidecar },
  scalar_value: {
    decode: (bytes, given) => scalars.decodeValue(bytes, given.get('value_type')),
    encode: (value, given) => scalars.encodeValue(value, given.get('value_type')),
  },
  scalar_record: {
    decode: (bytes) => {
      const { ranges, runs } = scalars.decodeRecord(bytes);
      const found = new Map([['anchors', ranges]]);
      return runs === null ? found : found.set('runs', runs);
    },
    encode: (value) => scalars.encodeRecord({ ranges: value.get('anchors'), runs: value.get('runs') ?? null }),
  },
  scalar_bucket: {
    decode: (bytes, given) => {
      let at = 0;
      const records = given.get('lengths').map((length) => {
        const part = bytes.slice(at, at + Number(length));
        at += Number(length);
        return scalars.decodeRecord(part).ranges;
      });
      demand(at === bytes.length, 'records do not fill their bucket');
      return records;
    },
    encode: (value) => new Uint8Array(Buffer.concat(value.map((ranges) => scalars.encodeRecord({ ranges, runs: null })))),
  },
};

const FUNCTIONS = {
  'address.hash': (given) =>
    formatAddress(addressOf(given.has('length') ? pattern(given.get('length')) : expandHex(given.get('hex')))),
  'time_key.encode': (given) => names.encodeTimeKey(given.get('time')),
  'time_key.decode': (given) => names.decodeTimeKey(given.get('text')),
  'range.check': (given) => names.checkRange(given.get('range')),
  'modality.parse': (given) => {
    const { vendor, className, codec, params } = names.parseModality(given.get('text'));
    return new Map(Object.entries({ vendor, class: className, codec, params }));
  },
  'ref_name.check': (given) => names.checkRefName(given.get('name')),
  'object_path.check': (given) => names.checkObjectPath(given.get('path')),
  'scalar_key.encode': (given) => toHex(scalars.encodeKey(given.get('value_type'), given.get('value'))),
  'spatial.seed': (given) => spatial.seedOf(given.get('dataset'), given.get('field')),
  'spatial.words': (given) =>
    Array.from(spatial.randomWords(given.get('seed'), Number(given.get('count'))), (word) => BigInt(word)),
  'spatial.assign': (given) => spatial.assign(given.get('index'), given.get('vectors')),
  'spatial.probe': (given) => spatial.probe(given.get('index'), given.get('query'), given.get('nprobe')),
};

function operationOf(name) {
  if (name in FUNCTIONS) return FUNCTIONS[name];
  const [codec, direction] = [name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.') + 1)];
  if (!(codec in CODECS) || !(direction in CODECS[codec])) return null;
  const run = CODECS[codec][direction];
  if (direction === 'decode') return (given, input) => run(expandHex(input.hex), given);
  return (given) => toHex(run(given.get('value'), given));
}

function answer({ id, op, input }) {
  const operation = operationOf(op);
  if (operation === null) return { id, ok: false, error: 'unknown-op', message: op };
  try {
    return { id, ok: true, output: toJson(operation(fromJson(input), input)) };
  } catch (error) {
    const kind = error instanceof Unsupported ? 'unsupported' : error instanceof Invalid ? 'invalid' : 'internal';
    return { id, ok: false, error: kind, message: kind === 'internal' ? String(error.stack) : error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
}
