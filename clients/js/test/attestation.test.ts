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
