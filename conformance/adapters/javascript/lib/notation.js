// Values as the vectors write them in JSON, and as this program holds them: integers are BigInt, floats are Number, bytes
// are Uint8Array, maps are Map. See conformance/README.md.

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);

export class Float32s {
  constructor(bytes) {
    this.bytes = bytes;
  }
}

export function toHex(bytes) {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function fromHex(text) {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

// Hex, or a list of [hex, how often].
export function expandHex(said) {
  const parts = typeof said === 'string' ? [[said, 1]] : said;
  return fromHex(parts.map(([hex, times]) => hex.repeat(times)).join(''));
}

export function toJson(value) {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'bigint') {
    return value <= SAFE && value >= -SAFE ? Number(value) : { $int: String(value) };
  }
  if (typeof value === 'number') {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    return { $f64: toHex(new Uint8Array(view.buffer)) };
  }
  if (value instanceof Float32s) return { $f32: toHex(value.bytes) };
  if (value instanceof Uint8Array) return { $bytes: toHex(value) };
  if (Array.isArray(value)) return value.map(toJson);
  const pairs = [...value].map(([key, item]) => [key, toJson(item)]);
  pairs.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  if (pairs.some(([key]) => key.startsWith('$'))) return { $map: pairs };
  return Object.fromEntries(pairs);
}

export function fromJson(said) {
  if (said === null || typeof said === 'boolean' || typeof said === 'string') return said;
  if (typeof said === 'number') return BigInt(said);
  if (Array.isArray(said)) return said.map(fromJson);
  const keys = Object.keys(said);
  if (keys.length === 1 && keys[0].startsWith('$')) return MARKS[keys[0]](said[keys[0]]);
  return new Map(keys.map((key) => [key, fromJson(said[key])]));
}

const MARKS = {
  $int: (text) => BigInt(text),
  $f64: (hex) => Buffer.from(hex, 'hex').readDoubleBE(0),
  $f32: (hex) => new Float32s(fromHex(hex)),
  $bytes: fromHex,
  $map: (pairs) => new Map(pairs.map(([key, item]) => [key, fromJson(item)])),
};
