import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeUserData, pcrSetFromJson, verifyAttestation } from "../src/attestation.js";
import { fromHex, toHex } from "../src/bytes.js";
import { AttestationError } from "../src/errors.js";
import { fingerprintOf, vectors } from "./vectors.js";

const published = vectors("attestation");
const root = await fingerprintOf(published.root_pem);

for (const one of published.cases) {
  test(`${one.refused ? `refused (${one.refused})` : "verifies"}: ${one.name}`, async () => {
    const verifying = verifyAttestation(Buffer.from(one.document, "base64"), {
      trust: {
        root,
        pcrSets: one.pcr_sets.map((name: string) => published.pcr_sets[name]),
        allowDebug: one.allow_debug,
      },
      nonce: one.nonce === null ? null : fromHex(one.nonce),
      now: Date.parse(one.at),
    });
    if (one.refused) {
      await assert.rejects(verifying, (error) => {
        assert.ok(error instanceof AttestationError, String(error));
        assert.equal(error.rule, one.refused);
        return true;
      });
    } else {
      const { pcrSet } = await verifying;
      assert.equal(one.pcr_sets[pcrSet], one.matches);
    }
  });
}

const bound = vectors("sealing").bound_keys;
const trusted = { root: await fingerprintOf(bound.root_pem), pcrSets: [bound.pcr_set] };

test("user_data binds what the vector says", async () => {
  const attestation = await verifyAttestation(fromHex(bound.document), {
    trust: trusted,
    nonce: fromHex(bound.nonce),
    now: Date.parse(bound.at),
  });
  const digests = decodeUserData(attestation.userData);
  assert.equal(toHex(digests.keys), bound.digests.keys);
  assert.equal(toHex(digests.model), bound.digests.model);
  assert.equal(toHex(digests.config), bound.digests.config);
});

test("a document that is cut anywhere is refused, and for its end where a part begins", async () => {
  const document = fromHex(bound.document);
  const ruleAt = async (length: number): Promise<string> => {
    const verifying = verifyAttestation(document.subarray(0, length), { trust: trusted });
    const error: unknown = await verifying.then(() => null, (reason: unknown) => reason);
    assert.ok(error instanceof AttestationError, `${length}: ${String(error)}`);
    return error.rule;
  };
  for (let length = 0; length < document.length; length += 1) await ruleAt(length);
  const start = document[0] === 0x84 ? 1 : 2;
  assert.equal(await ruleAt(start), "malformed-cbor", "the protected header");
  // After five bytes of protected header and one of the unprotected one.
  assert.equal(await ruleAt(start + 6), "malformed-cbor", "the payload");
  assert.equal(await ruleAt(document.length - 98), "malformed-cbor", "the signature");
});

test("the production root refuses a development document", async () => {
  const verifying = verifyAttestation(fromHex(bound.document), {
    trust: { pcrSets: [bound.pcr_set] },
    nonce: fromHex(bound.nonce),
    now: Date.parse(bound.at),
  });
  await assert.rejects(verifying, { rule: "wrong-root" });
});

test("trust that would accept anybody is refused", async () => {
  const document = fromHex(bound.document);
  for (const pcrSets of [[], [{}], [{ ...bound.pcr_set, 0: "00".repeat(48) }], [{ 0: "ab" }]]) {
    const verifying = verifyAttestation(document, { trust: { root: trusted.root, pcrSets } });
    await assert.rejects(verifying, TypeError);
  }
});

test("both layouts of nitro-cli's PCR file are read", () => {
  const flat = Object.fromEntries(
    Object.entries(bound.pcr_set).map(([index, value]) => [`PCR${index}`, value]),
  );
  assert.deepEqual(pcrSetFromJson(flat), bound.pcr_set);
  assert.deepEqual(pcrSetFromJson({ Measurements: { HashAlgorithm: "x", ...flat } }), bound.pcr_set);
  assert.throws(() => pcrSetFromJson({}), TypeError);
  assert.throws(() => pcrSetFromJson(null), TypeError);
});

