/** What a person must know about this page before believing it. */

import { isDevelopment, type Configuration } from "../configuration.js";
import { shortName } from "../checks.js";
import { h } from "./elements.js";

export function noticesView(told: Configuration): Node[] {
  const notices: Node[] = [];
  if (isDevelopment(told)) {
    notices.push(
      h(
        "p",
        { class: "notice development" },
        h("strong", {}, "Development root."),
        ` The pinned root (${shortName(told.root.name)}) is not AWS's, so no Nitro hardware stands ` +
          "behind what is verified here. Do not use it for photos that matter.",
      ),
    );
  }
  if (told.allowDebug) {
    notices.push(
      h(
        "p",
        { class: "notice danger" },
        h("strong", {}, "Debug mode is accepted."),
        " Whoever runs a debug-mode enclave can read its console. Do not use it for photos that matter.",
      ),
    );
  }
  return notices;
}

/** `expected`: nothing went wrong, such as a sign-in that is asked for the first time. */
export function problemNotice(title: string, text: string, expected = false): Node {
  const looks = expected ? "notice" : "notice danger";
  return h("p", { class: looks }, h("strong", {}, title), ` ${text}`);
}

/** Where this page comes from, and so whom one believes by using it. */
export function originView(told: Configuration): Node[] {
  const command = h("code", {}, told.standalone ? "blindgate detect" : "make console");
  return told.standalone
    ? [
        h("h2", {}, "Whom you trust here"),
        h(
          "p",
          {},
          "This page is a file of its own; the measurements were pinned when it was built. The gateway ",
          h("code", {}, told.gateway),
          " cannot change it. It is as trustworthy as whoever gave it to you, and as your browser.",
        ),
      ]
    : [
        h("h2", {}, "Whom you trust here"),
        h(
          "p",
          {},
          "This page and the measurements that it pins came from the gateway that it checks, so it is " +
            "only as trustworthy as that gateway: an operator could serve a page that lies. For a check " +
            "that does not depend on the operator, have somebody you trust build it as one file with ",
          command,
          " and keep it elsewhere, or use ",
          h("code", {}, "blindgate detect"),
          ".",
        ),
      ];
}
