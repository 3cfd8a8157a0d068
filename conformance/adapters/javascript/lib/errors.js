// Invalid: bytes or values that break the specification. Unsupported: a form that this program does not know.

export class Invalid extends Error {}

export class Unsupported extends Error {}

export function demand(condition, message) {
  if (!condition) throw new Invalid(message);
}
