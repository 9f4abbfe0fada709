/** Is this document from an enclave that I trust, and from now? See docs/protocol.md §3. */

import { decodeCbor } from "./cbor.js";
import { CLOCK_SKEW_MS, verifyChain, verifySignature } from "./chain.js";
import { concat, equal, fromHex, sha256, toHex } from "./bytes.js";
import { parseDocument, type Document } from "./document.js";
import { AttestationError } from "./errors.js";

/** SHA-256 of the DER of AWS_NitroEnclaves_Root-G1, as AWS publishes it. */
export const AWS_NITRO_ROOT = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b";

const CLIENT_PURPOSE = "blindgate/client/v1";
const IMAGE_PCRS = [0, 1, 2];
const MAX_AGE_MS = 5 * 60_000;
/** An NSM has PCRs 0 to 31. */
const MAX_PCRS = 32;
const TRUST_MEMBERS = ["pcrSets", "root", "allowDebug"];

/** The measurements of one image: PCR index to 96 hexadecimal digits; 0, 1 and 2 are required. */
export type PcrSet = Readonly<Record<number, string>>;

export interface Trust {
  /** One PCR set for each image that is accepted; several for blue/green. */
  readonly pcrSets: readonly PcrSet[];
  /** The root certificate: its SHA-256 in hexadecimal, or its PEM. AWS's if there is none. */
  readonly root?: string;
  /** Accept debug-mode enclaves whose zero PCRs a set lists. Never in production. */
  readonly allowDebug?: boolean;
}

/** What a verified document vouches for. */
export interface Attestation extends Document {
  /** The index of the PCR set that matched. */
  readonly pcrSet: number;
}

/** What the client-facing document of a Blindgate enclave binds: SHA-256 digests. */
export interface UserData {
  readonly keys: Uint8Array;
  readonly model: Uint8Array;
  readonly config: Uint8Array;
}

/**
 * A PCR set from what `nitro-cli build-enclave` prints, parsed as JSON.
 *
 * Throws TypeError for anything that could make the set weaker than it was written: a name beside
 * `PCR<n>` and `HashAlgorithm`, a PCR that is there twice, a value that is no measurement.
 */
export function pcrSetFromJson(json: unknown): PcrSet {
  const outer = objectOf(json, "measurements");
  let measurements = outer;
  if ("Measurements" in outer) {
    measurements = objectOf(outer["Measurements"], "Measurements");
    const beside = Object.keys(outer).find((name) => /^pcr/i.test(name));
    if (beside !== undefined) throw new TypeError(`${beside} is beside Measurements`);
  }
  const found: Record<number, string> = {};
  for (const [name, value] of Object.entries(measurements)) {
    if (name === "HashAlgorithm") continue;
    const index = /^PCR(0|[1-9][0-9]?)$/i.exec(name)?.[1];
    if (index === undefined) throw new TypeError(`${name} is not the name of a PCR`);
    if (Object.hasOwn(found, index)) throw new TypeError(`PCR${index} is there twice`);
    if (typeof value !== "string") throw new TypeError(`PCR${index} is not SHA-384`);
    found[Number(index)] = value;
  }
  checkTrust({ pcrSets: [found], allowDebug: true });
  return found;
}

function objectOf(json: unknown, name: string): Record<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new TypeError(`${name} is not an object`);
  }
  return json as Record<string, unknown>;
}

/** The fingerprint of the pinned root, in lower-case hexadecimal. */
async function fingerprint(root: string): Promise<string> {
  if (/^[0-9a-f]{64}$/i.test(root)) return root.toLowerCase();
  const pem = /^\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*$/;
  const body = pem.exec(root)?.[1];
  if (body === undefined) {
    throw new TypeError("root is neither a SHA-256 in hexadecimal nor one certificate in PEM");
  }
  let der: string;
  try {
    der = atob(body.replace(/\s/g, ""));
  } catch {
    throw new TypeError("the PEM of the root is not base64");
  }
  return toHex(await sha256(Uint8Array.from(der, (character) => character.charCodeAt(0))));
}

/**
 * Verify a document. Throws AttestationError for the first rule that is broken.
 *
 * @param document The document as received.
 * @param options.trust The root and the images that are accepted.
 * @param options.nonce What was asked for; without one the document must be 5 minutes old at most.
 * @param options.now Milliseconds since the epoch; the clock if left out.
 */
