// Canonical CBOR, spec 0002: definite lengths, shortest heads, sorted text keys, shortest floats, no tags.

import { Invalid, demand } from './errors.js';

const MAX_DEPTH = 64;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// --- reading -------------------------------------------------------------------------------------------------

// `repeated`: what keys begin with whose very same pair may be there again (0001, where the reference differs).
export function decodeCbor(bytes, repeated = null) {
  const reader = new Reader(bytes, repeated);
  const value = reader.value(MAX_DEPTH);
  demand(reader.at === bytes.length, `bytes after the value, at ${reader.at}`); // 0002-R7
  return value;
}

class Reader {
  constructor(bytes, repeated) {
    this.bytes = bytes;
    this.repeated = repeated;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  take(count) {
    demand(count <= BigInt(this.bytes.length - this.at), `${count} bytes wanted at ${this.at}`);
    const start = this.at;
    this.at += Number(count);
    return this.bytes.subarray(start, this.at);
  }

  value(depth) {
    const initial = this.take(1n)[0];
    const major = initial >> 5;
    const info = initial & 31;
    if (major === 7) return this.special(info);
    const argument = this.argument(info);
    switch (major) {
      case 0:
        return argument;
      case 1:
        return -1n - argument;
      case 2:
        return this.take(argument).slice();
      case 3:
        return this.text(argument);
      case 4:
        return this.array(argument, depth);
      case 5:
        return this.map(argument, depth);
      default:
        throw new Invalid(`a tag at ${this.at}`); // 0002-R7
    }
  }

  argument(info) {
    if (info < 24) return BigInt(info);
    const size = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
    demand(size !== undefined, `indefinite or reserved length at ${this.at}`); // 0002-R4
    let number = 0n;
    for (const byte of this.take(BigInt(size))) number = (number << 8n) | BigInt(byte);
    const least = size === 1 ? 24n : 1n << BigInt(4 * size);
    demand(number >= least, `a head that is not the shortest before ${this.at}`); // 0002-R4
    return number;
  }

  text(length) {
    const encoded = this.take(length);
    try {
      return utf8.decode(encoded);
    } catch {
      throw new Invalid(`not UTF-8 before ${this.at}`);
    }
  }

  array(count, depth) {
    this.descend(count, depth);
    const items = [];
    for (let n = 0n; n < count; n += 1n) items.push(this.value(depth - 1));
    return items;
  }

  map(count, depth) {
    this.descend(2n * count, depth);
    const found = new Map();
    let last = null;
    let lastPair = null;
    for (let n = 0n; n < count; n += 1n) {
      const start = this.at;
      demand(this.bytes[start] >> 5 === 3, `a key that is not text at ${start}`); // 0002-R5
      const key = this.value(1);
      const encoded = this.bytes.subarray(start, this.at);
      const value = this.value(depth - 1);
      const pair = this.bytes.subarray(start, this.at);
      const again = this.repeated !== null && key.startsWith(this.repeated) && lastPair && !Buffer.compare(lastPair, pair);
      demand(again || last === null || compareKeys(last, encoded) < 0, `keys out of order at ${start}`); // 0002-R5
      last = encoded;
      lastPair = pair;
      found.set(key, value);
    }
    return found;
  }

  descend(items, depth) {
    demand(depth > 0, `nested too deep at ${this.at}`); // 0002-R8
    demand(items <= BigInt(this.bytes.length - this.at), `${items} items cannot follow ${this.at}`);
  }

  special(info) {
    if (info === 20) return false;
    if (info === 21) return true;
    if (info === 22) return null;
    const size = { 25: 2, 26: 4, 27: 8 }[info];
    demand(size !== undefined, `a simple value before ${this.at}`); // 0002-R7
    const start = this.at - 1;
    this.take(BigInt(size));
    const number = [readHalf, (v, p) => v.getFloat32(p), (v, p) => v.getFloat64(p)][info - 25](this.view, start + 1);
    const shortest = encodeFloat(number);
    const same = Buffer.compare(shortest, this.bytes.subarray(start, this.at)) === 0;
    demand(same, `a float that is not the shortest at ${start}`); // 0002-R6
    return number;
  }
}

function compareKeys(a, b) {
  return a.length - b.length || Buffer.compare(a, b);
}

function readHalf(view, place) {
  const bits = view.getUint16(place);
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// --- writing -------------------------------------------------------------------------------------------------

export function encodeCbor(value) {
  return new Uint8Array(Buffer.concat([...pieces(value, MAX_DEPTH)]));
}

function* pieces(value, depth) {
  if (value === null) yield Buffer.from([0xf6]);
  else if (typeof value === 'boolean') yield Buffer.from([value ? 0xf5 : 0xf4]);
  else if (typeof value === 'bigint') yield value < 0n ? head(1, -1n - value) : head(0, value);
  else if (typeof value === 'number') yield encodeFloat(value);
  else if (typeof value === 'string') {
    demand(value.isWellFormed?.() ?? true, 'text with half a surrogate pair');
    const encoded = Buffer.from(value);
    yield head(3, BigInt(encoded.length));
    yield encoded;
  } else if (value instanceof Uint8Array) {
    yield head(2, BigInt(value.length));
    yield value;
  } else if (Array.isArray(value)) {
    demand(depth > 0, 'nested too deep');
    yield head(4, BigInt(value.length));
    for (const item of value) yield* pieces(item, depth - 1);
  } else {
    demand(value instanceof Map && depth > 0, 'no value of CBOR, or nested too deep');
    const pairs = [...value].map(([key, item]) => [Buffer.concat([...pieces(key, 0)]), item]);
    pairs.sort(([a], [b]) => compareKeys(a, b));
    yield head(5, BigInt(pairs.length));
    for (const [key, item] of pairs) {
      yield key;
      yield* pieces(item, depth - 1);
    }
  }
}

function head(major, argument) {
  const first = major << 5;
  if (argument < 24n) return Buffer.from([first | Number(argument)]);
  const [info, size] = [[24, 1], [25, 2], [26, 4], [27, 8]].find(([, bytes]) => argument < 1n << BigInt(8 * bytes)) ?? [];
  demand(info !== undefined, 'an integer beyond 64 bits');
  const encoded = Buffer.alloc(1 + size);
  encoded[0] = first | info;
  for (let n = 0; n < size; n += 1) encoded[size - n] = Number((argument >> BigInt(8 * n)) & 255n);
  return encoded;
}

export function encodeFloat(number) {
  if (Number.isNaN(number)) return Buffer.from([0xf9, 0x7e, 0x00]);
  const half = halfBits(number);
  if (half !== null) return Buffer.from([0xf9, half >> 8, half & 255]);
  const wide = Buffer.alloc(9);
  if (Object.is(Math.fround(number), number)) {
    wide[0] = 0xfa;
    wide.writeFloatBE(number, 1);
    return wide.subarray(0, 5);
  }
  wide[0] = 0xfb;
  wide.writeDoubleBE(number, 1);
  return wide;
}

// The sixteen bits of a number that binary16 holds exactly, else null.
function halfBits(number) {
  const sign = Object.is(number, -0) || number < 0 ? 0x8000 : 0;
  const size = Math.abs(number);
  if (size === 0) return sign;
  if (size === Infinity) return sign | 0x7c00;
  const steps = size * 2 ** 24; // of the smallest one
  if (size < 2 ** -14) return Number.isInteger(steps) ? sign | steps : null;
  if (size > 65504) return null;
  const exponent = Math.floor(Math.log2(size));
  for (const e of [exponent - 1, exponent, exponent + 1]) {
    const fraction = (size / 2 ** e - 1) * 1024;
    if (fraction >= 0 && fraction < 1024) return Number.isInteger(fraction) ? sign | ((e + 15) << 10) | fraction : null;
  }
  return null;
}
