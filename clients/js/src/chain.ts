/** From the pinned root to the certificate that signed, with WebCrypto and an ASN.1 reader. */

import { ECDSASigValue } from "@peculiar/asn1-ecc";
import { AsnConvert } from "@peculiar/asn1-schema";
import {
  BasicConstraints,
  Certificate,
  KeyUsage,
  KeyUsageFlags,
  id_ce_basicConstraints,
  id_ce_keyUsage,
} from "@peculiar/asn1-x509";
import { equal, exact, sha256, toHex, type Bytes } from "./bytes.js";
import type { Document } from "./document.js";
import { AttestationError } from "./errors.js";

/** Clocks of a verifier and of a Nitro card may differ this much. */
export const CLOCK_SKEW_MS = 60_000;
const MAX_CABUNDLE = 4;
const ECDSA_WITH_SHA384 = "1.2.840.10045.4.3.3";
const P384 = { name: "ECDSA", namedCurve: "P-384" } as const;
const ES384 = { name: "ECDSA", hash: "SHA-384" } as const;

interface Link {
  readonly certificate: Certificate;
  readonly tbs: ArrayBuffer;
  readonly key: CryptoKey;
  readonly constraints: BasicConstraints | null;
  readonly usage: number | null;
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
}

function refuse(rule: string, message: string): AttestationError {
  return new AttestationError(rule, message);
}

/**
 * Verify the chain of a document.
 *
 * @param document A well-formed document.
 * @param fingerprint SHA-256 of the pinned root's DER, in lower-case hexadecimal.
 * @param now Milliseconds since the epoch.
 * @returns The key that must have signed the document.
 */
export async function verifyChain(
  document: Document,
  fingerprint: string,
  now: number,
): Promise<CryptoKey> {
  const { cabundle } = document;
  if (toHex(await sha256(cabundle[0]!)) !== fingerprint) {
    throw refuse("wrong-root", "the document was not issued under the pinned root");
  }
  if (cabundle.length > MAX_CABUNDLE) throw refuse("chain-too-long", "too many issuers");
  const chain: Link[] = [];
  for (const der of [...cabundle, document.certificate]) chain.push(await read(der));
  checkExtensions(chain);
  checkTime(chain, now);
  for (let at = 1; at < chain.length; at += 1) {
    const [issuer, subject] = [chain[at - 1]!, chain[at]!];
    const named = equal(subject.issuer, issuer.subject);
    if (!named || !(await signedBy(subject, issuer))) {
      throw refuse("broken-chain", "the certificates do not lead to the root");
    }
  }
  return chain.at(-1)!.key;
}

/** Whether a signature of r and s over `data` is this key's. */
export async function verifySignature(
  key: CryptoKey,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  return crypto.subtle.verify(ES384, key, signature as Bytes, data as Bytes);
}

async function read(der: Uint8Array): Promise<Link> {
  let certificate: Certificate;
  try {
    certificate = AsnConvert.parse(exact(der), Certificate);
  } catch {
    throw refuse("unreadable-certificate", "a certificate cannot be read");
  }
  const { tbsCertificate, tbsCertificateRaw } = certificate;
  if (!tbsCertificateRaw) throw refuse("unreadable-certificate", "a certificate without a body");
  const algorithms = [certificate.signatureAlgorithm.algorithm, tbsCertificate.signature.algorithm];
  if (algorithms.some((algorithm) => algorithm !== ECDSA_WITH_SHA384)) {
    throw refuse("wrong-certificate-algorithm", "a certificate is not signed with ECDSA-SHA384");
  }
  const spki = AsnConvert.serialize(tbsCertificate.subjectPublicKeyInfo);
  let key: CryptoKey;
  try {
    key = await crypto.subtle.importKey("spki", spki, P384, false, ["verify"]);
  } catch {
    throw refuse("wrong-certificate-algorithm", "a certificate has no P-384 key");
  }
  const known = readExtensions(certificate);
  return {
    certificate,
    tbs: tbsCertificateRaw,
    key,
    ...known,
    issuer: new Uint8Array(AsnConvert.serialize(tbsCertificate.issuer)),
    subject: new Uint8Array(AsnConvert.serialize(tbsCertificate.subject)),
  };
}

function readExtensions(certificate: Certificate): Pick<Link, "constraints" | "usage"> {
  let constraints: BasicConstraints | null = null;
  let usage: number | null = null;
  const seen = new Set<string>();
  for (const extension of certificate.tbsCertificate.extensions ?? []) {
    const { extnID, critical, extnValue } = extension;
    if (seen.has(extnID)) throw refuse("unreadable-certificate", "an extension is there twice");
    seen.add(extnID);
    try {
      if (extnID === id_ce_basicConstraints) {
        constraints = AsnConvert.parse(extnValue.buffer, BasicConstraints);
      } else if (extnID === id_ce_keyUsage) {
        usage = AsnConvert.parse(extnValue.buffer, KeyUsage).toNumber();
      } else if (critical) {
        throw refuse("unknown-critical-extension", "a critical extension that is not known");
      }
    } catch (error) {
      if (error instanceof AttestationError) throw error;
      throw refuse("unreadable-certificate", "an extension cannot be read");
    }
  }
  return { constraints, usage };
}

/** Authorities may issue, within their path lengths; the leaf may sign and nothing else. */
function checkExtensions(chain: readonly Link[]): void {
  const authorities = chain.slice(0, -1);
  authorities.forEach(({ constraints, usage }, at) => {
    if (!constraints?.cA) throw refuse("issuer-is-no-ca", "an issuer is no authority");
    const below = authorities.length - at - 1;
    const permitted = constraints.pathLenConstraint;
    if (permitted !== undefined && below > permitted) {
      throw refuse("chain-too-long", "more authorities than an issuer permits");
    }
    if (usage === null || !(usage & KeyUsageFlags.keyCertSign)) {
      throw refuse("wrong-key-usage", "an issuer may not sign certificates");
    }
  });
  const { constraints, usage } = chain.at(-1)!;
  if (!constraints || constraints.cA) {
    throw refuse("leaf-is-ca", "the certificate that signed is not marked as no authority");
  }
  const { digitalSignature, keyCertSign } = KeyUsageFlags;
  if (usage === null || !(usage & digitalSignature) || usage & keyCertSign) {
    throw refuse("wrong-key-usage", "the certificate that signed may not sign documents");
  }
}

function checkTime(chain: readonly Link[], now: number): void {
  for (const { certificate } of chain) {
    if (now > certificate.tbsCertificate.validity.notAfter.getTime().getTime()) {
      throw refuse("certificate-expired", "a certificate has expired");
    }
  }
  for (const { certificate } of chain) {
    const begin = certificate.tbsCertificate.validity.notBefore.getTime().getTime();
    if (begin > now + CLOCK_SKEW_MS) {
      throw refuse("certificate-not-yet-valid", "a certificate is not valid yet");
    }
  }
}

async function signedBy(subject: Link, issuer: Link): Promise<boolean> {
  const signature = new Uint8Array(96);
  try {
    const { r, s } = AsnConvert.parse(subject.certificate.signatureValue, ECDSASigValue);
    [r, s].forEach((number, at) => {
      const bytes = new Uint8Array(number);
      const shortest = bytes.subarray(bytes.findIndex((byte) => byte !== 0));
      signature.set(shortest, 48 * (at + 1) - shortest.length);
    });
  } catch {
    return false;
  }
  return verifySignature(issuer.key, signature, new Uint8Array(subject.tbs));
}
