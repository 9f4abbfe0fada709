/** axe finds nothing, nothing has to be scrolled sideways, and what happens is announced. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { GATEWAY, PHOTO, answered, choose, openVerified, tell, withPage } from "./browser.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const found = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
  );
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(" ")}`);
}

async function sideways(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
}

for (const colorScheme of ["light", "dark"] as const) {
  for (const [width, height] of [[320, 640], [1280, 900], [3840, 2160]] as const) {
    test(`${colorScheme}, ${width} pixels wide`, () =>
      withPage(
        async (watched) => {
          const { page } = watched;
          await openVerified(watched);
          assert.deepEqual(await violations(page), []);
          await choose(page, PHOTO);
          await answered(page);
          for (const details of await page.locator("summary").all()) await details.click();
          assert.deepEqual(await violations(page), []);
          assert.ok((await sideways(page)) <= 0);
          await page.route("**/.well-known/ohttp-gateway", (route) => route.abort());
          await choose(page, PHOTO);
          await page.getByText("cannot be reached").waitFor();
          assert.deepEqual(await violations(page), []);

          await page.unrouteAll();
          await tell(page, (text) => text.replace(/("PCR0": ")[0-9a-f]{4}/, "$1abab"));
          await page.goto(GATEWAY);
          await page.getByText("Refused.").waitFor();
          await page.getByText("What the document says").click();
          assert.deepEqual(await violations(page), []);
          assert.ok((await sideways(page)) <= 0);
        },
        { width, height, colorScheme },
      ));
  }
}

test("a screen reader is told what happens", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await choose(page, PHOTO);
    await answered(page);
    const told = (await page.getByRole("status").allInnerTexts()).join(" ");
    assert.match(told, /Answered in .* s\./);
    assert.match(told, /\d objects? scores? 40% or more/);
    await page.getByRole("img", { name: "Your photo coffee.png" }).waitFor();
    await page.getByRole("table", { name: /Objects in the photo/ }).waitFor();
    assert.equal(await page.locator("h1").count(), 1);
  }));
