/** What an attestation document says, before anybody has checked who says it. */

import { decodeCbor, type CborMap, type Value } from "./cbor.js";
import { concat, equal, type Bytes } from "./bytes.js";
import { AttestationError } from "./errors.js";

const MAX_DOCUMENT = 16 * 1024;
const MAX_PCRS = 32;
const MAX_TIMESTAMP = 253_402_300_799_999;
/** {1: -35}: alg = ES384. */
const PROTECTED = Uint8Array.of(0xa1, 0x01, 0x38, 0x22);
const CONTEXT = new TextEncoder().encode("Signature1");

export interface Document {
  readonly moduleId: string;
  readonly timestamp: number;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly certificate: Uint8Array;
  /** The issuing certificates, root first. */
  readonly cabundle: readonly Uint8Array[];
  readonly publicKey: Uint8Array | null;
  readonly userData: Uint8Array | null;
  readonly nonce: Uint8Array | null;
  /** What the signature is over. */
  readonly toBeSigned: Bytes;
  /** r and s, 48 bytes each. */
  readonly signature: Uint8Array;
}

/** Read a document without verifying anything about its origin. */
export function parseDocument(document: Uint8Array): Document {
  const [payload, signature] = readSign1(document);
  const fields = decodeCbor(payload);
  if (!(fields instanceof Map)) throw refuse("malformed-cbor", "the payload is not a map");
  return {
    moduleId: moduleId(fields),
    timestamp: (digest(fields), timestamp(fields)),
    pcrs: pcrs(fields),
    certificate: certificate(required(fields, "certificate")),
    cabundle: cabundle(fields),
    publicKey: optional(fields, "public_key", 1),
    userData: optional(fields, "user_data", 0),
    nonce: optional(fields, "nonce", 0),
    toBeSigned: concat(
      Uint8Array.of(0x84, 0x6a),
      CONTEXT,
      byteString(PROTECTED),
      byteString(new Uint8Array()),
      byteString(payload),
    ),
    signature,
  };
}

function refuse(rule: string, message: string): AttestationError {
  return new AttestationError(rule, message);
}

/**
 * The outer COSE_Sign1. The signature does not cover the CBOR around it, so those bytes are
 * fixed: nobody can change a byte of a document that verifies.
 */
function readSign1(document: Uint8Array): [payload: Uint8Array, signature: Uint8Array] {
  if (document.length > MAX_DOCUMENT) {
    throw refuse("document-too-large", "the document is over 16 KiB");
  }
  let at = 0;
  if (document.length && document[0]! >> 5 === 6) {
    if (document[0] !== 0xd2) throw refuse("unexpected-tag", "a CBOR tag other than 18");
    at = 1;
  }
  if (document[at] !== 0x84) throw refuse("not-cose-sign1", "not a COSE_Sign1 array of four");
  let protectedHeader: Uint8Array;
  let payload: Uint8Array;
  let signature: Uint8Array;
  [protectedHeader, at] = readBytes(document, at + 1);
  if (!equal(protectedHeader, PROTECTED)) {
    throw refuse("wrong-algorithm", "the protected header is not {1: -35} (ES384)");
  }
  if (document[at] !== 0xa0) {
    throw refuse("unprotected-header", "the unprotected header is not an empty map");
  }
  [payload, at] = readBytes(document, at + 1);
  [signature, at] = readBytes(document, at);
  if (signature.length !== 96) throw refuse("signature-length", "the signature is not 96 bytes");
  if (at !== document.length) throw refuse("trailing-bytes", "bytes follow the document");
  return [payload, signature];
}

function readBytes(document: Uint8Array, at: number): [Uint8Array, number] {
  const initial = document[at];
  if (initial === undefined) throw refuse("malformed-cbor", "the document ends too early");
  const info = initial & 0x1f;
  if (initial >> 5 !== 2 || info > 25) {
    throw refuse("not-cose-sign1", "an element is not a byte string of definite length");
  }
  const start = at + 1 + (info < 24 ? 0 : 1 << (info - 24));
  let length = info;
  if (info >= 24) {
    length = 0;
    for (const byte of document.subarray(at + 1, start)) length = length * 256 + byte;
  }
  const value = document.subarray(start, start + length);
  if (start > document.length || value.length !== length) {
    throw refuse("malformed-cbor", "the document ends too early");
  }
  if (!equal(byteString(value), document.subarray(at, start + length))) {
    throw refuse("not-cose-sign1", "a length that is not in its shortest form");
  }
  return [value, start + length];
}

function byteString(value: Uint8Array): Bytes {
  const { length } = value;
  if (length < 24) return concat(Uint8Array.of(0x40 | length), value);
  if (length < 256) return concat(Uint8Array.of(0x58, length), value);
  return concat(Uint8Array.of(0x59, length >> 8, length & 0xff), value);
}

function required(fields: CborMap, name: string): Value {
  const value = fields.get(name) ?? null;
  if (value === null) throw refuse("missing-field", `the field ${name} is missing`);
  return value;
}

function wrongType(name: string): AttestationError {
  return refuse("wrong-field-type", `${name} is of another type`);
}

function moduleId(fields: CborMap): string {
  const value = required(fields, "module_id");
  if (typeof value !== "string") throw wrongType("module_id");
  if (!value) throw refuse("invalid-module-id", "module_id is empty");
  return value;
}

function digest(fields: CborMap): void {
  const value = required(fields, "digest");
  if (typeof value !== "string") throw wrongType("digest");
  if (value !== "SHA384") throw refuse("unknown-digest", "digest is not SHA384");
}

function timestamp(fields: CborMap): number {
  const value = required(fields, "timestamp");
  if (typeof value !== "number") throw wrongType("timestamp");
  if (value <= 0 || value > MAX_TIMESTAMP) {
    throw refuse("invalid-timestamp", "timestamp is not a time after 1970");
  }
  return value;
}

function pcrs(fields: CborMap): Map<number, Uint8Array> {
  const value = required(fields, "pcrs");
  if (!(value instanceof Map)) throw wrongType("pcrs");
  if (value.size < 1 || value.size > MAX_PCRS) throw refuse("invalid-pcr-count", "too many PCRs");
  const found = new Map<number, Uint8Array>();
  for (const [index, content] of value) {
    if (typeof index !== "number" || !(content instanceof Uint8Array)) throw wrongType("pcrs");
    if (index >= MAX_PCRS) throw refuse("invalid-pcr-index", `PCR${index} does not exist`);
    if (![32, 48, 64].includes(content.length)) {
      throw refuse("invalid-pcr-length", `PCR${index} has ${content.length} bytes`);
    }
    found.set(index, content);
  }
  return found;
}

function certificate(value: Value): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrongType("a certificate");
  if (value.length < 1 || value.length > 1024) {
    throw refuse("invalid-certificate-length", "a certificate is empty or over 1024 bytes");
  }
  return value;
}

function cabundle(fields: CborMap): Uint8Array[] {
  const value = required(fields, "cabundle");
  if (!Array.isArray(value)) throw wrongType("cabundle");
  if (value.length === 0) throw refuse("empty-cabundle", "cabundle is empty");
  return value.map(certificate);
}

function optional(fields: CborMap, name: string, shortest: number): Uint8Array | null {
  const value = fields.get(name) ?? null;
  if (value === null) return null;
  if (!(value instanceof Uint8Array)) throw wrongType(name);
  if (value.length < shortest || value.length > 1024) {
    throw refuse("invalid-optional-length", `${name} has ${value.length} bytes`);
  }
  return value;
}
