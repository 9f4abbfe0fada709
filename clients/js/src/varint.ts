/** Variable-length integers as QUIC writes them (RFC 9000 §16), and a bounded reader. */

import { BinaryHttpError } from "./errors.js";
import type { Bytes } from "./bytes.js";

/** The shortest encoding; JavaScript's safe integers are all we need of the 62 bits. */
export function encodeVarint(value: number): Bytes {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError("not a length");
  const exponent = value < 2 ** 6 ? 0 : value < 2 ** 14 ? 1 : value < 2 ** 30 ? 2 : 3;
  const bytes = new Uint8Array(1 << exponent);
  let left = value;
  for (let at = bytes.length - 1; at >= 0; at -= 1) {
    bytes[at] = left % 256;
    left = Math.floor(left / 256);
  }
  bytes[0]! |= exponent << 6;
  return bytes;
}

/** Walks over a message without copying it; every read is checked against its end. */
export class Reader {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get left(): number {
    return this.bytes.length - this.at;
  }

  integer(): number {
    if (this.left === 0) throw new BinaryHttpError("the message ends where an integer should be");
    const first = this.bytes[this.at]!;
    const raw = this.take(1 << (first >> 6), 8);
    let value = first & 0x3f;
    for (const byte of raw.subarray(1)) value = value * 256 + byte;
    // Longer than any message can be: no need to know it exactly.
    return Math.min(value, Number.MAX_SAFE_INTEGER);
  }

  take(length: number, limit: number): Uint8Array {
    if (length > limit) throw new BinaryHttpError(`a part is over its limit of ${limit} bytes`);
    if (length > this.left) throw new BinaryHttpError("the message ends inside a part");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  prefixed(limit: number): Uint8Array {
    return this.take(this.integer(), limit);
  }

  rest(): Uint8Array {
    return this.take(this.left, Number.MAX_SAFE_INTEGER);
  }
}
