// Addresses and outboards, spec 0002.

import { blake3 } from '@noble/hashes/blake3.js';
import { demand } from './errors.js';

const DIGITS = 'abcdefghijklmnopqrstuvwxyz234567';
const CODE = 0x1e;

export function addressOf(bytes) {
  return Uint8Array.from([CODE, ...blake3(bytes)]);
}

export function checkAddress(bytes) {
  demand(bytes instanceof Uint8Array && bytes.length === 33 && bytes[0] === CODE, 'not an address'); // 0002-R2
  return bytes;
}

export function formatAddress(bytes) {
  let bits = 0n;
  for (const byte of checkAddress(bytes)) bits = (bits << 8n) | BigInt(byte);
  bits <<= 1n; // 264 bits in 53 digits of five
  let text = '';
  for (let place = 52n; place >= 0n; place -= 1n) text += DIGITS[Number((bits >> (5n * place)) & 31n)];
  return text;
}

export function parseAddress(text) {
  demand(typeof text === 'string' && /^[a-z2-7]{53}$/.test(text) && !text.includes('\n'), 'not an address as text');
  let bits = 0n;
  for (const digit of text) bits = (bits << 5n) | BigInt(DIGITS.indexOf(digit));
  demand((bits & 1n) === 0n, 'the unused bit of an address is set'); // 0002-R2
  bits >>= 1n;
  const bytes = new Uint8Array(33);
  for (let n = 32; n >= 0; n -= 1) {
    bytes[n] = Number(bits & 255n);
    bits >>= 8n;
  }
  return checkAddress(bytes);
}

// --- outboards: the inner nodes of the tree, by the compression function of BLAKE3 -------------------------------

const KEY = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const CHUNK = 1024;

export function outboardOf(payload) {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(payload.length));
  const nodes = [];
  if (payload.length > CHUNK) subtree(payload, 0, nodes);
  return new Uint8Array(Buffer.concat([length, ...nodes]));
}

function subtree(part, firstChunk, nodes) {
  const chunks = Math.ceil(part.length / CHUNK);
  if (chunks <= 1) return chunkValue(part, firstChunk);
  let left = 1;
  while (left * 2 < chunks) left *= 2;
  const place = nodes.push(null) - 1; // before its children: pre-order
  const pair = Buffer.concat([
    subtree(part.subarray(0, left * CHUNK), firstChunk, nodes),
    subtree(part.subarray(left * CHUNK), firstChunk + left, nodes),
  ]);
  nodes[place] = pair;
  return toBytes(compress(KEY, pair, 0, 64, 4));
}

function chunkValue(data, counter) {
  let value = KEY;
  const blocks = Math.max(1, Math.ceil(data.length / 64));
  for (let n = 0; n < blocks; n += 1) {
    const part = data.subarray(64 * n, 64 * n + 64);
    const flags = (n === 0 ? 1 : 0) | (n === blocks - 1 ? 2 : 0);
    value = compress(value, Buffer.concat([part, Buffer.alloc(64 - part.length)]), counter, part.length, flags);
  }
  return toBytes(value);
}

function toBytes(words) {
  const bytes = Buffer.alloc(32);
  words.forEach((word, n) => bytes.writeUInt32LE(word >>> 0, 4 * n));
  return bytes;
}

function compress(value, block, counter, size, flags) {
  let words = Array.from({ length: 16 }, (_, n) => block.readUInt32LE(4 * n));
  const state = Uint32Array.from([...value, ...KEY.slice(0, 4), counter, 0, size, flags]);
  for (let round = 0; round < 7; round += 1) {
    for (let n = 0; n < 4; n += 1) quarter(state, n, n + 4, n + 8, n + 12, words[2 * n], words[2 * n + 1]);
    for (let n = 0; n < 4; n += 1) {
      quarter(state, n, 4 + ((n + 1) % 4), 8 + ((n + 2) % 4), 12 + ((n + 3) % 4), words[8 + 2 * n], words[9 + 2 * n]);
    }
    words = PERMUTATION.map((place) => words[place]);
  }
  return Array.from({ length: 8 }, (_, n) => (state[n] ^ state[n + 8]) >>> 0);
}

function quarter(state, a, b, c, d, x, y) {
  for (const [word, turnD, turnB] of [[x, 16, 12], [y, 8, 7]]) {
    state[a] += state[b] + word;
    state[d] = turn(state[d] ^ state[a], turnD);
    state[c] += state[d];
    state[b] = turn(state[b] ^ state[c], turnB);
  }
}

function turn(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}
