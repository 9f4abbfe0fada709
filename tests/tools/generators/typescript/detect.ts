import { readFile } from "node:fs/promises";
import {
  Configuration,
  DetectionsApi,
  ModelsApi,
  OpenInferenceProtocolApi,
  ResponseError,
} from "./client/index.js";

const [gateway, path] = process.argv.slice(2) as [string, string];
const configuration = new Configuration({ basePath: gateway });
const envelope = await readFile(path);
const body = new Blob([envelope], { type: "application/octet-stream" });
const detections = new DetectionsApi(configuration);

const list = (all: Iterable<string>) => `[${[...new Set(all)].join(", ")}]`;
const found = await detections.detect({ body, minScore: 0.4, classes: ["cup", "dining table"] });
console.log(`open=${list(found.detections.map((each) => each.label))}`);
const form = await detections.detectInForm({ file: body });
console.log(`form=${list(form.detections.map((each) => each.label))}`);
const sample = await detections.detectAsSample({ body });
console.log(`sample=${list(sample.objectsDetected.map((each) => each.name))}`);
const [model] = (await new ModelsApi(configuration).listModels()).models;
const inferred = await new OpenInferenceProtocolApi(configuration).infer({
  modelName: model!.name,
  inferRequest: {
    inputs: [{ name: "image", datatype: "BYTES", shape: [1], data: [envelope.toString("base64")] }],
  },
});
const labels = inferred.outputs.find((each) => each.name === "labels");
console.log(`inferred=${list(labels!.data as string[])}`);
try {
  await detections.detect({ body: new Blob(["no envelope"], { type: "application/octet-stream" }) });
} catch (error) {
  if (!(error instanceof ResponseError)) throw error;
  console.log(`refused=${error.response.status}`);
}
