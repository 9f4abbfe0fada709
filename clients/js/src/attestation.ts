/** Is this document from an enclave that I trust, and from now? See docs/protocol.md §3. */

import { decodeCbor } from "./cbor.js";
import { CLOCK_SKEW_MS, verifyChain, verifySignature } from "./chain.js";
import { equal, fromHex } from "./bytes.js";
import { parseDocument, type Document } from "./document.js";
import { AttestationError } from "./errors.js";

/** SHA-256 of the DER of AWS_NitroEnclaves_Root-G1, as AWS publishes it. */
export const AWS_NITRO_ROOT = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b";

const CLIENT_PURPOSE = "blindgate/client/v1";
const IMAGE_PCRS = [0, 1, 2];
const MAX_AGE_MS = 5 * 60_000;

/** The measurements of one image: PCR index to 96 hexadecimal digits; 0, 1 and 2 are required. */
export type PcrSet = Readonly<Record<number, string>>;

export interface Trust {
  /** One PCR set for each image that is accepted; several for blue/green. */
  readonly pcrSets: readonly PcrSet[];
  /** SHA-256 of the root certificate, hexadecimal; AWS's if left out. */
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

/** A PCR set from what `nitro-cli build-enclave` prints, parsed as JSON. */
export function pcrSetFromJson(json: unknown): PcrSet {
  const outer = json as { Measurements?: unknown } | null;
  const measurements = (outer?.Measurements ?? outer) as Record<string, unknown> | null;
  const found: Record<number, string> = {};
  for (const [name, value] of Object.entries(measurements ?? {})) {
    const index = /^PCR(0|[1-9][0-9]?)$/i.exec(name)?.[1];
    if (index !== undefined && typeof value === "string") found[Number(index)] = value;
  }
  checkTrust({ pcrSets: [found], allowDebug: true });
  return found;
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
  const key = await verifyChain(parsed, (trust.root ?? AWS_NITRO_ROOT).toLowerCase(), now);
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
  if (fields.size !== 4) return refuse("user_data holds more than it should");
  return { keys: digest("keys"), model: digest("model"), config: digest("config") };
}

function checkTrust(trust: Trust): void {
  if (trust.pcrSets.length === 0) throw new TypeError("trust without a PCR set accepts nobody");
  for (const set of trust.pcrSets) {
    for (const index of IMAGE_PCRS) {
      if (set[index] === undefined) throw new TypeError(`a PCR set without PCR${index}`);
      if (/^0*$/.test(set[index]) && !trust.allowDebug) {
        throw new TypeError(`PCR${index} is zero: it would trust every debug-mode enclave`);
      }
    }
    for (const [index, value] of Object.entries(set)) {
      if (!/^[0-9a-f]{96}$/i.test(value)) throw new TypeError(`PCR${index} is not SHA-384`);
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
