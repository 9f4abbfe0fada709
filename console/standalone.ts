/** Puts the script, the style and the icon into the page, and lets nothing else run: hashes of both. */

import { createHash } from "node:crypto";
import type { Plugin } from "vite";

const SCRIPT = /<script type="module" crossorigin src="[^"]*\/([^"/]+)"><\/script>/;
const ICON = /(<link rel="icon" type="image\/svg\+xml" href=")[^"]*\/([^"/]+)"/;
const STYLE = /<link rel="stylesheet" crossorigin href="[^"]*\/([^"/]+)">/;

function hash(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

export function standalone(): Plugin {
  return {
    name: "blindgate-standalone",
    enforce: "post",
    generateBundle(_, bundle) {
      const page = bundle["index.html"];
      if (page?.type !== "asset") throw new Error("the build has no page");
      const take = (html: string, pattern: RegExp): string => {
        const name = `assets/${pattern.exec(html)?.at(-1)}`;
        const found = bundle[name];
        if (!found) throw new Error(`the page does not name its files as expected: ${name}`);
        delete bundle[name];
        return String(found.type === "chunk" ? found.code : found.source).trim();
      };
      let html = String(page.source);
      // `</script` inside the script would end it; as a JavaScript string it means the same.
      const script = take(html, SCRIPT).replaceAll("</script", "<\\/script");
      const style = take(html, STYLE);
      const icon = Buffer.from(take(html, ICON)).toString("base64");
      // The gateway's origin is filled in with the configuration.
      const policy =
        `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; ` +
        "img-src blob: data:; connect-src %GATEWAY%; base-uri 'none'; form-action 'none'; " +
        "require-trusted-types-for 'script'; trusted-types 'none'";
      html = html.replace(SCRIPT, "").replace(STYLE, () => `<style>${style}</style>`);
      html = html.replace(ICON, (_, start) => `${start}data:image/svg+xml;base64,${icon}"`);
      html = html.replace(
        '<meta charset="utf-8" />',
        (charset) =>
          `${charset}\n    <meta http-equiv="content-security-policy" content="${policy}" />`,
      );
      // Last in the body: the configuration before it, and the page, are there when it runs.
      html = html.replace(
        "</body>",
        () =>
          '<script type="application/json" id="configuration">%CONFIGURATION%</script>\n' +
          `<script type="module">${script}</script>\n  </body>`,
      );
      page.source = html;
      const rest = Object.keys(bundle).filter((name) => name !== "index.html");
      if (rest.length) throw new Error(`not in the page: ${rest.join(", ")}`);
    },
  };
}
