/** From the pinned root to the certificate that signed, with WebCrypto and an ASN.1 reader. */

import { AsnConvert } from "@peculiar/asn1-schema";
import {
  BasicConstraints,
  Certificate,
  KeyUsage,
  KeyUsageFlags,
  id_ce_basicConstraints,
  id_ce_keyUsage,
} from "@peculiar/asn1-x509";
import { concat, equal, exact, sha256, toHex, type Bytes } from "./bytes.js";
import type { Document } from "./document.js";
import { AttestationError } from "./errors.js";

/** Clocks of a verifier and of a Nitro card may differ this much. */
export const CLOCK_SKEW_MS = 60_000;
const MAX_CABUNDLE = 4;
const ECDSA_WITH_SHA384 = "1.2.840.10045.4.3.3";
const P384 = { name: "ECDSA", namedCurve: "P-384" } as const;
/** SEQUENCE of that identifier and nothing else (RFC 5758 §3.2). */
const ALGORITHM = Uint8Array.of(0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3);
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
  checkEncoding(der, certificate);
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

/**
 * The issuer's signature covers the body only. Around it the ASN.1 reader is lenient, and the bytes
 * are those of DER here, so that one certificate has one form.
 */
function checkEncoding(der: Uint8Array, certificate: Certificate): void {
  const { tbsCertificate, tbsCertificateRaw, signatureValue } = certificate;
  const signature = concat(Uint8Array.of(0), new Uint8Array(signatureValue));
  const whole = derItem(
    0x30,
    concat(new Uint8Array(tbsCertificateRaw!), ALGORITHM, derItem(0x03, signature)),
  );
  if (!equal(whole, der)) {
    throw refuse("unreadable-certificate", "a certificate is not in DER");
  }
  const serial = new Uint8Array(tbsCertificate.serialNumber);
  if ((serial[0] ?? 0x80) >= 0x80 || serial.every((byte) => byte === 0)) {
    throw refuse("unreadable-certificate", "a certificate's serial number is not positive");
  }
}

/** One item of DER (X.690 §8.1): tag, shortest length, content. */
function derItem(tag: number, content: Uint8Array): Bytes {
  const { length } = content;
  if (length < 0x80) return concat(Uint8Array.of(tag, length), content);
  if (length < 0x100) return concat(Uint8Array.of(tag, 0x81, length), content);
  return concat(Uint8Array.of(tag, 0x82, length >> 8, length & 0xff), content);
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
  const signature = rawSignature(new Uint8Array(subject.certificate.signatureValue));
  if (signature === null) return false;
  return verifySignature(issuer.key, signature, new Uint8Array(subject.tbs));
}

/** r and s, 48 bytes each, of a signature in DER (RFC 5480 Appendix A); null for other bytes. */
function rawSignature(der: Uint8Array): Uint8Array | null {
  const raw = new Uint8Array(96);
  const encoded: Uint8Array[] = [];
  let at = 2;
  for (const half of [0, 48]) {
    const length = der[at + 1] ?? 0;
    const number = der.subarray(at + 2, at + 2 + length);
    const digits = number[0] === 0 ? number.subarray(1) : number;
    if (digits.length < 1 || digits.length > 48) return null;
    raw.set(digits, half + 48 - digits.length);
    // A zero in front of a number whose first bit is set, and nowhere else.
    encoded.push(derItem(2, digits[0]! >= 0x80 ? concat(Uint8Array.of(0), digits) : digits));
    at += 2 + length;
  }
  return equal(derItem(0x30, concat(...encoded)), der) ? raw : null;
}
