import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { decodeRequest, encodeResponse, type BinaryRequest } from "../src/bhttp.js";
import { fromHex } from "../src/bytes.js";
import { BlindgateClient, mediaType, sealedFetch } from "../src/client.js";
import { AnswerRejected, NotSealed, ProblemError, VerificationFailed } from "../src/errors.js";
import { answerTo, openRequest } from "./enclave.js";
import { fingerprintOf, vectors } from "./vectors.js";

const published = vectors("sealing");
const bound = published.bound_keys;
const trust = { root: await fingerprintOf(bound.root_pem), pcrSets: [bound.pcr_set] };
const gateway = "https://gateway.example";
const now = Date.parse(bound.at);
const found = { model: { name: "m", version: "1" }, image: { width: 1, height: 1 }, detections: [] };
const text = new TextEncoder();

interface Inner extends BinaryRequest {
  readonly get: (name: string) => string | undefined;
}

/** A gateway in memory before an enclave with the published keys. */
class Gateway {
  seen: Request[] = [];
  asked: Inner[] = [];
  replace: Record<string, (request: Request) => Response | Promise<Response>> = {};
  clock = now;
  answer: (request: Inner) => { status: number; headers?: [string, string][]; content?: string } =
    () => ({ status: 200, content: JSON.stringify(found) });

  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    this.seen.push(request.clone());
    const { pathname } = new URL(request.url);
    const key = `${request.method} ${pathname}`;
    if (this.replace[key]) return this.replace[key](request);
    switch (key) {
      case "GET /.well-known/ohttp-gateway":
        return reply("application/ohttp-keys", fromHex(bound.keys));
      case "GET /v1/attestation":
        return reply('application/cose; cose-type="cose-sign1"', fromHex(bound.document));
      case "POST /.well-known/ohttp-gateway":
        return this.sealed(request);
      default:
        throw new Error(key);
    }
  };

  async sealed(request: Request): Promise<Response> {
    const encapsulated = new Uint8Array(await request.arrayBuffer());
    const key = published.exchanges.find((one: { key_id: number }) => one.key_id === encapsulated[0]);
    const opened = await openRequest(encapsulated, key);
    const inner = decodeRequest(opened.message);
    const get = (name: string) => inner.headers.find(([field]) => field === name)?.[1];
    const date = new Date(this.clock).toUTCString();
    const late = Math.abs(Date.parse(get("date") ?? "") - this.clock) > 60_000;
    if (!late) this.asked.push({ ...inner, get });
    const { status, headers, content } = late
      ? problemAnswer(400, "https://iana.org/assignments/http-problem-types#date")
      : this.answer({ ...inner, get });
    const response = {
      status,
      headers: [...(headers ?? [["content-type", "application/json"]]), ["date", date]] as const,
      content: text.encode(content ?? ""),
      trailers: [],
      informational: [],
    };
    return reply("message/ohttp-res", await answerTo(opened, encodeResponse(response as never, 65536)));
  }

  paths(): string[] {
    return this.seen.map(({ method, url }) => `${method} ${new URL(url).pathname}`);
  }
}

function reply(type: string, content: Uint8Array<ArrayBuffer>, status = 200): Response {
  return new Response(content, { status, headers: { "content-type": type } });
}

function problemAnswer(status: number, type: string) {
  const headers: [string, string][] = [["content-type", "application/problem+json"]];
  return { status, headers, content: JSON.stringify({ type, title: "No", status, detail: "Why" }) };
}

function problem(status: number, type: string, headers: Record<string, string> = {}): Response {
  return new Response(problemAnswer(status, type).content, {
    status,
    headers: { "content-type": "application/problem+json", ...headers },
  });
}

const KEYS = "GET /.well-known/ohttp-gateway";
const ATTESTATION = "GET /v1/attestation";
const SEALED = "POST /.well-known/ohttp-gateway";

