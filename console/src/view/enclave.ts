/** The verdict about the enclave, each step of it, and the evidence. */

import { toHex } from "@client/bytes.js";
import type { Document } from "@client/document.js";
import { KEMS, XWING } from "@client/keys.js";
import type { VerifiedEnclave } from "@client/session.js";
import { compare, reading, type Check, type Measurement, type Outcome } from "../checks.js";
import type { Configuration, Image } from "../configuration.js";
import { exactBytes } from "../words.js";
import { h, unseen } from "./elements.js";

export type Verdict =
  | { readonly state: "checking" }
  | { readonly state: "trusted"; readonly checks: Check[]; readonly enclave: VerifiedEnclave }
  | { readonly state: "refused"; readonly checks: Check[]; readonly sent: boolean }
  | { readonly state: "unreachable"; readonly message: string };

const SAID: Readonly<Record<Outcome, string>> = {
  passed: "Passed",
  failed: "Failed",
  "not-reached": "Not looked at",
};
const SIGNS: Readonly<Record<Outcome, string>> = { passed: "✓", failed: "✕", "not-reached": "–" };

export function enclaveView(
  verdict: Verdict,
  told: Configuration,
  document: Uint8Array | null,
  again: () => void,
): Node[] {
  const button = h("button", { type: "button", class: "quiet", click: again }, "Verify again");
  switch (verdict.state) {
    case "checking":
      return [h("p", { class: "verdict" }, "Verifying the enclave …")];
    case "unreachable":
      return [
        h("p", { class: "verdict refused" }, "Not verified"),
        h("p", {}, verdict.message),
        button,
      ];
    case "trusted":
      return [
        h("p", { class: "verdict trusted" }, "Verified by this page"),
        steps(verdict.checks),
        evidence(told, document, imageOf(told, verdict.enclave), verdict.enclave),
        button,
      ];
    case "refused":
      return [
        h(
          "p",
          { class: "verdict refused" },
          verdict.sent ? "Refused. Nothing more was sent." : "Refused. Nothing was sent.",
        ),
        h("p", {}, "This is not the enclave that the page was told to trust."),
        steps(verdict.checks),
        evidence(told, document, null, null),
        button,
      ];
  }
}

function steps(checks: readonly Check[]): Node {
  return h(
    "ol",
    { class: "checks" },
    ...checks.map(({ name, outcome, detail }) =>
      h(
        "li",
        { class: outcome },
        h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[outcome]),
        h(
          "div",
          {},
          unseen(`${SAID[outcome]}: `),
          h("strong", {}, name),
          detail && h("p", {}, detail),
        ),
      ),
    ),
  );
}

function evidence(
  told: Configuration,
  document: Uint8Array | null,
  matched: Image | null,
  enclave: VerifiedEnclave | null,
): Node {
  const read = reading(document);
  if (!read || !document) return h("span");
  const image = matched ?? nearest(read, told.images);
  const facts: [string, string][] = [
    ["Enclave", read.moduleId],
    ["Made at", new Date(read.timestamp).toISOString()],
    ["Size", exactBytes(document.length)],
    ["Pinned root, SHA-256", told.root.sha256],
  ];
  if (enclave) {
    const { config, userData } = enclave;
    facts.push(
      ["Sealing key, SHA-256", toHex(userData.keys)],
      ["Sealed with", config.kem === XWING ? "X-Wing (ML-KEM-768 and X25519)" : "X25519"],
      ["Encapsulated key", exactBytes(KEMS.get(config.kem)?.nenc ?? 0)],
      ["Model, SHA-256", toHex(userData.model)],
      ["Configuration, SHA-256", toHex(userData.config)],
    );
  }
  const rows = facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
  const title = enclave ? "Evidence" : "What the document says (do not believe it)";
  return h(
    "details",
    { class: "evidence" },
    h("summary", {}, title),
    ...compare(read, image).map((each) => measurement(each, image?.name ?? "no image")),
    h("dl", {}, ...rows),
  );
}

function imageOf(told: Configuration, { attestation }: VerifiedEnclave): Image | null {
  return told.images[attestation.pcrSet] ?? null;
}

/** The image that most measurements agree with: what a person would compare first. */
function nearest(read: Document, images: readonly Image[]): Image | null {
  const agreeing = (image: Image) => compare(read, image).filter(({ same }) => same).length;
  return [...images].sort((one, other) => agreeing(other) - agreeing(one))[0] ?? null;
}

function measurement({ index, measured, pinned, same }: Measurement, image: string): Node {
  const given = measured ? toHex(measured) : "none";
  const lines = same
    ? [h("dt", {}, `Measured and pinned for ${image}`), h("dd", {}, given)]
    : [
        h("dt", {}, "Measured"),
        h("dd", {}, given),
        h("dt", {}, `Pinned for ${image}`),
        h("dd", {}, pinned ?? "none"),
      ];
  return h(
    "div",
    { class: same ? "pcr same" : "pcr other" },
    h("h3", {}, `PCR${index}`, " ", h("span", {}, same ? "✓ the same" : "✕ not the same")),
    h("dl", {}, ...lines),
  );
}