const flat = Object.fromEntries(
  Object.entries(bound.pcr_set).map(([index, value]) => [`PCR${index}`, value]),
) as Record<string, unknown>;

for (const [name, changes] of [
  ["a number", { PCR8: 5 }],
  ["null", { PCR8: null }],
  ["a list", { PCR8: ["ab".repeat(48)] }],
  ["a PCR in lower case too", { pcr0: "ab".repeat(48) }],
  ["a name that is not known", { comment: "release 7" }],
  ["a mistyped PCR", { "PCR 8": "ab".repeat(48) }],
  ["PCR08", { PCR08: "ab".repeat(48) }],
  ["PCR32", { PCR32: "ab".repeat(48) }],
  ["too few digits", { PCR8: "ab".repeat(47) }],
] as const) {
  test(`a PCR file with ${name} is refused`, () => {
    for (const file of [{ ...flat, ...changes }, { Measurements: { ...flat, ...changes } }]) {
      assert.throws(() => pcrSetFromJson(file), TypeError);
    }
  });
}

test("a PCR beside the measurements is refused, and everything else there is not looked at", () => {
  assert.throws(() => pcrSetFromJson({ Measurements: flat, PCR8: "ab".repeat(48) }), TypeError);
  assert.deepEqual(pcrSetFromJson({ Measurements: flat, EifVersion: 4 }), bound.pcr_set);
});

test("every PCR from 0 to 31 may be named, and no other", () => {
  for (let index = 0; index < 100; index += 1) {
    const file = { ...flat, [`PCR${index}`]: "ab".repeat(48) };
    if (index < 32) assert.equal(pcrSetFromJson(file)[index], "ab".repeat(48));
    else assert.throws(() => pcrSetFromJson(file), TypeError, `PCR${index}`);
  }
});

test("a trust object with anything else in it is refused", async () => {
  const document = fromHex(bound.document);
  for (const change of [
    { allow_debug: true },
    { pcrs: [] },
    { root: "641a" },
    { root: "" },
    { root: "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----" + bound.root_pem },
    { root: bound.root_pem + bound.root_pem },
    { pcrSets: [{ ...bound.pcr_set, 32: "ab".repeat(48) }] },
    { pcrSets: [{ ...bound.pcr_set, PCR8: "ab".repeat(48) }] },
    { pcrSets: [{ ...bound.pcr_set, 8: 5 }] },
  ]) {
    const wrong = { ...trusted, ...change } as never;
    await assert.rejects(verifyAttestation(document, { trust: wrong }), TypeError);
  }
});

test("the root is pinned by its fingerprint, in either case, or by its PEM", async () => {
  for (const one of [trusted.root, trusted.root.toUpperCase(), bound.root_pem, ` ${bound.root_pem}\n`]) {
    await verifyAttestation(fromHex(bound.document), {
      trust: { root: one, pcrSets: trusted.pcrSets },
      nonce: fromHex(bound.nonce),
      now: Date.parse(bound.at),
    });
  }
});

test("user_data has one encoding", async () => {
  const attestation = await verifyAttestation(fromHex(bound.document), {
    trust: trusted,
    nonce: fromHex(bound.nonce),
    now: Date.parse(bound.at),
  });
  const plain = attestation.userData!;
  decodeUserData(plain);
  const purpose = plain.length - 28; // "purpose" and its value end the map
  const pairs = [plain.subarray(1, purpose), plain.subarray(purpose)];
  const others = {
    "an indefinite map": [[0xbf], ...pairs, [0xff]],
    "another order": [[0xa4], pairs[1]!, pairs[0]!],
    "a longer length of the map": [[0xb8, 4], ...pairs],
    "a further field": [[0xa5], ...pairs, [0x61, 0x78, 0x01]],
    "a longer length of a key": [[0xa4, 0x78, 4], plain.subarray(2)],
  };
  for (const [name, parts] of Object.entries(others)) {
    const encoded = Uint8Array.from(parts.flatMap((part) => [...part]));
    assert.throws(() => decodeUserData(encoded), { rule: "user-data" }, name);
  }
});