let server: Gateway;
let client: BlindgateClient;
beforeEach(() => {
  server = new Gateway();
  client = new BlindgateClient({
    gateway,
    trust,
    fetch: server.fetch,
    headers: { authorization: "Bearer token" },
    now: () => now,
  });
  // The published document answers one nonce.
  const random = crypto.getRandomValues.bind(crypto);
  mock.method(crypto, "getRandomValues", (array: Uint8Array) => {
    if (array.length === 32) array.set(fromHex(bound.nonce));
    else random(array);
    return array;
  });
});
afterEach(() => mock.restoreAll());

test("keys, then document, then photo", async () => {
  const photo = Uint8Array.of(0xff, 0xd8, 0xff, 1, 2, 3);
  assert.deepEqual(await client.detect(photo, { minScore: 0.5, classes: ["a", "b"] }), found);
  assert.deepEqual(server.paths(), [KEYS, ATTESTATION, SEALED]);
  const [asked] = server.asked;
  assert.equal(asked!.path, "/v1/detections?min_score=0.5&classes=a%2Cb");
  assert.equal(asked!.get("content-type"), "image/jpeg");
  assert.deepEqual(asked!.content, photo);
  assert.equal(client.enclave!.attestation.pcrSet, 0);
  assert.equal(server.seen[2]!.headers.get("authorization"), "Bearer token");
  assert.equal(asked!.get("authorization"), undefined);
});

test("the enclave is verified once, also by many at once", async () => {
  await Promise.all([1, 2, 3].map(() => client.detect(new Uint8Array(9))));
  assert.equal(server.paths().filter((path) => path === ATTESTATION).length, 1);
});

test("a caller that aborts the shared verification rejects nobody else", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  server.replace[KEYS] = async () => {
    await held;
    return reply("application/ohttp-keys", fromHex(bound.keys));
  };
  const [first, second] = [new AbortController(), new AbortController()];
  const calls = [
    client.detect(new Uint8Array(9), { signal: first.signal }),
    client.detect(new Uint8Array(9), { signal: second.signal }),
    client.detect(new Uint8Array(9)),
  ];
  first.abort(new Error("the first one left"));
  await assert.rejects(calls[0]!, /the first one left/);
  release();
  assert.deepEqual(await Promise.all(calls.slice(1)), [found, found]);
  assert.equal(server.paths().filter((path) => path === ATTESTATION).length, 1);
});

test("a verification that nobody waits for any more is aborted, and the next call starts anew", async () => {
  let signal: AbortSignal | undefined;
  server.replace[KEYS] = async (request) => {
    signal = request.signal;
    return new Promise((_, reject) => request.signal.addEventListener("abort", () => reject(new Error("aborted"))));
  };
  const controllers = [new AbortController(), new AbortController()];
  const calls = controllers.map(({ signal: own }) => client.detect(new Uint8Array(9), { signal: own }));
  const settled = Promise.allSettled(calls);
  controllers[0]!.abort();
  await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, 20))]);
  assert.equal(signal!.aborted, false);
  controllers[1]!.abort();
  assert.deepEqual((await settled).map(({ status }) => status), ["rejected", "rejected"]);
  assert.equal(signal!.aborted, true);
  delete server.replace[KEYS];
  assert.deepEqual(await client.detect(new Uint8Array(9)), found);
});

test("a signal that was aborted before rejects its call", async () => {
  await assert.rejects(client.detect(new Uint8Array(9), { signal: AbortSignal.abort() }), {
    name: "AbortError",
  });
  assert.deepEqual(await client.detect(new Uint8Array(9)), found);
});

test("an enclave is verified again after an hour, and not a millisecond earlier", async () => {
  let clock = now;
  const patient = new BlindgateClient({ gateway, trust, fetch: server.fetch, now: () => clock });
  await patient.verify();
  const attestations = () => server.paths().filter((path) => path === ATTESTATION).length;
  for (const [passed, expected] of [[3_599_999, 1], [3_600_000, 2]] as const) {
    clock = now + passed;
    server.clock = clock;
    await patient.detect(new Uint8Array(9)).catch(() => {});
    assert.equal(attestations(), expected, String(passed));
  }
});

