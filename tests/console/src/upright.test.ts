/** What is shown and saved are the pixels that the enclave analysed, whatever the file. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { answered, choose, openVerified, withPage } from "./browser.js";

type Pixel = readonly number[];
interface Expected {
  readonly width: number;
  readonly height: number;
  readonly pixels: readonly Pixel[];
}

const FOLDER = process.env["BLINDGATE_PHOTOS"]!;
const { grid, files } = JSON.parse(readFileSync(`${FOLDER}/expected.json`, "utf8")) as {
  grid: number;
  files: Record<string, Expected>;
};
/** How far two decoders may differ in one channel. */
const NEAR = 14;
/** A box's line or a label may lie over some of the places. */
const COVERED = 0.25;

/** The photo on the screen, without the boxes that lie over it. */
function shownPixels(page: Page): Promise<Pixel[]> {
  return page.evaluate((parts) => {
    const canvas = document.querySelector<HTMLCanvasElement>(".frame canvas")!;
    const context = canvas.getContext("2d")!;
    return Array.from({ length: parts * parts }, (_, at) => {
      const x = Math.floor((((at % parts) + 0.5) * canvas.width) / parts);
      const y = Math.floor(((Math.floor(at / parts) + 0.5) * canvas.height) / parts);
      return [...context.getImageData(x, y, 1, 1).data];
    });
  }, grid);
}

async function savedPixels(page: Page, { width, height }: Expected): Promise<Pixel[]> {
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download annotated PNG" }).click();
  const content = readFileSync(await (await download).path());
  assert.deepEqual([content.readUInt32BE(16), content.readUInt32BE(20)], [width, height]);
  return page.evaluate(
    async ([base64, parts]) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const image = await createImageBitmap(new Blob([bytes]));
      const context = new OffscreenCanvas(image.width, image.height).getContext("2d")!;
      context.drawImage(image, 0, 0);
      return Array.from({ length: parts * parts }, (_, at) => {
        const x = Math.floor((((at % parts) + 0.5) * image.width) / parts);
        const y = Math.floor(((Math.floor(at / parts) + 0.5) * image.height) / parts);
        return [...context.getImageData(x, y, 1, 1).data];
      });
    },
    [content.toString("base64"), grid] as const,
  );
}

function differing(seen: readonly Pixel[], expected: readonly Pixel[]): number {
  const isFar = (pixel: Pixel, at: number) =>
    [0, 1, 2].some((channel) => Math.abs(pixel[channel]! - expected[at]![channel]!) > NEAR);
  return seen.filter(isFar).length;
}

test("photos of every orientation and depth are shown and saved as they were analysed", () =>
  withPage(async (watched) => {
    const { page, complaints } = watched;
    await openVerified(watched);
    for (const [name, expected] of Object.entries(files)) {
      await choose(page, `${FOLDER}/${name}`);
      await answered(page);
      await page.getByText(`${expected.width} × ${expected.height} pixels`).waitFor();
      const seen = await shownPixels(page);
      assert.equal(seen.length, grid * grid);
      assert.ok(
        seen.every((pixel) => pixel[3] === 255),
        `${name} is shown over something else than white`,
      );
      assert.equal(differing(seen, expected.pixels), 0, name);
      const frame = (await page.locator(".frame").boundingBox())!;
      const ratio = expected.width / expected.height;
      assert.ok(Math.abs(frame.width / frame.height / ratio - 1) < 0.02, `${name} is stretched`);
      const saved = differing(await savedPixels(page, expected), expected.pixels);
      assert.ok(saved <= COVERED * grid * grid, `${name} is saved otherwise: ${saved}`);
    }
    assert.deepEqual(complaints, []);
  }));

test("the first frame of an animation stays while its boxes are looked at", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await choose(page, `${FOLDER}/png-animated.png`);
    await answered(page);
    await page.waitForTimeout(500); // its frames take a tenth of a second each
    const { pixels } = files["png-animated.png"]!;
    assert.equal(differing(await shownPixels(page), pixels), 0);
  }));
