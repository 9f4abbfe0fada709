/**
 * A client that was generated from docs/openapi.json, against a running stack: open, and sealed by
 * handing it `sealedFetch`. Prints one JSON object of what it saw; tests/e2e/test_sdks.py checks it.
 */

import { openAsBlob, readFileSync } from "node:fs";
import { pcrSetFromJson, sealedFetch } from "blindgate";
import { createClient } from "../dist/client/client/index.js";
import { detect, infer, listModels } from "../dist/client/index.js";

const url = process.env.BLINDGATE_URL!;
const state = process.env.BLINDGATE_DEV_ROOT!;
const envelope = await openAsBlob(process.env.BLINDGATE_ENVELOPE!);
const photo = await openAsBlob(process.env.BLINDGATE_PHOTO!);

const pem = readFileSync(`${state}/root.pem`, "utf8").replace(/-----[^-]+-----|\s/g, "");
const digest = await crypto.subtle.digest("SHA-256", Buffer.from(pem, "base64"));
const trust = {
  root: Buffer.from(digest).toString("hex"),
  pcrSets: [pcrSetFromJson(JSON.parse(readFileSync(`${state}/pcrs.json`, "utf8")))],
};

const open = createClient({ baseUrl: url });
const sealed = createClient({ baseUrl: url, fetch: sealedFetch({ gateway: url, trust }) });

function labels(found: Awaited<ReturnType<typeof detect>>["data"]): string[] {
  return found && "detections" in found ? found.detections.map(({ label }) => label) : [];
}

const models = await listModels({ client: open });
const name = models.data!.models[0]!.name;
const byEnvelope = await detect({ client: open, body: envelope, query: { min_score: 0.4 } });
const refused = await detect({ client: open, body: photo });
const byPhoto = await detect({ client: sealed, body: photo, query: { classes: ["cup"] } });
const rejected = await detect({ client: sealed, body: new Blob(["no picture"]) });
const data = Buffer.from(await envelope.arrayBuffer()).toString("base64");
const inferred = await infer({
  client: open,
  path: { model_name: name },
  body: { inputs: [{ name: "image", datatype: "BYTES", shape: [1], data: [data] }] },
});

console.log(
  JSON.stringify({
    models: models.data!.models.map((model) => model.name),
    open: labels(byEnvelope.data),
    refused: refused.error && "type" in refused.error ? refused.error.type : null,
    sealed: labels(byPhoto.data),
    sealedBy: byPhoto.response?.headers.get("blindgate-sealed"),
    rejected: rejected.error && "type" in rejected.error ? rejected.error.type : null,
    rejectedBy: rejected.response?.headers.get("blindgate-sealed"),
    inferred:
      inferred.data && "outputs" in inferred.data
        ? inferred.data.outputs.find((each) => each.name === "labels")?.data
        : null,
  }),
);