export async function verifyAttestation(
  document: Uint8Array,
  options: { trust: Trust; nonce?: Uint8Array | null; now?: number },
): Promise<Attestation> {
  const { trust, nonce = null, now = Date.now() } = options;
  checkTrust(trust);
  const parsed = parseDocument(document);
  const key = await verifyChain(parsed, await fingerprint(trust.root ?? AWS_NITRO_ROOT), now);
  if (!(await verifySignature(key, parsed.signature, parsed.toBeSigned))) {
    throw new AttestationError("wrong-signature", "the document's signature is wrong");
  }
  checkFreshness(parsed, nonce, now);
  return { ...parsed, pcrSet: matchingSet(parsed, trust) };
}

/** Read the `user_data` of a verified document. */
export function decodeUserData(userData: Uint8Array | null): UserData {
  const refuse = (message: string): never => {
    throw new AttestationError("user-data", message);
  };
  if (userData === null) return refuse("the document has no user_data");
  const fields = decodeCbor(userData);
  if (!(fields instanceof Map) || fields.get("purpose") !== CLIENT_PURPOSE) {
    return refuse("the document was not made for clients");
  }
  const digest = (name: string): Uint8Array => {
    const value = fields.get(name);
    return value instanceof Uint8Array && value.length === 32
      ? value
      : refuse(`user_data has no digest ${name}`);
  };
  const bound = { keys: digest("keys"), model: digest("model"), config: digest("config") };
  // One meaning, one encoding: this also refuses further fields.
  if (!equal(encodeUserData(bound), userData)) {
    return refuse("user_data is not in its deterministic encoding");
  }
  return bound;
}

/** The map in CBOR's deterministic encoding (RFC 8949 §4.2.1). */
function encodeUserData({ keys, model, config }: UserData): Uint8Array {
  const text = (value: string): Uint8Array =>
    concat(Uint8Array.of(0x60 | value.length), new TextEncoder().encode(value));
  const digest = (value: Uint8Array): Uint8Array => concat(Uint8Array.of(0x58, 32), value);
  return concat(
    Uint8Array.of(0xa4),
    ...[text("keys"), digest(keys), text("model"), digest(model)],
    ...[text("config"), digest(config), text("purpose"), text(CLIENT_PURPOSE)],
  );
}

function checkTrust(trust: Trust): void {
  const unknown = Object.keys(trust).find((name) => !TRUST_MEMBERS.includes(name));
  if (unknown !== undefined) throw new TypeError(`trust has no member ${unknown}`);
  if (trust.pcrSets.length === 0) throw new TypeError("trust without a PCR set accepts nobody");
  for (const set of trust.pcrSets) {
    for (const index of IMAGE_PCRS) {
      if (set[index] === undefined) throw new TypeError(`a PCR set without PCR${index}`);
      if (/^0*$/.test(String(set[index])) && !trust.allowDebug) {
        throw new TypeError(`PCR${index} is zero: it would trust every debug-mode enclave`);
      }
    }
    for (const [index, value] of Object.entries(set)) {
      if (!/^(0|[1-9][0-9]?)$/.test(index) || Number(index) >= MAX_PCRS) {
        throw new TypeError(`PCR${index} does not exist`);
      }
      if (typeof value !== "string" || !/^[0-9a-f]{96}$/i.test(value)) {
        throw new TypeError(`PCR${index} is not SHA-384`);
      }
    }
  }
}

function checkFreshness(document: Document, nonce: Uint8Array | null, now: number): void {
  const age = now - document.timestamp;
  if (age < -CLOCK_SKEW_MS) {
    throw new AttestationError("timestamp-in-future", "the document is from the future");
  }
  if (nonce === null) {
    if (age > MAX_AGE_MS) throw new AttestationError("timestamp-stale", "the document is too old");
  } else if (document.nonce === null) {
    throw new AttestationError("nonce-missing", "the document has no nonce");
  } else if (!equal(document.nonce, nonce)) {
    throw new AttestationError("nonce-mismatch", "the document answers another nonce");
  }
}

function matchingSet(document: Document, trust: Trust): number {
  const { pcrs } = document;
  const zero = (index: number): boolean => pcrs.get(index)?.every((byte) => byte === 0) ?? false;
  if (IMAGE_PCRS.some(zero) && !trust.allowDebug) {
    throw new AttestationError("debug-mode", "the enclave runs in debug mode");
  }
  const found = trust.pcrSets.findIndex((set) =>
    Object.entries(set).every(([index, value]) => {
      const measured = pcrs.get(Number(index));
      return measured !== undefined && equal(measured, fromHex(value));
    }),
  );
  if (found < 0) throw new AttestationError("pcr-mismatch", "no trusted image has these PCRs");
  return found;
}
