/** The subset of CBOR that attestation documents consist of, read by cbor2 and then checked. */

import { Tag, decode } from "cbor2";
import { AttestationError } from "./errors.js";

export type Value = number | string | boolean | null | Uint8Array | Value[] | CborMap;
export type CborMap = Map<Value, Value>;

/** One item that fills the bytes completely. */
export function decodeCbor(bytes: Uint8Array): Value {
  let value: unknown;
  try {
    value = decode(bytes, {
      preferMap: true,
      ignoreGlobalTags: true,
      maxDepth: 9,
      rejectDuplicateKeys: true,
      rejectFloats: true,
      rejectSimple: true,
      rejectUndefined: true,
    });
  } catch (error) {
    const message = error instanceof Error ? error.message : "";
    if (/duplicate key/i.test(message)) {
      throw new AttestationError("duplicate-key", "a map has a key twice");
    }
    if (/extra data/i.test(message)) {
      throw new AttestationError("trailing-bytes", "bytes follow the CBOR item");
    }
    throw new AttestationError("malformed-cbor", "the CBOR cannot be read");
  }
  return checked(value);
}

function checked(value: unknown): Value {
  if (value instanceof Tag) throw new AttestationError("unexpected-tag", "a CBOR tag inside");
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  // Over 2^53: not exact, and larger than anything that a document may hold.
  if (typeof value === "bigint" && value >= 0n) return Number(value);
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(checked);
  if (value instanceof Map) {
    return new Map(Array.from(value, ([key, one]) => [checked(key), checked(one)]));
  }
  throw new AttestationError("malformed-cbor", "an item of an unexpected kind");
}
