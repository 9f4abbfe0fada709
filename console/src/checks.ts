/** What was verified, step by step, in the order in which the client does it. */

import { equal, fromHex } from "@client/bytes.js";
import { parseDocument, type Document } from "@client/document.js";
import { AttestationError, VerificationFailed } from "@client/errors.js";
import type { VerifiedEnclave } from "@client/session.js";
import type { Configuration, Image } from "./configuration.js";
import { ago, count, list } from "./words.js";

export type Outcome = "passed" | "failed" | "not-reached";

export interface Check {
  readonly name: string;
  readonly outcome: Outcome;
  readonly detail: string;
}

/** One measurement, beside what is pinned; `pinned` is null where nothing is. */
export interface Measurement {
  readonly index: number;
  readonly measured: Uint8Array | null;
  readonly pinned: string | null;
  readonly same: boolean;
}

const STEPS = [
  "Attestation document",
  "Certificate chain",
  "Signature",
  "Freshness",
  "Measurements",
  "Key binding",
] as const;
type Step = (typeof STEPS)[number];

/** Which rule of clients/js belongs to which step; the rest are faults of the document itself. */
const RULES: Readonly<Record<string, Step>> = {
  "wrong-root": "Certificate chain",
  "chain-too-long": "Certificate chain",
  "unreadable-certificate": "Certificate chain",
  "wrong-certificate-algorithm": "Certificate chain",
  "unknown-critical-extension": "Certificate chain",
  "issuer-is-no-ca": "Certificate chain",
  "wrong-key-usage": "Certificate chain",
  "leaf-is-ca": "Certificate chain",
  "certificate-expired": "Certificate chain",
  "certificate-not-yet-valid": "Certificate chain",
  "broken-chain": "Certificate chain",
  "wrong-signature": "Signature",
  "timestamp-in-future": "Freshness",
  "timestamp-stale": "Freshness",
  "nonce-missing": "Freshness",
  "nonce-mismatch": "Freshness",
  "debug-mode": "Measurements",
  "pcr-mismatch": "Measurements",
  "user-data": "Key binding",
};

/** All steps, passed. */
export function checksOf(enclave: VerifiedEnclave, told: Configuration): Check[] {
  const { attestation } = enclave;
  const image = told.images[attestation.pcrSet];
  const details: Record<Step, string> = {
    "Attestation document": `Complete and well-formed, from ${attestation.moduleId}.`,
    "Certificate chain":
      `${count(attestation.cabundle.length + 1, "certificate")} lead from the pinned root ` +
      `${shortName(told.root.name)} to the one that signed.`,
    Signature: "Made with that certificate's key, over every byte of the document.",
    Freshness:
      `Repeats the random number that this page drew; ` +
      `made ${ago(enclave.verifiedAt - attestation.timestamp)}.`,
    Measurements: `${pcrNames(image)} are those pinned for ${image?.name ?? "an image"}.`,
    "Key binding": "The enclave vouches for the key that photos are sealed to.",
  };
  return STEPS.map((name) => ({ name, outcome: "passed", detail: details[name] }));
}

/** The steps up to the one that failed. The client stops there, so the rest was not looked at. */
export function checksAfter(error: VerificationFailed, document: Uint8Array | null): Check[] {
  const failed = STEPS.indexOf(stepOf(error, document));
  return STEPS.map((name, at) => {
    if (at < failed) return { name, outcome: "passed", detail: "" };
    if (at > failed) return { name, outcome: "not-reached", detail: "" };
    const { message } = error;
    return { name, outcome: "failed", detail: `${message[0]?.toUpperCase()}${message.slice(1)}.` };
  });
}

/** The measurements of an image beside those of a document. */
export function compare(document: Document, image: Image | null): Measurement[] {
  const indexes = new Set([0, 1, 2, ...Object.keys(image?.pcrs ?? {}).map(Number)]);
  return [...indexes].map((index) => {
    const measured = document.pcrs.get(index) ?? null;
    const pinned = image?.pcrs[index] ?? null;
    const same = measured !== null && pinned !== null && equal(measured, fromHex(pinned));
    return { index, measured, pinned, same };
  });
}

/** What a document says, or null if it says nothing that can be read. */
export function reading(document: Uint8Array | null): Document | null {
  try {
    return document && parseDocument(document);
  } catch {
    return null;
  }
}

function stepOf(error: VerificationFailed, document: Uint8Array | null): Step {
  const { cause } = error;
  if (cause instanceof AttestationError) return RULES[cause.rule] ?? "Attestation document";
  // Without a rule of a document it is about the keys, once there was a document at all.
  return document ? "Key binding" : "Attestation document";
}

function pcrNames(image: Image | undefined): string {
  return list(Object.keys(image?.pcrs ?? {}).map((index) => `PCR${index}`));
}

/** `CN=aws.nitro-enclaves,OU=…` as `aws.nitro-enclaves`. */
export function shortName(distinguished: string): string {
  return /(?:^|,)CN=([^,]+)/.exec(distinguished)?.[1] ?? distinguished;
}
