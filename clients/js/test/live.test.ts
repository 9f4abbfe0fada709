/**
 * Against a running stack. BLINDGATE_URL is the gateway, BLINDGATE_DEV_ROOT the folder with its
 * root.pem and pcrs.json, BLINDGATE_PHOTO a picture; optional are BLINDGATE_TOKEN, a bearer token,
 * and BLINDGATE_LABEL, a label that must be found.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { BlindgateClient, ProblemError, VerificationFailed, pcrSetFromJson } from "../src/index.js";
import { fingerprintOf } from "./vectors.js";

const { BLINDGATE_URL, BLINDGATE_DEV_ROOT, BLINDGATE_PHOTO } = process.env;
const { BLINDGATE_TOKEN, BLINDGATE_LABEL } = process.env;
const complete = BLINDGATE_URL && BLINDGATE_DEV_ROOT && BLINDGATE_PHOTO;
const skip = complete ? false : "BLINDGATE_URL, _DEV_ROOT and _PHOTO do not name a running stack";

function state(name: string): string {
  return readFileSync(join(BLINDGATE_DEV_ROOT!, name), "utf8");
}

async function client(pcr0?: string): Promise<BlindgateClient> {
  const set = pcrSetFromJson(JSON.parse(state("pcrs.json")));
  return new BlindgateClient({
    gateway: BLINDGATE_URL!,
    trust: {
      root: await fingerprintOf(state("root.pem")),
      pcrSets: [pcr0 ? { ...set, 0: pcr0 } : set],
    },
    ...(BLINDGATE_TOKEN ? { headers: { authorization: `Bearer ${BLINDGATE_TOKEN}` } } : {}),
  });
}

test("a photo is detected by a verified enclave", { skip }, async () => {
  const found = await (await client()).detect(readFileSync(BLINDGATE_PHOTO!));
  assert.ok(found.image.width > 0);
  if (BLINDGATE_LABEL) {
    assert.ok(found.detections.some(({ label }) => label === BLINDGATE_LABEL));
  }
});

test("sealedFetch reaches the same endpoint", { skip }, async () => {
  const { fetch } = await client();
  const response = await fetch(`${BLINDGATE_URL}/v1/detections`, {
    method: "POST",
    body: readFileSync(BLINDGATE_PHOTO!),
    headers: { "content-type": "application/octet-stream" },
  });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("blindgate-sealed"), "true");
  assert.match(response.headers.get("server-timing") ?? "", /^unseal;dur=/);
});

test("a problem comes sealed", { skip }, async () => {
  const { fetch } = await client();
  const response = await fetch(`${BLINDGATE_URL}/v1/nothing-here`, { method: "POST", body: "x" });
  assert.ok(response.status >= 400);
  assert.equal(response.headers.get("blindgate-sealed"), "true");
});

test("another image is refused", { skip }, async () => {
  const refusing = await client("ab".repeat(48));
  await assert.rejects(refusing.detect(new Uint8Array(9)), (error) => {
    assert.ok(error instanceof VerificationFailed && !(error instanceof ProblemError));
    return true;
  });
});
