import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from "../src/bhttp.js";
import { exact, fromHex, toHex } from "../src/bytes.js";
import { BinaryHttpError, KeyConfigError, OpenRejected } from "../src/errors.js";
import { AES_128_GCM, AES_256_GCM, X25519, chooseKey, decodeKeys } from "../src/keys.js";
import { cipherSuite, sealRequest } from "../src/ohttp.js";
import { requestSize } from "../src/padding.js";
import { answerTo, openRequest } from "./enclave.js";
import { vectors } from "./vectors.js";

const published = vectors("sealing");

for (const one of published.binary_http.requests) {
  test(`Binary HTTP request: ${one.name}`, () => {
    const content = fromHex(one.content);
    assert.equal(toHex(encodeRequest({ ...one, content })), one.encoded);
    const decoded = decodeRequest(fromHex(one.encoded));
    assert.equal(toHex(decoded.content), one.content);
    for (const name of ["method", "scheme", "authority", "path", "headers", "trailers"] as const) {
      assert.deepEqual(decoded[name], one[name]);
    }
    assert.deepEqual(decodeRequest(encodeRequest({ ...one, content }, 70_000)), decoded);
  });
}

for (const one of published.binary_http.responses) {
  test(`Binary HTTP response: ${one.name}`, () => {
    const content = fromHex(one.content);
    assert.equal(toHex(encodeResponse({ ...one, content })), one.encoded);
    const decoded = decodeResponse(fromHex(one.encoded));
    assert.equal(decoded.status, one.status);
    assert.equal(toHex(decoded.content), one.content);
    assert.deepEqual(decoded.headers, one.headers);
    assert.deepEqual(decoded.trailers, one.trailers);
    assert.deepEqual(decoded.informational, one.informational);
  });
}

for (const one of published.binary_http.invalid_requests) {
  test(`invalid Binary HTTP: ${one.name}`, () => {
    assert.throws(() => decodeRequest(fromHex(one.encoded)), BinaryHttpError);
  });
}

for (const one of published.key_lists.valid) {
  test(`key list: ${one.name}`, () => {
    const configs = decodeKeys(fromHex(one.body));
    const described = configs.map((config) => ({
      key_id: config.keyId,
      kem: config.kem,
      public_key: toHex(config.publicKey),
      symmetric: config.symmetric.map(({ kdf, aead }) => [kdf, aead]),
    }));
    assert.deepEqual(described, one.configurations);
    const [config, symmetric] = chooseKey(configs);
    assert.equal(config.keyId, one.chosen);
    assert.equal(symmetric.aead, AES_256_GCM);
  });
}

for (const one of published.key_lists.invalid) {
  test(`invalid key list: ${one.name}`, () => {
    assert.throws(() => chooseKey(decodeKeys(fromHex(one.body))), KeyConfigError);
  });
}

test("requests are padded to the published sizes", () => {
  for (const [length, padded] of published.padded_requests) {
    assert.equal(requestSize(length), padded);
  }
});

const ours = published.exchanges.filter(({ aead }: { aead: number }) =>
  [AES_128_GCM, AES_256_GCM].includes(aead),
);

for (const one of ours) {
  const symmetric = { kdf: one.kdf, aead: one.aead };
  const config = {
    keyId: one.key_id,
    kem: one.kem,
    publicKey: fromHex(one.public_key),
    symmetric: [symmetric],
  };

  test(`the published request opens: ${one.name}`, async () => {
    const opened = await openRequest(fromHex(one.encapsulated_request), one);
    assert.equal(toHex(opened.message), one.request);
    const answer = await answerTo(opened, fromHex(one.response), fromHex(one.response_nonce));
    assert.equal(toHex(answer), one.encapsulated_response);
  });

  test(`what we seal opens, and its answer too: ${one.name}`, async () => {
    const sealed = await sealRequest(config, symmetric, fromHex(one.request));
    const opened = await openRequest(sealed.encapsulated, one);
    assert.equal(toHex(opened.message), one.request);
    const answer = await answerTo(opened, fromHex(one.response));
    assert.equal(toHex(await sealed.open(answer)), one.response);
    const other = await sealRequest(config, symmetric, fromHex(one.request));
    await assert.rejects(other.open(answer), OpenRejected);
    answer[answer.length - 1]! ^= 1;
    await assert.rejects(sealed.open(answer), OpenRejected);
    await assert.rejects(sealed.open(answer.subarray(0, 20)), OpenRejected);
  });

  if (one.kem !== X25519) continue;
  test(`sealing is the published one to the byte: ${one.name}`, async () => {
    const { kem } = cipherSuite(one.kem, symmetric);
    const privateKey = await kem.deserializePrivateKey(exact(fromHex(one.ephemeral_private_key)));
    const publicKey = await kem.deserializePublicKey(
      exact(fromHex(one.encapsulated_request).subarray(7, 39)),
    );
    const sealed = await sealRequest(config, symmetric, fromHex(one.request), {
      privateKey,
      publicKey,
    });
    assert.equal(toHex(sealed.encapsulated), one.encapsulated_request);
    const opened = await sealed.open(fromHex(one.encapsulated_response));
    assert.equal(toHex(opened), one.response);
  });
}

test("an empty answer is opened, and every shorter one is refused", async () => {
  const one = ours[0];
  const symmetric = { kdf: one.kdf, aead: one.aead };
  const publicKey = fromHex(one.public_key);
  const config = { keyId: one.key_id, kem: one.kem, publicKey, symmetric: [symmetric] };
  const sealed = await sealRequest(config, symmetric, fromHex(one.request));
  const opened = await openRequest(sealed.encapsulated, one);
  const answer = await answerTo(opened, new Uint8Array());
  assert.equal(answer.length, (one.aead === AES_256_GCM ? 32 : 16) + 16);
  assert.equal((await sealed.open(answer)).length, 0);
  for (let length = 0; length < answer.length; length += 1) {
    await assert.rejects(sealed.open(answer.subarray(0, length)), OpenRejected);
  }
});

test("algorithms that we do not speak are refused by name", () => {
  const spoken = { kdf: 1, aead: AES_128_GCM };
  assert.throws(() => cipherSuite(0x0010, spoken), KeyConfigError);
  for (const aead of [0, 3, 4, 0xffff]) {
    assert.throws(() => cipherSuite(X25519, { kdf: 1, aead }), KeyConfigError);
  }
  assert.equal(cipherSuite(X25519, spoken).aead.keySize, 16);
  assert.equal(cipherSuite(X25519, { kdf: 1, aead: AES_256_GCM }).aead.keySize, 32);
});

test("a public key of low order is refused", async () => {
  const symmetric = { kdf: 1, aead: AES_256_GCM };
  const config = { keyId: 1, kem: X25519, publicKey: new Uint8Array(32), symmetric: [symmetric] };
  await assert.rejects(sealRequest(config, symmetric, new Uint8Array()), KeyConfigError);
});
