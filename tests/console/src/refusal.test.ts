/** Whatever does not verify is refused in red, and nothing of a photo leaves the page. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  GATEWAY,
  PHOTO,
  choose,
  openVerified,
  sealedRequests,
  tell,
  withPage,
  type Watched,
} from "./browser.js";

/** The step that failed, as it looks; and that choosing a photo sends nothing either. */
async function refusedAt(watched: Watched, step: string): Promise<void> {
  const { page, requests } = watched;
  const verdict = page.getByText("Refused. Nothing was sent.");
  await verdict.waitFor();
  const failed = page.locator(".checks > li.failed");
  assert.equal(await failed.count(), 1);
  assert.match(await failed.innerText(), new RegExp(`Failed: *\\s*${step}`));
  const [red, green, blue] = await verdict.evaluate((element) =>
    getComputedStyle(element).color.match(/\d+/g)!.map(Number),
  );
  assert.ok(red! > 2 * green! && red! > 2 * blue!, "refused in red");

  await choose(page, PHOTO);
  await page.getByRole("alert").getByText("The enclave is not trusted.").waitFor();
  await page.getByText("Nothing of yours yet").waitFor();
  assert.deepEqual(sealedRequests(requests), []);
}

for (const index of [0, 1, 2]) {
  test(`an enclave with another PCR${index} is refused before anything is sent`, () =>
    withPage(async (watched) => {
      const { page } = watched;
      const other = "ab".repeat(48);
      await tell(page, (text) =>
        text.replace(new RegExp(`("PCR${index}": ")[0-9a-f]{96}`), `$1${other}`),
      );
      await page.goto(GATEWAY);
      await refusedAt(watched, "Measurements");
      await page.getByText("What the document says").click();
      await page.getByText(other).waitFor();
      assert.equal(await page.getByText("✕ not the same").count(), 1);
    }));
}

test("a document under another root is refused", () =>
  withPage(async (watched) => {
    await tell(watched.page, (text) => text.replace(/("sha256": ")[0-9a-f]{64}/, `$1${"cd".repeat(32)}`));
    await watched.page.goto(GATEWAY);
    await refusedAt(watched, "Certificate chain");
  }));

test("a recorded document is refused", () =>
  withPage(async (watched) => {
    const { page } = watched;
    let recorded: Buffer | null = null;
    await page.route("**/v1/attestation?*", async (route) => {
      const response = await route.fetch();
      recorded ??= await response.body();
      await route.fulfill({ response, body: recorded });
    });
    await openVerified(watched);
    await page.getByRole("button", { name: "Verify again" }).click();
    await refusedAt(watched, "Freshness");
  }));

test("keys that the enclave does not vouch for are refused", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await page.route("**/.well-known/ohttp-gateway", async (route) => {
      const response = await route.fetch();
      const body = Buffer.from(await response.body());
      // A bit of the first public key: 2 bytes of length, key id, KEM id, then the key.
      body[100]! ^= 1;
      await route.fulfill({ response, body });
    });
    await page.goto(GATEWAY);
    await refusedAt(watched, "Key binding");
  }));

test("a changed document is refused", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await page.route("**/v1/attestation?*", async (route) => {
      const response = await route.fetch();
      const body = Buffer.from(await response.body());
      body[body.length - 1]! ^= 1;
      await route.fulfill({ response, body });
    });
    await page.goto(GATEWAY);
    await refusedAt(watched, "Signature");
  }));

test("an answer that is not sealed is not believed", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    const detections = [{ label: "forged", class_id: 1, score: 1, box: {} }];
    await page.route("**/.well-known/ohttp-gateway", (route) =>
      route.fulfill({ status: 200, contentType: "application/json", body: JSON.stringify({ detections }) }),
    );
    await choose(page, PHOTO);
    await page.getByText("The answer is refused.").waitFor();
    assert.equal(await page.getByText("forged").count(), 0);
  }));

test("measurements of debug mode are no configuration", () =>
  withPage(async ({ page, requests }) => {
    await tell(page, (text) => text.replace(/("PCR0": ")[0-9a-f]{96}/, `$1${"00".repeat(48)}`));
    await page.goto(GATEWAY);
    await page.getByText("the configuration has no usable measurements").waitFor();
    assert.deepEqual(sealedRequests(requests), []);
  }));
