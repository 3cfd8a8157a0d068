// Cells and buckets of vectors: specs 0004 and 0007.

import { addressOf } from './address.js';
import { decodeCbor } from './cbor.js';
import { Unsupported, demand } from './errors.js';
import { address, bytesOf, closedMap } from './shapes.js';

// --- random words: ChaCha20, 64-bit counter, nonce 0 ------------------------------------------------------------

export function randomWords(seed, count) {
  const key = new DataView(seed.buffer, seed.byteOffset, 32);
  const words = new Int32Array(count);
  for (let start = 0, block = 0n; start < count; start += 16, block += 1n) {
    const input = new Uint32Array(16);
    input.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
    for (let n = 0; n < 8; n += 1) input[4 + n] = key.getUint32(4 * n, true);
    input[12] = Number(block & 0xffffffffn);
    input[13] = Number(block >> 32n);
    const mixed = input.slice();
    for (let round = 0; round < 10; round += 1) {
      for (const [a, b, c, d] of QUARTERS) quarter(mixed, a, b, c, d);
    }
    for (let n = 0; n < 16 && start + n < count; n += 1) words[start + n] = (mixed[n] + input[n]) | 0;
  }
  return words;
}

const QUARTERS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

function quarter(x, a, b, c, d) {
  const step = (to, by, into, bits) => {
    x[to] += x[by];
    const mixed = x[into] ^ x[to];
    x[into] = (mixed << bits) | (mixed >>> (32 - bits));
  };
  step(a, b, d, 16);
  step(c, d, b, 12);
  step(a, b, d, 8);
  step(c, d, b, 7);
}

export function seedOf(dataset, field) {
  return addressOf(Buffer.from(`${dataset}/${field}`)).subarray(1);
}

// --- SpatialIndex ------------------------------------------------------------------------------------------------

const PARAMS = {
  'dreamdb.lsh-cosine': ['cosine', ['seed']],
  'dreamdb.lsh-l2': ['l2', ['seed', 'bucket_width_f64le']],
  'dreamdb.ivf-cosine': ['cosine', ['k', 'centroids']],
  'dreamdb.imi-cosine': ['cosine', ['k_sub', 'centroids_low', 'centroids_high']],
};
const DIM_MAX = 1n << 16n;
const PLANE_NUMBERS_MAX = 1n << 24n;

export function checkSpatialIndex(value) {
  closedMap(value, ['dim', 'bits', 'metric', 'params', 'algorithm']);
  const known = PARAMS[value.get('algorithm')];
  if (known === undefined) throw new Unsupported('an algorithm that is not known');
  const [metric, keys] = known;
  const [dim, bits, params] = ['dim', 'bits', 'params'].map((key) => value.get(key));
  demand(value.get('metric') === metric, 'another metric'); // 0004-R1
  demand(typeof dim === 'bigint' && dim >= 1n && dim <= DIM_MAX, 'such a dim');
  demand(typeof bits === 'bigint' && bits >= 1n, 'such a number of bits');
  closedMap(params, [...keys, 'version']);
  if (params.get('version') !== 1n) throw new Unsupported('another version of params');
  CHECKS[value.get('algorithm')](dim, bits, params);
}

function checkRows(rows, count, dim) {
  demand(typeof count === 'bigint' && count >= 1n, 'a codebook without rows');
  demand(rows instanceof Uint8Array && BigInt(rows.length) === 4n * count * dim, 'a codebook of another size'); // 0004-R1
  demand(floatsOf(rows).every(Number.isFinite), 'a codebook with a number that is none'); // 0004-R1
}

function digitsOf(count) {
  let digits = 1n;
  while (1n << digits < count) digits += 1n;
  return digits;
}

const CHECKS = {
  'dreamdb.lsh-cosine': (dim, bits, params) => {
    bytesOf(params.get('seed'), 32);
    demand(dim * bits <= PLANE_NUMBERS_MAX, 'more planes than we compute'); // 0000-R2
  },
  'dreamdb.lsh-l2': (dim, bits, params) => {
    bytesOf(params.get('seed'), 32);
    demand(bits === 64n, 'always 64 bits'); // 0004-R1
    const width = widthOf(params);
    demand(width > 0 && Number.isFinite(width), 'a width that is none'); // 0004-R1
  },
  'dreamdb.ivf-cosine': (dim, bits, params) => {
    checkRows(params.get('centroids'), params.get('k'), dim);
    demand(bits === digitsOf(params.get('k')), 'another number of bits'); // 0004-R1
  },
  'dreamdb.imi-cosine': (dim, bits, params) => {
    demand(dim % 2n === 0n, 'an odd dim'); // 0004-R1
    checkRows(params.get('centroids_low'), params.get('k_sub'), dim / 2n);
    checkRows(params.get('centroids_high'), params.get('k_sub'), dim / 2n);
    demand(bits === 2n * digitsOf(params.get('k_sub')), 'another number of bits'); // 0004-R1
  },
};

