/** The enclave's half of OHTTP, on the same HPKE library, with the published private keys. */

import { concat, exact, fromHex, type Bytes } from "../src/bytes.js";
import { cipherSuite, requestInfo } from "../src/ohttp.js";
import { KEMS } from "../src/keys.js";

export interface Opened {
  readonly message: Bytes;
  readonly enc: Bytes;
  readonly secret: Bytes;
}

export async function openRequest(
  encapsulated: Uint8Array,
  key: { kem: number; private_key: string },
): Promise<Opened> {
  const view = new DataView(encapsulated.buffer, encapsulated.byteOffset);
  const symmetric = { kdf: view.getUint16(3), aead: view.getUint16(5) };
  if (view.getUint16(1) !== key.kem) throw new Error("sealed to a key of another KEM");
  const suite = cipherSuite(key.kem, symmetric);
  const end = 7 + KEMS.get(key.kem)!.nenc;
  const enc = encapsulated.slice(7, end) as Bytes;
  const context = await suite.createRecipientContext({
    recipientKey: await suite.kem.deserializePrivateKey(exact(fromHex(key.private_key))),
    enc: exact(enc),
    info: exact(requestInfo(encapsulated.subarray(0, 7))),
  });
  const message = new Uint8Array(await context.open(exact(encapsulated.subarray(end))));
  const label = new TextEncoder().encode("message/bhttp response");
  const secret = new Uint8Array(await context.export(exact(label), suite.aead.keySize));
  return { message, enc, secret };
}

/** Seal an answer (RFC 9458 §4.4) with Node's HKDF, which is not the one under test. */
export async function answerTo(
  opened: Opened,
  message: Uint8Array,
  nonce: Uint8Array = crypto.getRandomValues(new Uint8Array(opened.secret.length)),
): Promise<Bytes> {
  const base = await crypto.subtle.importKey("raw", opened.secret, "HKDF", false, ["deriveBits"]);
  const derive = async (label: string, length: number): Promise<ArrayBuffer> =>
    crypto.subtle.deriveBits(
      {
        name: "HKDF",
        hash: "SHA-256",
        salt: concat(opened.enc, nonce),
        info: new TextEncoder().encode(label),
      },
      base,
      length * 8,
    );
  const raw = await derive("key", opened.secret.length);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt"]);
  const iv = await derive("nonce", 12);
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, exact(message));
  return concat(nonce, new Uint8Array(sealed));
}
