import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from "../src/bhttp.js";
import { exact, fromHex, fromLatin1, toHex } from "../src/bytes.js";
import { BinaryHttpError, KeyConfigError, OpenRejected } from "../src/errors.js";
import { AES_128_GCM, AES_256_GCM, X25519, chooseKey, decodeKeys } from "../src/keys.js";
import { cipherSuite, sealRequest } from "../src/ohttp.js";
import { requestSize } from "../src/padding.js";
import { answerTo, openRequest } from "./enclave.js";
import { encodeVarint } from "../src/varint.js";
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

const request = {
  method: "POST",
  scheme: "https",
  authority: "gateway.example",
  path: "/v1/detections",
  headers: [["content-type", "image/jpeg"]] as [string, string][],
  content: new Uint8Array(3),
};

for (const [name, change] of [
  ["no method", { method: "" }],
  ["a method with a space", { method: "GET /" }],
  ["CONNECT", { method: "CONNECT" }],
  ["no scheme", { scheme: "" }],
  ["a scheme that begins with a digit", { scheme: "1http" }],
  ["a scheme with a colon", { scheme: "http:" }],
  ["an authority with a space", { authority: "gateway example" }],
  ["an authority with a line break", { authority: "gateway\r\n" }],
  ["no path", { path: "" }],
  ["a path without a slash", { path: "v1" }],
  ["a path with a space", { path: "/v1 /" }],
  ["a path outside Latin-1", { path: "/\u0142" }],
  ["a field name with a space", { headers: [["content type", "x"]] }],
  ["no field name", { headers: [["", "x"]] }],
  ["a line break in a field", { headers: [["x-test", "a\r\nb"]] }],
  ["a zero in a field", { headers: [["x-test", "a\0b"]] }],
  ["a space before a field", { headers: [["x-test", " a"]] }],
  ["a tab behind a field", { headers: [["x-test", "a\t"]] }],
  ["a field about the connection", { headers: [["Keep-Alive", "5"]] }],
  ["transfer codings", { headers: [["te", "gzip"]] }],
  ["a length that is too small", { headers: [["Content-Length", "2"]] }],
  ["a length that is too large", { headers: [["content-length", "4"]] }],
] as [string, Partial<typeof request>][]) {
  test(`a request with ${name} is not written`, () => {
    assert.throws(() => encodeRequest({ ...request, ...change }), BinaryHttpError);
  });
}

/** A message with a framing indicator and what its control data are, then three empty sections. */
function binary(framing: number, ...control: (number | string)[]): Uint8Array {
  const parts = control.map((part) =>
    typeof part === "string"
      ? [...encodeVarint(part.length), ...fromLatin1(part)!]
      : [...encodeVarint(part)],
  );
  return Uint8Array.from([framing, ...parts.flat(), 0, 0, 0]);
}

for (const [name, control] of [
  ["a method with a space", ["GET /", "https", "a", "/"]],
  ["CONNECT", ["CONNECT", "https", "a", "/"]],
  ["a scheme with a colon", ["GET", "http:", "a", "/"]],
  ["an authority with a space", ["GET", "https", "a b", "/"]],
  ["a path without a slash", ["GET", "https", "a", "v1"]],
  ["a path of over 8 KiB", ["GET", "https", "a", `/${"x".repeat(8192)}`]],
] as [string, string[]][]) {
  test(`a request with ${name} is not read`, () => {
    assert.throws(() => decodeRequest(binary(0, ...control)), BinaryHttpError);
  });
}

test("a target has at most 8 KiB", () => {
  const path = `/${"x".repeat(8191)}`;
  assert.equal(decodeRequest(binary(0, "GET", "https", "", path)).path, path);
  assert.equal(decodeRequest(binary(0, "OPTIONS", "https", "a", "*")).path, "*");
});

test("a response has a final status from 200 to 599, after at most four from 100 to 199", () => {
  for (const status of [200, 599]) assert.equal(decodeResponse(binary(1, status)).status, status);
  for (const status of [0, 99, 600, 999]) {
    assert.throws(() => decodeResponse(binary(1, status)), BinaryHttpError, String(status));
  }
  const before = (count: number): number[] => Array(count).fill([100, 0]).flat();
  assert.equal(decodeResponse(binary(1, 199, 0, ...before(3), 200)).informational.length, 4);
  assert.throws(() => decodeResponse(binary(1, 199, 0, ...before(4), 200)), BinaryHttpError);
  assert.throws(() => decodeResponse(binary(0, 200)), BinaryHttpError);
  assert.throws(() => decodeRequest(binary(1, "GET", "https", "a", "/")), BinaryHttpError);
});

test("a section has at most 64 lines and 16 KiB", () => {
  const lines = (count: number): [string, string][] => Array(count).fill(["a", "b"]);
  const read = (headers: [string, string][]): unknown =>
    decodeRequest(encodeRequest({ ...request, headers }));
  read(lines(64));
  assert.throws(() => read(lines(65)), BinaryHttpError);
  // A name of one byte and its length, and four bytes of the value's length.
  read([["a", "x".repeat(16_384 - 4)]]);
  assert.throws(() => read([["a", "x".repeat(16_384 - 3)]]), BinaryHttpError);
});

test("padding is zero", () => {
  const message = encodeRequest(request, 200);
  assert.equal(message.length, 200);
  message[199] = 1;
  assert.throws(() => decodeRequest(message), BinaryHttpError);
});

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
