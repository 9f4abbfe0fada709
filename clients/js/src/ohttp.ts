/** Oblivious HTTP's encapsulation (RFC 9458 §4), the client's side. */

import {
  Aes128Gcm,
  Aes256Gcm,
  CipherSuite,
  DhkemX25519HkdfSha256,
  HkdfSha256,
  type SenderContext,
} from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";
import { concat, exact, uint16, type Bytes } from "./bytes.js";
import { KeyConfigError, OpenRejected } from "./errors.js";
import { AES_128_GCM, AES_256_GCM, X25519, XWING, type KeyConfig, type Symmetric } from "./keys.js";

export const REQUEST_TYPE = "message/ohttp-req";
export const RESPONSE_TYPE = "message/ohttp-res";

const TAG_SIZE = 16;
const text = new TextEncoder();
const REQUEST_LABEL = text.encode("message/bhttp request");
const RESPONSE_LABEL = text.encode("message/bhttp response");

export interface SealedRequest {
  /** The body of the `message/ohttp-req`. */
  readonly encapsulated: Bytes;
  /** Opens the one answer that was sealed for this request; OpenRejected for any other. */
  open(answer: Uint8Array): Promise<Bytes>;
}

/** The HPKE suite of a key configuration and a pair of algorithms. */
export function cipherSuite(kem: number, symmetric: Symmetric): CipherSuite {
  if (kem !== XWING && kem !== X25519) throw new KeyConfigError("a KEM that we do not speak");
  if (symmetric.aead !== AES_128_GCM && symmetric.aead !== AES_256_GCM) {
    throw new KeyConfigError("an AEAD that we do not speak");
  }
  return new CipherSuite({
    kem: kem === XWING ? new XWing() : new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: symmetric.aead === AES_256_GCM ? new Aes256Gcm() : new Aes128Gcm(),
  });
}

/** The header of an encapsulated request: key id, KEM, KDF, AEAD. */
export function requestHeader(config: KeyConfig, symmetric: Symmetric): Bytes {
  return concat(
    Uint8Array.of(config.keyId),
    uint16(config.kem),
    uint16(symmetric.kdf),
    uint16(symmetric.aead),
  );
}

/** The `info` of the HPKE context for a header. */
export function requestInfo(header: Uint8Array): Bytes {
  return concat(REQUEST_LABEL, Uint8Array.of(0), header);
}

/**
 * Encapsulate a Binary HTTP request (§4.3).
 *
 * @param config The key to seal to; the caller has verified that it is an enclave's.
 * @param symmetric A pair that the configuration allows.
 * @param message The Binary HTTP request.
 * @param ephemeral For test vectors alone.
 */
export async function sealRequest(
  config: KeyConfig,
  symmetric: Symmetric,
  message: Uint8Array,
  ephemeral?: CryptoKeyPair | ArrayBuffer,
): Promise<SealedRequest> {
  const suite = cipherSuite(config.kem, symmetric);
  const header = requestHeader(config, symmetric);
  let context: SenderContext;
  try {
    context = await suite.createSenderContext({
      recipientPublicKey: await suite.kem.deserializePublicKey(exact(config.publicKey)),
      info: exact(requestInfo(header)),
      ...(ephemeral ? { ekm: ephemeral } : {}),
    });
  } catch {
    throw new KeyConfigError("the public key of the configuration is not valid");
  }
  const sealed = new Uint8Array(await context.seal(exact(message)));
  const enc = new Uint8Array(context.enc);
  // Nk and max(Nn, Nk) are the same for the AEADs that we speak.
  const size = suite.aead.keySize;
  const secret = new Uint8Array(await context.export(exact(RESPONSE_LABEL), size));
  return {
    encapsulated: concat(header, enc, sealed),
    open: (answer) => openResponse(enc, secret, size, answer),
  };
}

/** Open an encapsulated response (§4.4). */
export async function openResponse(
  enc: Uint8Array,
  secret: Uint8Array,
  size: number,
  answer: Uint8Array,
): Promise<Bytes> {
  if (answer.length < size + TAG_SIZE) throw new OpenRejected();
  const nonce = answer.subarray(0, size);
  const prk = await hmac(concat(enc, nonce), secret);
  const key = await expand(prk, "key", size);
  const iv = await expand(prk, "nonce", 12);
  const aead = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
  try {
    const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv }, aead, answer.slice(size));
    return new Uint8Array(opened);
  } catch {
    throw new OpenRejected();
  }
}

/** HKDF-Expand (RFC 5869 §2.3) for at most one block, which is all that OHTTP needs. */
async function expand(prk: Uint8Array, label: string, length: number): Promise<Bytes> {
  return (await hmac(prk, concat(text.encode(label), Uint8Array.of(1)))).slice(0, length);
}

async function hmac(key: Uint8Array, data: Uint8Array): Promise<Bytes> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const imported = await crypto.subtle.importKey("raw", key as Bytes, algorithm, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, data as Bytes));
}
