/** Key configurations and `application/ohttp-keys` (RFC 9458 §3). */

import { BinaryHttpError, KeyConfigError } from "./errors.js";
import { Reader } from "./varint.js";

export const KEYS_TYPE = "application/ohttp-keys";

export const XWING = 0x647a;
export const X25519 = 0x0020;
const HKDF_SHA256 = 0x0001;
export const AES_128_GCM = 0x0001;
export const AES_256_GCM = 0x0002;
export const CHACHA20_POLY1305 = 0x0003;

/** Bytes of a public key, and of an encapsulated secret, for the KEMs we speak; best first. */
export const KEMS: ReadonlyMap<number, { readonly npk: number; readonly nenc: number }> = new Map([
  [XWING, { npk: 1216, nenc: 1120 }],
  [X25519, { npk: 32, nenc: 32 }],
]);
/** What WebCrypto has, best first; every enclave offers both. */
const AEADS: readonly number[] = [AES_256_GCM, AES_128_GCM];

const MAX_BODY = 64 * 1024;
const MAX_CONFIGS = 16;

export interface Symmetric {
  readonly kdf: number;
  readonly aead: number;
}

export interface KeyConfig {
  readonly keyId: number;
  readonly kem: number;
  readonly publicKey: Uint8Array;
  /** Known pairs of KDF and AEAD, in the server's order. */
  readonly symmetric: readonly Symmetric[];
}

/** Read the body of `application/ohttp-keys`; what we do not know is left out (§3.2). */
export function decodeKeys(body: Uint8Array): KeyConfig[] {
  if (body.length > MAX_BODY) throw new KeyConfigError(`the list is over ${MAX_BODY} bytes`);
  const reader = new Reader(body);
  const configs: KeyConfig[] = [];
  const seen = new Set<number>();
  try {
    while (reader.left) {
      if (seen.size === MAX_CONFIGS) throw new KeyConfigError("too many key configurations");
      const one = new Reader(reader.take(uint16(reader), MAX_BODY));
      const keyId = one.take(1, 1)[0]!;
      if (seen.has(keyId)) throw new KeyConfigError("two key configurations have one key id");
      seen.add(keyId);
      const config = readConfig(keyId, one);
      if (config) configs.push(config);
    }
  } catch (error) {
    if (error instanceof BinaryHttpError) throw new KeyConfigError("the list ends too early");
    throw error;
  }
  if (configs.length === 0) throw new KeyConfigError("the list holds no key that we can use");
  return configs;
}

/** The key and the algorithms to seal with: X-Wing and AES-256 where there are any. */
export function chooseKey(configs: readonly KeyConfig[]): [KeyConfig, Symmetric] {
  for (const kem of KEMS.keys()) {
    for (const config of configs) {
      if (config.kem !== kem) continue;
      for (const aead of AEADS) {
        const symmetric = config.symmetric.find((one) => one.aead === aead);
        if (symmetric) return [config, symmetric];
      }
    }
  }
  throw new KeyConfigError("no key configuration is usable");
}

function readConfig(keyId: number, reader: Reader): KeyConfig | null {
  const kem = uint16(reader);
  const sizes = KEMS.get(kem);
  if (!sizes) return null;
  const publicKey = new Uint8Array(reader.take(sizes.npk, MAX_BODY));
  const length = uint16(reader);
  if (length < 4 || length % 4 || length !== reader.left) {
    throw new KeyConfigError("the symmetric algorithms of a key configuration are malformed");
  }
  const symmetric: Symmetric[] = [];
  while (reader.left) {
    const [kdf, aead] = [uint16(reader), uint16(reader)];
    const known = [AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305].includes(aead);
    if (kdf === HKDF_SHA256 && known) symmetric.push({ kdf, aead });
  }
  return symmetric.length ? { keyId, kem, publicKey, symmetric } : null;
}

function uint16(reader: Reader): number {
  const [high, low] = reader.take(2, 2);
  return high! * 256 + low!;
}
