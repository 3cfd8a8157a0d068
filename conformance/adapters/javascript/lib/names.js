// Times, ranges, modality tags, names of Refs, paths: specs 0001, 0003 and 0005.

import { demand } from './errors.js';

export const U64_MAX = (1n << 64n) - 1n;

export function checkUint(value) {
  demand(typeof value === 'bigint' && value >= 0n && value <= U64_MAX, 'not an unsigned integer of 64 bits'); // 0003-R1
  return value;
}

export function encodeTimeKey(time) {
  return checkUint(time).toString(16).padStart(16, '0'); // 0003-R4
}

export function decodeTimeKey(text) {
  demand(/^[0-9a-f]{16}$/.test(text) && text.length === 16, 'not a time key'); // 0003-R4
  return BigInt(`0x${text}`);
}

export function checkRange(range) {
  demand(Array.isArray(range) && range.length === 2, 'a range is a pair');
  range.forEach(checkUint);
  demand(range[0] <= range[1], 'a range ends before it starts'); // 0003-R3
  return range;
}

const BUILT_IN = new Set(
  'array audio author description embedding image license scalar sensor source text title video'.split(' '),
);

export function parseModality(text) {
  demand(typeof text === 'string' && text.length <= 256, 'not a tag'); // 0001-R10
  const segments = text.split('.');
  const vendored = BUILT_IN.has(segments[0]) ? 0 : 3;
  const plain = segments.slice(0, vendored + 2);
  demand(segments.length >= vendored + 2 && plain.every((each) => matches(/^[a-z0-9_]+$/, each)), 'not a tag');
  const params = segments.slice(vendored + 2).map((each) => {
    demand(matches(/^[a-z0-9_]+(=[A-Za-z0-9_]*)?$/, each), 'not a tag');
    const equals = each.indexOf('=');
    return equals < 0 ? [each, null] : [each.slice(0, equals), each.slice(equals + 1)];
  });
  const [className, codec] = plain.slice(vendored);
  return { vendor: segments.slice(0, vendored).join('.'), className, codec, params };
}

function matches(pattern, text) {
  return pattern.test(text) && !text.endsWith('\n');
}

export function checkRefName(name) {
  demand(name.split('/').every((each) => matches(/^[a-z0-9_@-]{1,64}$/, each)), 'not the name of a Ref'); // 0005-R6
  return name;
}

export function checkObjectPath(path) {
  const segments = path.split('/');
  const plain = segments.every((each) => !['', '.', '..'].includes(each));
  demand(plain && segments[0] !== 'refs' && !/[\x00-\x1f\x7f\\]/.test(path), 'not the path of an Object'); // 0005-R3
  return path;
}
