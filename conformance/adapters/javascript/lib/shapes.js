// What decoded metadata must look like.

import { checkAddress } from './address.js';
import { demand } from './errors.js';
import { checkUint, parseModality } from './names.js';

export function closedMap(value, required, optional = []) {
  demand(value instanceof Map, 'a map is wanted');
  for (const key of required) demand(value.has(key), `${key} is missing`); // 0000-R1
  for (const key of value.keys()) demand(required.includes(key) || optional.includes(key), `${key} is not known`); // 0000-R3
  return value;
}

export function listOf(value, check) {
  demand(Array.isArray(value), 'an array is wanted');
  value.forEach((item) => check(item));
  return value;
}

export function text(value) {
  demand(typeof value === 'string', 'text is wanted');
  return value;
}

export function bytesOf(value, length) {
  demand(value instanceof Uint8Array && value.length === length, `${length} bytes are wanted`);
  return value;
}

export function tag(value) {
  parseModality(text(value));
  return value;
}

export const address = checkAddress;
export const uint = checkUint;
