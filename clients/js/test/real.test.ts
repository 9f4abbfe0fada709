/** Documents of real Nitro enclaves: those of the repository, and those that `make vectors` fetched. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { verifyAttestation } from "../src/attestation.js";
import { toHex } from "../src/bytes.js";
import { parseDocument } from "../src/document.js";
import { checkout } from "./vectors.js";

const all = new Map<string, string>();
for (const place of ["tests/vectors/real", "tests/vectors/fetched", "../shared/vectors"]) {
  const folder = join(checkout(), place, "attestation");
  if (!existsSync(folder)) continue;
  for (const name of readdirSync(folder)) {
    if (name.endsWith(".bin") && !all.has(name)) all.set(name, join(folder, name));
  }
}
const [foreign, ours] = [true, false].map((other) =>
  [...all.keys()].filter((name) => name.includes("NONAWSROOT") === other),
) as [string[], string[]];

test("there are real documents", () => {
  assert.ok(ours.length >= 7);
});

for (const name of foreign) {
  test(`a document under another root is refused at its own time: ${name}`, async () => {
    const document = readFileSync(all.get(name)!);
    const trust = { pcrSets: [{ 0: "00".repeat(48), 1: "00".repeat(48), 2: "00".repeat(48) }] };
    const now = parseDocument(document).timestamp;
    const verifying = verifyAttestation(document, { trust: { ...trust, allowDebug: true }, now });
    await assert.rejects(verifying, { rule: "wrong-root" });
  });
}

for (const name of ours) {
  test(`a real document verifies at its own time, and not today: ${name}`, async () => {
    const document = readFileSync(all.get(name)!);
    const { pcrs, nonce, timestamp } = parseDocument(document);
    const pcrSet = Object.fromEntries([0, 1, 2].map((at) => [at, toHex(pcrs.get(at)!)]));
    const trust = { pcrSets: [pcrSet], allowDebug: true };
    await verifyAttestation(document, { trust, nonce, now: timestamp });
    await assert.rejects(verifyAttestation(document, { trust, nonce }), {
      rule: "certificate-expired",
    });
  });
}