function widthOf(params) {
  const bytes = bytesOf(params.get('bucket_width_f64le'), 8);
  return new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0, true);
}

function floatsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, n) => view.getFloat32(4 * n, true));
}

function rowsOf(bytes, dim) {
  const numbers = floatsOf(bytes);
  return Array.from({ length: numbers.length / dim }, (_, n) => numbers.slice(n * dim, (n + 1) * dim));
}

// --- cells -------------------------------------------------------------------------------------------------------

export function assign(indexBytes, vectorBytes) {
  const index = open(indexBytes);
  demand(vectorBytes.length % (4 * index.dim) === 0, 'not rows of that many numbers'); // 0004-R3
  return rowsOf(vectorBytes, index.dim).map((vector) => index.cell(checkVector(index, vector)));
}

export function probe(indexBytes, queryBytes, nprobe) {
  const index = open(indexBytes);
  demand(nprobe >= 1n, 'at least one cell');
  demand(queryBytes.length === 4 * index.dim, 'a query of another dim'); // 0004-R3
  return index.probe(checkVector(index, floatsOf(queryBytes)), Number(nprobe));
}

function checkVector(index, vector) {
  demand(vector.every(Number.isFinite), 'a number that is none'); // 0004-R3
  demand(index.metric !== 'cosine' || length(vector) > 0, 'a vector without direction'); // 0004-R3
  return vector;
}

function open(bytes) {
  const value = decodeCbor(bytes);
  checkSpatialIndex(value);
  const [dim, bits] = [Number(value.get('dim')), Number(value.get('bits'))];
  const made = MAKERS[value.get('algorithm')](dim, bits, value.get('params'));
  return { dim, metric: value.get('metric'), ...made };
}

const dot = (a, b) => a.reduce((sum, x, n) => sum + x * b[n], 0);
const length = (a) => Math.sqrt(dot(a, a));
const unit = (a) => a.map((x) => x / length(a));
const keyOf = (number, bits) => number.toString(2).padStart(bits, '0'); // 0004-R2

// The places of the largest scores, largest first; of equal ones the first.
function best(scores, count) {
  const order = scores.map((score, place) => [score, place]);
  order.sort(([a, m], [b, n]) => b - a || m - n);
  return order.slice(0, count).map(([, place]) => place);
}

const MAKERS = {
  'dreamdb.lsh-cosine': (dim, bits, params) => {
    const words = Array.from(randomWords(params.get('seed'), dim * bits));
    const planes = Array.from({ length: bits }, (_, b) => words.slice(b * dim, (b + 1) * dim)); // 0004-R6
    const digits = (vector) => planes.map((plane) => (dot(plane, vector) >= 0 ? 1 : 0));
    return {
      cell: (vector) => digits(vector).join(''),
      probe: (query, nprobe) => {
        const own = digits(query);
        const price = planes.map((plane) => Math.abs(dot(plane, query)) / length(plane));
        const flips = [{ bits: [], price: 0 }];
        for (let a = 0; a < bits; a += 1) {
          flips.push({ bits: [a], price: price[a] });
          for (let b = a + 1; b < bits; b += 1) flips.push({ bits: [a, b], price: price[a] + price[b] });
        }
        flips.sort((one, other) => one.price - other.price || one.bits.length - other.bits.length); // 0004-R7
        return flips.slice(0, nprobe).map((flip) => own.map((digit, b) => (flip.bits.includes(b) ? 1 - digit : digit)).join(''));
      },
    };
  },
  'dreamdb.lsh-l2': (dim, bits, params) => {
    const words = Array.from(randomWords(params.get('seed'), dim + 1));
    const width = widthOf(params);
    const direction = unit(words.slice(0, dim));
    const offset = ((words[dim] >>> 0) / 2 ** 32) * width; // 0004-R8
    const position = (vector) => {
      const place = (dot(direction, vector) + offset) / width;
      demand(Math.abs(place) < 2 ** 63, 'beyond the bins'); // 0004-R8
      return place;
    };
    const key = (bin) => keyOf(bin + (1n << 63n), 64);
    return {
      cell: (vector) => key(BigInt(Math.floor(position(vector)))),
      probe: (query, nprobe) => {
        const place = position(query);
        const own = Math.floor(place);
        const bins = [own];
        let [below, above] = [own - 1, own + 1];
        while (bins.length < nprobe) bins.push(place - (below + 1) <= above - place ? below-- : above++); // 0004-R9
        return bins.map((bin) => key(BigInt(bin)));
      },
    };
  },
  'dreamdb.ivf-cosine': (dim, bits, params) => {
    const centroids = rowsOf(params.get('centroids'), dim);
    const scores = (vector) => centroids.map((row) => dot(row, unit(vector)));
    return {
      cell: (vector) => keyOf(best(scores(vector), 1)[0], bits), // 0004-R10
      probe: (query, nprobe) => best(scores(query), nprobe).map((cell) => keyOf(cell, bits)), // 0004-R11
    };
  },
  'dreamdb.imi-cosine': (dim, bits, params) => {
    const half = dim / 2;
    const [high, low] = ['centroids_high', 'centroids_low'].map((name) => rowsOf(params.get(name), half));
    const scores = (vector) => {
      const scaled = unit(vector);
      return [high.map((row) => dot(row, scaled.slice(0, half))), low.map((row) => dot(row, scaled.slice(half)))];
    };
    return {
      cell: (vector) => {
        const [h, l] = scores(vector).map((each) => best(each, 1)[0]);
        return keyOf(h * low.length + l, bits); // 0004-R12
      },
      probe: (query, nprobe) => {
        const [h, l] = scores(query);
        const sums = h.flatMap((a) => l.map((b) => a + b));
        return best(sums, nprobe).map((cell) => keyOf(cell, bits)); // 0004-R13
      },
    };
  },
};

