/** When the network or the gateway fails, the page says so and the photo is not lost. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { GATEWAY, PHOTO, answered, choose, openVerified, withPage } from "./browser.js";

const PROBLEM = "application/problem+json";

test("a broken connection while sending is told, and trying again works", () =>
  withPage(async (watched) => {
    const { page, context } = watched;
    await openVerified(watched);
    await context.setOffline(true);
    await choose(page, PHOTO);
    await page.getByText("The gateway cannot be reached.").waitFor();
    await context.setOffline(false);
    await page.getByRole("button", { name: "Try again" }).click();
    await answered(page);
    assert.equal(await page.getByText("cannot be reached").count(), 0);
  }));

test("a gateway that is away when the page verifies is told, and trying again works", () =>
  withPage(async ({ page }) => {
    let away = true;
    await page.route("**/v1/attestation?*", (route) => (away ? route.abort() : route.continue()));
    await page.goto(GATEWAY);
    await page.getByText("Not verified", { exact: true }).waitFor();
    away = false;
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("Verified by this page").waitFor();
  }));

test("a problem of the gateway is shown as the gateway's word", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await page.route("**/.well-known/ohttp-gateway", (route) =>
      route.fulfill({
        status: 503,
        headers: { "content-type": PROBLEM, "retry-after": "7" },
        body: JSON.stringify({ title: "Too much is waiting already", detail: "Come later." }),
      }),
    );
    await choose(page, PHOTO);
    await page.getByText("The gateway says: Come later. Wait 7 seconds.").waitFor();
  }));

test("sending can be cancelled", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await page.route("**/.well-known/ohttp-gateway", () => {});
    await choose(page, PHOTO);
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByText("Cancelled.").waitFor();
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await page.getByRole("button", { name: "Try again" }).click();
    await answered(page);
  }));

test("a page without its configuration says so", () =>
  withPage(async ({ page }) => {
    await page.route("**/console/config.json", (route) => route.fulfill({ status: 404 }));
    await page.goto(GATEWAY);
    await page.getByText("This page has no configuration.").waitFor();
  }));
