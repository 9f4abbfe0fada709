/** What the server could and could not see, with the numbers of what really left this page. */

import type { Exchange, Kind } from "../traffic.js";
import type { Upload } from "../upload.js";
import { bytes, count, exactBytes } from "../words.js";
import { h } from "./elements.js";

const KINDS: Readonly<Record<Kind, string>> = {
  keys: "the enclave's public keys",
  attestation: "the enclave's proof of what it is",
  sealed: "sealed: the gateway passes it on and cannot open it",
};

export function sightView(
  exchanges: readonly Exchange[],
  upload: Upload | null,
  signedIn: boolean,
): Node[] {
  const sealed = exchanges.filter(({ kind }) => kind === "sealed");
  const last = sealed.at(-1);
  return [
    h("h3", {}, "Could see"),
    h(
      "ul",
      { class: "seen" },
      h("li", {}, "That somebody at your network address uses this service, and when"),
      signedIn && h("li", {}, "Whose API key or token was used"),
      last
        ? h("li", {}, uploads(sealed.length, last))
        : h("li", {}, "Nothing of yours yet: only that this page asked about the enclave"),
      last &&
        last.received !== null &&
        last.status === 200 &&
        h(
          "li",
          {},
          `A sealed answer of ${bytes(last.received)}, the same size whatever was found, ` +
            "and how long it took",
        ),
      upload?.kind === "envelope" &&
        h("li", {}, "That the enclave asked KMS for a data key (the connection itself is encrypted)"),
    ),
    h("h3", {}, "Could not see"),
    h(
      "ul",
      { class: "unseen-by-server" },
      h("li", {}, "The photo, its name or its kind"),
      h("li", {}, "What was found: labels, scores, boxes, or how many"),
      h("li", {}, "What was asked for, or why something could not be opened"),
      h("li", {}, "How you filter: that happens in this browser"),
    ),
    h(
      "details",
      {},
      h("summary", {}, `Everything that left this page: ${count(exchanges.length, "request")}`),
      h("ul", { class: "exchanges" }, ...exchanges.map(row)),
    ),
  ];
}

function uploads(number: number, { sent }: Exchange): string {
  const which = number === 1 ? " of" : ", the last of";
  return `${count(number, "sealed upload")}${which} ${bytes(sent)}: the file's size, rounded up`;
}

function row({ line, kind, sent, status, received }: Exchange): Node {
  const answer = status === null ? "no answer" : `status ${status}`;
  const back = received === null ? "" : `, ${exactBytes(received)} back`;
  const out = sent ? `${exactBytes(sent)} out, ` : "";
  return h("li", {}, h("code", {}, line), h("p", {}, `${KINDS[kind]}. ${out}${answer}${back}.`));
}
