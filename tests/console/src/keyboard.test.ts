/** Everything can be done without a mouse. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { PHOTO, answered, openVerified, withPage } from "./browser.js";

/** Press Tab until something has the focus; fails if the page is gone through without. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let presses = 0; presses < 40; presses += 1) {
    await page.keyboard.press("Tab");
    const text = await page.evaluate(() => {
      const element = document.activeElement as HTMLElement | null;
      const label = (element as HTMLInputElement | null)?.labels?.[0]?.innerText;
      return label ?? element?.getAttribute("aria-label") ?? element?.innerText ?? "";
    });
    if (name.test(text)) {
      const outline = await page.evaluate(() => {
        const element = document.activeElement!;
        const shown = element.closest("label") ?? element;
        return getComputedStyle(shown).outlineStyle;
      });
      assert.notEqual(outline, "none", `${text} shows that it has the focus`);
      return;
    }
  }
  assert.fail(`Tab never reaches ${name}`);
}

test("a photo is chosen, filtered and saved with the keyboard alone", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    // Before anything else: Playwright has the browser hand over file choosers from here on.
    const chooser = page.waitForEvent("filechooser");
    await tabTo(page, /^Choose a photo$/);
    await page.keyboard.press("Enter");
    await (await chooser).setFiles(PHOTO);
    await answered(page);

    // The focus is at what is new, not lost with the button that went away.
    const focused = () => page.evaluate(() => document.activeElement?.id);
    assert.equal(await focused(), "results-title");

    await tabTo(page, /^Lowest score$/);
    const before = await page.locator("tbody th").count();
    for (let presses = 0; presses < 50; presses += 1) await page.keyboard.press("ArrowRight");
    await page.getByText("90%", { exact: true }).waitFor();
    assert.ok((await page.locator("tbody th").count()) < before);
    await tabTo(page, /^cup/);
    await page.keyboard.press("Space");
    assert.equal(await page.locator("tbody th").count(), 0);
    await page.keyboard.press("Space");
    assert.equal(await page.locator("tbody th").count(), 1);

    await tabTo(page, /^Download JSON$/);
    const download = page.waitForEvent("download");
    await page.keyboard.press("Enter");
    assert.equal((await download).suggestedFilename(), "coffee.detections.json");
    await tabTo(page, /^Evidence$/);
    await page.keyboard.press("Enter");
    await page.getByText("Sealing key, SHA-256").waitFor();
  }));

test("the focus is never lost with what it was on", () =>
  withPage(async (watched) => {
    const { page } = watched;
    const focused = () => page.evaluate(() => document.activeElement?.id);
    await openVerified(watched);
    await tabTo(page, /^Evidence$/);
    await page.keyboard.press("Enter");
    await tabTo(page, /^Verify again$/);
    await page.keyboard.press("Enter");
    await page.getByText("Verified by this page").waitFor();
    assert.equal(await focused(), "enclave-title");
    // What was unfolded still is.
    await page.getByText("Sealing key, SHA-256").waitFor();

    const chooser = page.waitForEvent("filechooser");
    await page.route("**/.well-known/ohttp-gateway", () => {});
    await page.getByRole("button", { name: "Choose a photo" }).press("Enter");
    await (await chooser).setFiles(PHOTO);
    await page.getByText(/Sent \d+ kB, sealed\./).waitFor();
    await page.getByRole("button", { name: "Cancel" }).press("Enter");
    await page.getByText("Cancelled.").waitFor();
    assert.equal(await focused(), "stage-title");
    await page.unrouteAll({ behavior: "ignoreErrors" });
  }));
