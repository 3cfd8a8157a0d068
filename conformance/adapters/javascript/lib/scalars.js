// Values, keys, records and buckets of scalar columns: spec 0011.

import { decodeCbor, encodeCbor } from './cbor.js';
import { demand } from './errors.js';

const I64_MIN = -(1n << 63n);
const I64_MAX = (1n << 63n) - 1n;

const isInteger = (value) => typeof value === 'bigint' && value >= I64_MIN && value <= I64_MAX;
const isText = (value) => typeof value === 'string';
const VALUES = {
  int: isInteger,
  timestamp: isInteger,
  float: (value) => typeof value === 'number' && Number.isFinite(value), // 0011-R2, 0011-R3
  string: isText,
  categorical: isText,
  bool: (value) => typeof value === 'boolean',
};

export function decodeValue(bytes, valueType) {
  const value = decodeCbor(bytes);
  demand(VALUES[valueType](value), `not a ${valueType}`);
  return value;
}

export function encodeValue(value, valueType) {
  demand(VALUES[valueType](value), `not a ${valueType}`);
  return encodeCbor(value);
}

export function encodeKey(valueType, value) {
  if (isText(value)) return new Uint8Array(Buffer.from(value));
  const key = Buffer.alloc(8);
  if (valueType !== 'float') {
    key.writeBigUInt64BE(value - I64_MIN); // the sign bit flipped
    return key;
  }
  key.writeDoubleBE(value === 0 ? 0 : value); // -0.0 has the key of 0.0
  if (key[0] & 0x80) key.forEach((byte, n) => (key[n] = byte ^ 0xff));
  else key[0] ^= 0x80;
  return key;
}

// --- records: { ranges, runs } ---------------------------------------------------------------------------------

const COOKIE = 12346;
const RUN_COOKIE = 12347;
const RUN_MEMBERS_MAX = 1 << 24; // what one record may unfold to

export function decodeRecord(bytes) {
  const record = new Record(bytes);
  const read = record.read();
  demand(record.at === bytes.length, 'bytes after a record'); // 0011-R4
  return read;
}

class Record {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.unfolded = 0;
  }

  need(count) {
    demand(this.at + count <= this.bytes.length, 'a record is cut off'); // 0000-R2
    const start = this.at;
    this.at += count;
    return start;
  }

  u8 = () => this.view.getUint8(this.need(1));
  u16 = () => this.view.getUint16(this.need(2), true);
  u32 = () => this.view.getUint32(this.need(4), true);

  read() {
    demand(this.u8() === 1, 'a record of another version');
    const count = this.view.getBigUint64(this.need(8), true);
    demand(count >= 1n && count <= BigInt(this.bytes.length), 'so many blocks cannot be there'); // 0000-R2
    const anchors = new Ranges();
    const runs = [];
    let last = -1;
    for (let n = 0n; n < count; n += 1n) {
      const high = this.u32();
      demand(high > last, 'blocks out of order'); // 0011-R6
      last = high;
      runs.push(this.bitmap(BigInt(high) << 32n, anchors));
    }
    return { ranges: anchors.list, runs: runs.some((block) => block !== null) ? runs : null };
  }

  bitmap(high, anchors) {
    const start = this.at;
    const cookie = this.u32();
    const withRuns = (cookie & 0xffff) === RUN_COOKIE;
    demand(withRuns || cookie === COOKIE, 'not a bitmap');
    const k = withRuns ? (cookie >>> 16) + 1 : this.u32();
    demand(k >= 1 && k <= 65536 && 4 * k <= this.bytes.length - this.at, 'so many containers cannot be there'); // 0000-R2
    const flags = withRuns ? Array.from({ length: Math.ceil(k / 8) }, this.u8) : [];
    if (k % 8 && withRuns) demand(flags[flags.length - 1] >> k % 8 === 0, 'flags of containers that are not there');
    const lines = Array.from({ length: k }, () => ({ key: this.u16(), cardinality: this.u16() + 1 }));
    const offsets = withRuns && k < 4 ? null : Array.from({ length: k }, this.u32);
    const forms = lines.map(({ key, cardinality }, n) => {
      demand(n === 0 || key > lines[n - 1].key, 'containers out of order'); // 0011-R6
      if (offsets) demand(offsets[n] === this.at - start, 'a container is not where its offset says'); // 0011-R6
      const base = high | (BigInt(key) << 16n);
      const isRun = ((flags[n >> 3] ?? 0) >> (n & 7)) & 1;
      return isRun ? this.runs(base, cardinality, anchors) : this.members(base, cardinality, anchors);
    });
    return withRuns ? forms : null;
  }

  members(base, cardinality, anchors) {
    let count = 0;
    let last = -1;
    const add = (low) => {
      demand(low > last, 'members out of order'); // 0011-R6
      last = low;
      count += 1;
      anchors.add(base + BigInt(low), base + BigInt(low));
    };
    if (cardinality <= 4096) {
      for (let n = 0; n < cardinality; n += 1) add(this.u16());
    } else {
      const start = this.need(8192);
      for (let low = 0; low < 65536; low += 1) if ((this.bytes[start + (low >> 3)] >> (low & 7)) & 1) add(low);
    }
    demand(count === cardinality, 'a container of another cardinality'); // 0011-R6
    return null;
  }

  runs(base, cardinality, anchors) {
    const pairs = [];
    let total = 0;
    let last = -1;
    for (let count = this.u16(); count > 0; count -= 1) {
      const [first, more] = [this.u16(), this.u16()];
      demand(first > last && first + more < 65536, 'runs out of order'); // 0011-R6
      last = first + more;
      total += more + 1;
      anchors.add(base + BigInt(first), base + BigInt(last));
      pairs.push([BigInt(first), BigInt(more)]);
    }
    demand(total === cardinality, 'runs of another cardinality'); // 0011-R6
    this.unfolded += total;
    demand(this.unfolded <= RUN_MEMBERS_MAX, 'runs of too many anchors'); // 0000-R2
    return pairs;
  }
}