test("labels are sent without the spaces around them", async () => {
  await client.detect(new Uint8Array(9), { classes: [" cat", "dining table "] });
  assert.equal(server.asked[0]!.path, "/v1/detections?classes=cat%2Cdining+table");
});

test("what a problem lists is on its error, and in its text", async () => {
  const errors = [
    { in: "query", parameter: "classes", message: "catt is not a label" },
    { parameter: "min_score", message: "too large" },
    "not a fault",
    { message: "a third" },
    { message: "a fourth" },
  ];
  server.answer = () => ({
    status: 422,
    headers: [["content-type", "application/problem+json"]],
    content: JSON.stringify({ title: "No", detail: "See errors", errors, request_id: "r-1" }),
  });
  await assert.rejects(client.detect(new Uint8Array(9)), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.equal(error.errors.length, 4);
    assert.equal(error.errors[0]!.parameter, "classes");
    assert.equal(error.requestId, "r-1");
    assert.equal(
      error.message,
      "No (422): classes: catt is not a label; min_score: too large; a third; and 1 more",
    );
    return true;
  });
  const plain = new ProblemError(503, { detail: "Later", errors: "none" }, false);
  assert.deepEqual([plain.errors, plain.requestId], [[], null]);
  assert.equal(plain.message, "HTTP status 503 (503): Later");
});

test("sealedFetch has fetch's signature and answers like it", async () => {
  server.answer = (inner) => ({
    status: 201,
    headers: [["content-type", "text/plain"], ["x-method", inner.method]],
    content: `${inner.get("x-secret")} ${new TextDecoder().decode(inner.content)}`,
  });
  const sealed: typeof fetch = sealedFetch({ gateway, trust, fetch: server.fetch, now: () => now });
  const response = await sealed(`${gateway}/v1/x?q=1`, {
    method: "PUT",
    body: "body",
    headers: { "x-secret": "s", authorization: "Bearer t", "request-timeout": "90" },
  });
  assert.equal(response.status, 201);
  assert.equal(await response.text(), "s body");
  assert.equal(response.headers.get("x-method"), "PUT");
  assert.equal(response.headers.get("blindgate-sealed"), "true");
  assert.equal(server.asked[0]!.path, "/v1/x?q=1");
  const outside = server.seen.at(-1)!.headers;
  assert.equal(outside.get("x-secret"), null);
  assert.equal(outside.get("authorization"), "Bearer t");
  assert.equal(outside.get("request-timeout"), "90");
  assert.equal((await sealed(new Request(`${gateway}/x`))).status, 201);
});

test("an answer without a body is one", async () => {
  server.answer = () => ({ status: 204 });
  assert.equal((await client.fetch(`${gateway}/x`)).status, 204);
});

test("requests elsewhere are refused, not sent in the clear", async () => {
  await assert.rejects(client.fetch("https://elsewhere.example/"), NotSealed);
  assert.deepEqual(server.seen, []);
});

for (const [name, document] of bound.documents_to_refuse.map((one: Record<string, string>) => [
  one["name"],
  one["document"],
])) {
  test(`a document is refused and nothing is sent: ${name}`, async () => {
    server.replace[ATTESTATION] = () => reply("application/cose", fromHex(document));
    await assert.rejects(client.detect(new Uint8Array(9)), VerificationFailed);
    assert.ok(!server.paths().includes(SEALED));
    assert.equal(client.enclave, null);
  });
}

