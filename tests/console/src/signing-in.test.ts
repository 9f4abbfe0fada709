/** A gateway that asks who is calling: with real API keys, at a real gateway. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { PHOTO, answered, choose, sealedRequests, withPage, type Watched } from "./browser.js";

const GUARDED = process.env["BLINDGATE_GUARDED_URL"]!;
const KEY = process.env["BLINDGATE_KEY"]!;
/** May fetch attestation documents and nothing else. */
const WEAK_KEY = process.env["BLINDGATE_WEAK_KEY"]!;

async function signIn(page: Page, credential: string): Promise<void> {
  await page.getByLabel("API key or access token").fill(credential);
  await page.getByRole("button", { name: "Sign in" }).click();
}

function guarded(run: (watched: Watched) => Promise<void>): Promise<void> {
  return withPage(
    async (watched) => {
      await watched.page.goto(GUARDED);
      await watched.page.getByText("Sign in to use this gateway.", { exact: true }).waitFor();
      await run(watched);
    },
    { origins: [GUARDED] },
  );
}

test("an API key lets a photo through, and travels outside the seal", () =>
  guarded(async ({ page, requests }) => {
    await page.getByText("Not verified", { exact: true }).waitFor();
    await signIn(page, KEY);
    await page.getByText("Verified by this page").waitFor();
    const sent = page.waitForRequest((request) => request.method() === "POST");
    await choose(page, PHOTO);
    await answered(page);
    assert.equal((await sent).headers()["x-api-key"], KEY);
    assert.equal(sealedRequests(requests).length, 1);
    await page.getByText("Whose API key or token was used").waitFor();
    // Nothing of it stays: neither in the page's own storage nor in what it shows.
    const stored = await page.evaluate(() => localStorage.length + sessionStorage.length);
    assert.equal(stored, 0);
    assert.doesNotMatch(await page.content(), new RegExp(KEY));
  }));

test("a wrong key is asked for again", () =>
  guarded(async ({ page, requests }) => {
    // Nothing has gone wrong yet, and the field can be seen.
    assert.equal(await page.locator("#failure .danger").count(), 0);
    await page.getByLabel("API key or access token").waitFor();
    await signIn(page, `${KEY.slice(0, -2)}xx`);
    await page.getByText("This key or token is not accepted.", { exact: true }).waitFor();
    await signIn(page, KEY);
    await page.getByText("Verified by this page").waitFor();
    assert.deepEqual(sealedRequests(requests), []);
  }));

test("a bearer token goes where tokens go, and is refused where there are only keys", () =>
  guarded(async ({ page }) => {
    const asked = page.waitForRequest(/ohttp-gateway/);
    await signIn(page, "e30.e30.e30");
    assert.equal((await asked).headers()["authorization"], "Bearer e30.e30.e30");
    await page.getByText("This key or token is not accepted.", { exact: true }).waitFor();
  }));

test("a key that may not detect is told so, and another one sends the photo", () =>
  guarded(async ({ page }) => {
    await signIn(page, WEAK_KEY);
    await page.getByText("Verified by this page").waitFor();
    await choose(page, PHOTO);
    await page.getByText("These credentials do not allow this.").waitFor();
    await signIn(page, KEY);
    await answered(page);
  }));
