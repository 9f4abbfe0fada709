/** Documents of real Nitro enclaves, where the folder with them is beside the checkout. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { verifyAttestation } from "../src/attestation.js";
import { toHex } from "../src/bytes.js";
import { parseDocument } from "../src/document.js";
import { checkout } from "./vectors.js";

const folder = join(checkout(), "..", "shared", "vectors", "attestation");
const all = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".bin")) : [];
const [foreign, ours] = [true, false].map((other) =>
  all.filter((name) => name.includes("NONAWSROOT") === other),
) as [string[], string[]];

test("there are real documents", { skip: all.length ? false : "no ../shared" }, () => {
  assert.ok(ours.length > 10);
  assert.ok(foreign.length > 0);
});

for (const name of foreign) {
  test(`a document under another root is refused at its own time: ${name}`, async () => {
    const document = readFileSync(join(folder, name));
    const trust = { pcrSets: [{ 0: "00".repeat(48), 1: "00".repeat(48), 2: "00".repeat(48) }] };
    const now = parseDocument(document).timestamp;
    const verifying = verifyAttestation(document, { trust: { ...trust, allowDebug: true }, now });
    await assert.rejects(verifying, { rule: "wrong-root" });
  });
}

for (const name of ours) {
  test(`a real document verifies at its own time, and not today: ${name}`, async () => {
    const document = readFileSync(join(folder, name));
    const { pcrs, nonce, timestamp } = parseDocument(document);
    const pcrSet = Object.fromEntries([0, 1, 2].map((at) => [at, toHex(pcrs.get(at)!)]));
    const trust = { pcrSets: [pcrSet], allowDebug: true };
    await verifyAttestation(document, { trust, nonce, now: timestamp });
    await assert.rejects(verifyAttestation(document, { trust, nonce }), {
      rule: "certificate-expired",
    });
  });
}
