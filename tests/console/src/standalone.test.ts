/** The page as one file from another origin: nothing of it comes from the gateway. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import { GATEWAY, PHOTO, answered, choose, sealedRequests, withPage, type Watched } from "./browser.js";

const FILE = process.env["BLINDGATE_STANDALONE"]!;
const PORT = Number(process.env["BLINDGATE_STANDALONE_PORT"]);

/** Serve it as any file host would, without a header of its own. */
async function hosted(change: (page: string) => string, run: (w: Watched) => Promise<void>) {
  const origin = `http://127.0.0.1:${PORT}`;
  const server = createServer((request, response) => {
    response.writeHead(request.url === "/" ? 200 : 404, { "content-type": "text/html" });
    response.end(request.url === "/" ? change(readFileSync(FILE, "utf8")) : "");
  });
  await new Promise<void>((listening) => server.listen(PORT, "127.0.0.1", listening));
  try {
    await withPage(
      async (watched) => {
        await watched.page.goto(origin);
        await run(watched);
      },
      { origins: [origin] },
    );
  } finally {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  }
}

test("the one file verifies, seals and shows like the served page", () =>
  hosted(
    (page) => page,
    async ({ page, requests, complaints }) => {
      await page.getByText("Verified by this page").waitFor();
      await choose(page, PHOTO);
      await answered(page);
      assert.match(await page.locator("tbody tr").first().innerText(), /cup/);
      await page.getByText("This page is a file of its own").waitFor();
      const files = requests.filter((line) => /\/console\/|\.(js|css|svg)\b/.test(line));
      assert.deepEqual(files, []);
      assert.equal(sealedRequests(requests).length, 1);
      assert.deepEqual(complaints, []);
    },
  ));

test("with other measurements it refuses the very same gateway", () =>
  hosted(
    (page) => page.replace(/("PCR0": ")[0-9a-f]{4}/, "$1abab"),
    async ({ page, requests }) => {
      await page.getByText("Refused. Nothing was sent.").waitFor();
      assert.deepEqual(sealedRequests(requests), []);
    },
  ));

test("a script that somebody adds to it does not run", () =>
  hosted(
    (page) => page.replace("</body>", "<script>document.title = 'changed'</script></body>"),
    async ({ page, violations }) => {
      await page.getByText("Verified by this page").waitFor();
      assert.equal(await page.title(), "Blindgate");
      const stopped = await violations();
      assert.equal(stopped.length, 1);
      stopped.length = 0;
      await page.evaluate(() => Object.assign(globalThis, { stopped: [] }));
    },
  ));

test("it connects to its gateway and to nobody else", () =>
  hosted(
    (page) => page,
    async ({ page }) => {
      await page.getByText("Verified by this page").waitFor();
      const policy = await page
        .locator('meta[http-equiv="content-security-policy"]')
        .getAttribute("content");
      assert.match(policy!, new RegExp(`connect-src ${GATEWAY};`));
      assert.doesNotMatch(policy!, /unsafe|\*/);
    },
  ));