// Ascending numbers as [first, last] of each stretch.
class Ranges {
  list = [];

  add(first, last) {
    const end = this.list[this.list.length - 1];
    if (end && end[1] + 1n === first) end[1] = last;
    else this.list.push([first, last]);
  }
}

export function encodeRecord({ ranges, runs }) {
  const blocks = new Map();
  for (const [first, last] of ranges) {
    for (let anchor = first; anchor <= last; anchor += 1n) {
      const [high, key] = [anchor >> 32n, Number((anchor >> 16n) & 0xffffn)];
      if (!blocks.has(high)) blocks.set(high, new Map());
      if (!blocks.get(high).has(key)) blocks.get(high).set(key, []);
      blocks.get(high).get(key).push(Number(anchor & 0xffffn));
    }
  }
  demand(blocks.size > 0, 'a record without anchors'); // 0011-R6
  const count = Buffer.alloc(9);
  count[0] = 1;
  count.writeBigUInt64LE(BigInt(blocks.size), 1);
  const parts = [...blocks].flatMap(([high, containers], n) => [u32(Number(high)), writeBitmap(containers, runs?.[n] ?? null)]);
  return new Uint8Array(Buffer.concat([count, ...parts]));
}

function writeBitmap(containers, forms) {
  const k = containers.size;
  const entries = [...containers];
  const bodies = entries.map(([, lows], n) => (forms?.[n] ? writeRuns(forms[n]) : writeMembers(lows)));
  const lines = entries.flatMap(([key, lows]) => [u16(key), u16(lows.length - 1)]);
  const flags = Buffer.alloc(Math.ceil(k / 8));
  forms?.forEach((form, n) => (flags[n >> 3] |= form ? 1 << (n & 7) : 0));
  const head = forms ? Buffer.concat([u16(RUN_COOKIE), u16(k - 1), flags]) : Buffer.concat([u32(COOKIE), u32(k)]);
  const offsets = [];
  if (!forms || k >= 4) {
    let at = head.length + 8 * k;
    for (const body of bodies) {
      offsets.push(u32(at));
      at += body.length;
    }
  }
  return Buffer.concat([head, ...lines, ...offsets, ...bodies]);
}

function writeMembers(lows) {
  if (lows.length <= 4096) return Buffer.concat(lows.map(u16));
  const bits = Buffer.alloc(8192);
  for (const low of lows) bits[low >> 3] |= 1 << (low & 7);
  return bits;
}

function writeRuns(pairs) {
  return Buffer.concat([u16(pairs.length), ...pairs.flat().map((number) => u16(Number(number)))]);
}

function u16(number) {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(number);
  return bytes;
}

function u32(number) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(number);
  return bytes;
}