// --- buckets and sidecars ----------------------------------------------------------------------------------------

const PAYLOAD_MAX = 4 * 65536;

function header(bytes, magic, size, least) {
  demand(bytes.length >= least, 'no header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  demand(Buffer.from(bytes.subarray(0, 4)).toString('latin1') === magic, 'another magic'); // 0007-R9
  if (view.getUint32(4) !== 1) throw new Unsupported('another version');
  return { view, record: view.getUint32(8), count: view.getUint32(12), size };
}

function checkSize(bytes, head, record, count) {
  demand(head + record * count === bytes.length, 'records do not fill it'); // 0007-R9
}

function zeros(bytes) {
  demand(bytes.every((byte) => byte === 0), 'padding that is not zero');
}

function readTag(bytes) {
  const end = bytes.indexOf(0) < 0 ? bytes.length : bytes.indexOf(0);
  zeros(bytes.subarray(end));
  demand(bytes.every((byte) => byte < 128), 'a tag that is not ASCII');
  return Buffer.from(bytes.subarray(0, end)).toString('latin1');
}

export function decodeBucket(bytes) {
  const { view, record, count } = header(bytes, 'VBUU', 160, 160);
  const size = view.getUint32(16);
  demand(size === 160 || size === 200, 'another size of header'); // 0007-R9
  checkSize(bytes, size, record, count);
  if (bytes[85] !== 0) throw new Unsupported('another mode');
  const compressed = size === 200;
  const width = record - 8;
  const fits = compressed ? width >= 1 : width >= 4 && width % 4 === 0;
  demand(fits && width <= PAYLOAD_MAX, 'records of such a size'); // 0007-R9
  zeros(bytes.subarray(compressed ? 119 : 86, size));
  const rows = Array.from({ length: count }, (_, n) => size + n * record);
  const payload = new Uint8Array(Buffer.concat(rows.map((at) => bytes.subarray(at + 8, at + record))));
  const found = new Map([
    ['index', address(bytes.slice(20, 53))],
    ['modality', readTag(bytes.subarray(53, 85))],
    ['anchors', rows.map((at) => view.getBigUint64(at))],
    ['width', BigInt(compressed ? width : width / 4)],
  ]);
  if (compressed) found.set('compressor', address(bytes.slice(86, 119)));
  return found.set(compressed ? 'codes' : 'vectors', payload);
}

export function encodeBucket(value) {
  const compressor = value.get('compressor');
  const width = Number(value.get('width')) * (compressor ? 1 : 4);
  const payload = value.get(compressor ? 'codes' : 'vectors');
  const head = Buffer.alloc(compressor ? 200 : 160);
  writeHead(head, 'VBUU', 8 + width, value.get('anchors').length);
  head.writeUInt32BE(head.length, 16);
  head.set(value.get('index'), 20);
  head.write(value.get('modality'), 53, 'latin1');
  if (compressor) head.set(compressor, 86);
  const rows = value.get('anchors').flatMap((anchor, n) => {
    const encoded = Buffer.alloc(8);
    encoded.writeBigUInt64BE(anchor);
    return [encoded, payload.subarray(n * width, (n + 1) * width)];
  });
  return new Uint8Array(Buffer.concat([head, ...rows]));
}

export function decodeSidecar(bytes) {
  const { record, count } = header(bytes, 'VSTU', 128, 128);
  checkSize(bytes, 128, record, count);
  demand(record >= 4 && record % 4 === 0, 'records of such a size');
  zeros(bytes.subarray(48, 128));
  return new Map([
    ['modality', readTag(bytes.subarray(16, 48))],
    ['width', BigInt(record / 4)],
    ['vectors', bytes.slice(128)],
  ]);
}

export function encodeSidecar(value) {
  const head = Buffer.alloc(128);
  const width = 4 * Number(value.get('width'));
  writeHead(head, 'VSTU', width, value.get('vectors').length / width);
  head.write(value.get('modality'), 16, 'latin1');
  return new Uint8Array(Buffer.concat([head, value.get('vectors')]));
}

function writeHead(head, magic, record, count) {
  head.write(magic, 0, 'latin1');
  [1, record, count].forEach((number, n) => head.writeUInt32BE(number, 4 + 4 * n));
}