test("another image, another root and another nonce are refused", async () => {
  const other = { ...bound.pcr_set, 0: "ab".repeat(48) };
  for (const wrong of [{ ...trust, pcrSets: [other] }, { pcrSets: [bound.pcr_set] }]) {
    const refusing = new BlindgateClient({
      gateway,
      trust: wrong,
      fetch: server.fetch,
      now: () => now,
    });
    await assert.rejects(refusing.verify(), VerificationFailed);
  }
  mock.restoreAll();
  await assert.rejects(client.detect(new Uint8Array(9)), VerificationFailed);
  assert.ok(!server.paths().includes(SEALED));
});

test("keys that the document does not bind are refused", async () => {
  const other = published.key_lists.valid.find((one: { name: string }) => one.name === "X25519 alone");
  server.replace[KEYS] = () => reply("application/ohttp-keys", fromHex(other.body));
  await assert.rejects(client.detect(new Uint8Array(9)), /vouch/);
  assert.ok(!server.paths().includes(SEALED));
});

test("nonsense instead of keys or document is refused", async () => {
  for (const where of [KEYS, ATTESTATION]) {
    for (const nonsense of [
      () => new Response("<p>Welcome</p>", { headers: { "content-type": "text/html" } }),
      () => new Response(null, { status: 302, headers: { location: "https://elsewhere.example" } }),
      () => reply("application/ohttp-keys", new Uint8Array()),
      () => reply("application/cose", new Uint8Array()),
    ]) {
      server.replace = { [where]: nonsense };
      await assert.rejects(client.detect(new Uint8Array(9)), VerificationFailed);
    }
  }
  assert.ok(!server.paths().includes(SEALED));
});

test("a key that rotated away is renewed once", async () => {
  const type = "https://iana.org/assignments/http-problem-types#ohttp-key";
  let refusals = 1;
  server.replace[SEALED] = async (request) =>
    refusals-- > 0 ? problem(400, type) : server.sealed(request);
  assert.deepEqual(await client.detect(new Uint8Array(9)), found);
  assert.equal(server.paths().filter((path) => path === ATTESTATION).length, 2);
  refusals = 9;
  await assert.rejects(client.detect(new Uint8Array(9)), { type });
  assert.equal(refusals, 7);
});

test("a key under the id of another one is renewed once", async () => {
  const type = "urn:blindgate:problem:ohttp-rejected";
  server.replace[SEALED] = (request) => server.sealed(request).catch(() => problem(400, type));
  await client.detect(new Uint8Array(9));
  // As if the enclave that was verified had gone, and the one of the vectors had come.
  const { publicKey } = client.enclave!.config;
  publicKey[publicKey.length - 1]! ^= 1;
  assert.deepEqual(await client.detect(new Uint8Array(9)), found);
  assert.deepEqual(server.paths().slice(-4), [SEALED, KEYS, ATTESTATION, SEALED]);
});

test("what the same key rejects is not sealed again", async () => {
  const type = "urn:blindgate:problem:ohttp-rejected";
  server.replace[SEALED] = () => problem(400, type);
  await assert.rejects(client.detect(new Uint8Array(9)), { type, sealed: false });
  assert.equal(server.paths().filter((path) => path === SEALED).length, 1);
});

test("a wrong clock is corrected by the enclave, and by nobody else", async () => {
  server.clock = now + 3_600_000;
  assert.deepEqual(await client.detect(new Uint8Array(9)), found);
  assert.equal(server.paths().filter((path) => path === SEALED).length, 2);
  assert.deepEqual(await client.detect(new Uint8Array(9)), found);
  assert.equal(server.paths().filter((path) => path === SEALED).length, 3);
  const type = "https://iana.org/assignments/http-problem-types#date";
  server.replace[SEALED] = () => problem(400, type, { date: "Mon, 01 Jan 2001 00:00:00 GMT" });
  await assert.rejects(client.detect(new Uint8Array(9)), { type, sealed: false });
  assert.equal(server.paths().filter((path) => path === SEALED).length, 4);
});

test("an answer outside the seal is refused, a problem is told", async () => {
  const success = () => reply("application/json", text.encode(JSON.stringify(found)) as never);
  const redirect = () => new Response(null, { status: 307, headers: { location: "/x" } });
  const junk = () => reply("message/ohttp-res", new Uint8Array(70_000));
  for (const wrong of [success, redirect, junk]) {
    server.replace[SEALED] = wrong;
    await assert.rejects(client.detect(new Uint8Array(9)), AnswerRejected);
  }
  server.replace[SEALED] = () => problem(503, "urn:x", { "retry-after": "3", "set-cookie": "a=b" });
  await assert.rejects(client.detect(new Uint8Array(9)), {
    name: "ProblemError",
    status: 503,
    retryAfter: 3,
    sealed: false,
  });
  const response = await client.fetch(`${gateway}/x`);
  assert.equal(response.status, 503);
  assert.equal(response.headers.get("blindgate-sealed"), "false");
  assert.equal(response.headers.get("set-cookie"), null);
});

test("a problem inside the seal is the enclave's", async () => {
  server.answer = () => problemAnswer(422, "urn:blindgate:problem:image-rejected");
  await assert.rejects(client.detect(new Uint8Array(9)), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual([error.status, error.title, error.detail, error.sealed], [422, "No", "Why", true]);
    return true;
  });
});

test("a gateway without an enclave answers like a service that is away", async () => {
  server.replace[KEYS] = () => problem(503, "urn:x", { "retry-after": "7" });
  assert.equal((await client.fetch(`${gateway}/x`)).headers.get("retry-after"), "7");
  await assert.rejects(client.detect(new Uint8Array(9)), { status: 503, retryAfter: 7 });
});

test("an endless answer is cut off", async () => {
  server.replace[SEALED] = () => {
    const body = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(1 << 20)),
    });
    return new Response(body);
  };
  await assert.rejects(client.detect(new Uint8Array(9)), /larger/);
});

test("a sealed answer may have 16 MiB and 64 bytes, and not one more", async () => {
  for (const [length, says] of [
    [16_777_216 + 64, /not sealed for this request/],
    [16_777_216 + 65, /larger than any can be/],
  ] as const) {
    server.replace[SEALED] = () => reply("message/ohttp-res", new Uint8Array(length));
    await assert.rejects(client.detect(new Uint8Array(9)), says);
  }
});

test("a Retry-After that is no number of seconds is left out", async () => {
  for (const [header, seconds] of [
    ["0", 0],
    ["30", 30],
    ["-1", null],
    ["1.5", null],
    ["7 s", null],
    ["Fri, 31 Dec 1999 23:59:59 GMT", null],
  ] as const) {
    server.replace[KEYS] = () => problem(503, "urn:x", { "retry-after": header });
    await assert.rejects(client.detect(new Uint8Array(9)), { status: 503, retryAfter: seconds });
  }
});

test("only a 400 makes the client ask for keys again", async () => {
  const type = "https://iana.org/assignments/http-problem-types#ohttp-key";
  for (const [status, sent] of [
    [401, 1],
    [409, 1],
    [400, 2],
  ] as const) {
    server.seen.length = 0;
    server.replace[SEALED] = () => problem(status, type);
    await assert.rejects(client.detect(new Uint8Array(9)), { status });
    assert.equal(server.paths().filter((path) => path === SEALED).length, sent);
  }
});

test("a gateway is named by its origin", () => {
  for (const wrong of ["ftp://x", "https://x/path", "https://u@x", "https://x?a=b"]) {
    assert.throws(() => new BlindgateClient({ gateway: wrong, trust }), TypeError);
  }
});

test("media types come from the content", () => {
  assert.equal(mediaType(text.encode("RIFF0000WEBPVP8 ")), "image/webp");
  assert.equal(mediaType(Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10)), "image/png");
  assert.equal(mediaType(new Uint8Array()), "application/octet-stream");
});
