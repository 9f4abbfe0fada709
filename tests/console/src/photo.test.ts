/** A photo, end to end: verified, sealed, answered by the real worker, drawn and saved. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { Page } from "playwright-core";
import {
  ENVELOPE,
  PHOTO,
  answered,
  choose,
  openVerified,
  sealedRequests,
  tell,
  withPage,
} from "./browser.js";

interface Answer {
  image: { width: number; height: number };
  detections: { label: string; score: number }[];
}

async function saved(page: Page, button: string): Promise<[name: string, content: Buffer]> {
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: button }).click();
  const done = await download;
  return [done.suggestedFilename(), readFileSync(await done.path())];
}

test("the page shows every check of the enclave", () =>
  withPage(async (watched) => {
    await openVerified(watched);
    const { page, complaints } = watched;
    const checks = page.locator(".checks > li");
    const names = ["document", "chain", "Signature", "Freshness", "Measurements", "Key binding"];
    assert.equal(await checks.count(), names.length);
    for (const [at, name] of names.entries()) {
      const text = await checks.nth(at).innerText();
      assert.match(text, new RegExp(name));
      assert.match(text, /Passed/);
    }
    await page.getByText("Evidence").click();
    const set = JSON.parse(readFileSync(process.env["BLINDGATE_PCRS"]!, "utf8"));
    const { PCR0 } = set.Measurements ?? set;
    await page.getByText(PCR0).waitFor();
    assert.deepEqual(complaints, []);
  }));

test("a development root is shown loudly, and the page says whom one trusts", () =>
  withPage(async (watched) => {
    await openVerified(watched);
    await watched.page.getByText("Development root.").waitFor();
    await watched.page.getByText("only as trustworthy as that gateway").waitFor();
  }));

test("a photo is sealed, detected, drawn and saved", () =>
  withPage(async (watched) => {
    const { page, requests, complaints } = watched;
    await openVerified(watched);
    const sent = page.waitForRequest((request) => request.method() === "POST");
    await choose(page, PHOTO);
    await answered(page);

    // One request carried it, and nothing of the photo can be read in it.
    const body = (await sent).postDataBuffer()!;
    assert.equal(sealedRequests(requests).length, 1);
    const photo = readFileSync(PHOTO);
    assert.ok(body.length > photo.length);
    for (const at of [0, 4096, photo.length - 64]) {
      assert.equal(body.indexOf(photo.subarray(at, at + 16)), -1);
    }
    assert.equal(body.indexOf("/v1/detections"), -1);

    const rows = page.locator("tbody tr");
    assert.match(await rows.first().innerText(), /cup/);
    assert.equal(await page.locator(".box").count(), await rows.count());
    await page.getByText(/1 sealed upload of \d+ kB/).waitFor();
    await page.getByText(/A sealed answer of \d+ kB/).waitFor();

    const [name, content] = await saved(page, "Download JSON");
    assert.equal(name, "coffee.detections.json");
    const answer = JSON.parse(content.toString()) as Answer;
    assert.deepEqual(answer.image, { width: 600, height: 400 });
    assert.equal(answer.detections.length, await rows.count());
    const [png, picture] = await saved(page, "Download annotated PNG");
    assert.equal(png, "coffee.detections.png");
    assert.equal(picture.readUInt32BE(16), 600);
    assert.equal(picture.readUInt32BE(20), 400);
    assert.notDeepEqual(picture, photo);
    assert.deepEqual(complaints, []);
  }));

test("filters by score and by label stay in the browser", () =>
  withPage(async (watched) => {
    const { page, requests } = watched;
    await openVerified(watched);
    await choose(page, PHOTO);
    await answered(page);
    const sealed = sealedRequests(requests).length;
    const rows = page.locator("tbody tr");
    const before = await rows.count();

    await page.getByLabel("Lowest score").fill("90");
    assert.equal(await rows.count(), 1);
    assert.equal(await page.locator(".box").count(), 1);
    await page.getByText("1 object scores 90% or more").waitFor();
    // An empty table says why, and which score would show something.
    await page.getByLabel("Lowest score").fill("99");
    assert.equal(await page.locator(".box").count(), 0);
    const why = await rows.innerText();
    assert.match(why, /^Nothing scores 99% or more: move “Lowest score” to 9\d% or less; \d+ more are hidden\.$/);
    await page.getByLabel("Lowest score").fill(/to (9\d)%/.exec(why)![1]!);
    assert.equal(await page.locator(".box").count(), 1);
    await page.getByLabel("Lowest score").fill("10");
    assert.ok((await rows.count()) > before);

    await page.getByRole("checkbox", { name: /cup/ }).uncheck();
    assert.equal(await page.locator("tbody").getByText("cup", { exact: true }).count(), 0);
    const [, content] = await saved(page, "Download JSON");
    const { detections } = JSON.parse(content.toString()) as Answer;
    assert.equal(detections.length, await rows.count());
    assert.ok(detections.every(({ label }) => label !== "cup"));
    assert.equal(sealedRequests(requests).length, sealed);
  }));

test("small objects are searched for by asking again", () =>
  withPage(async (watched) => {
    const { page, requests } = watched;
    await openVerified(watched);
    await choose(page, PHOTO);
    await answered(page);
    await page.getByRole("button", { name: "Search again for small objects" }).click();
    await page.getByText("Answered in").waitFor();
    assert.equal(sealedRequests(requests).length, 2);
    assert.equal(await page.getByRole("button", { name: "small objects" }).count(), 0);
  }));

test("a file that was encrypted before is opened by the enclave alone", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await choose(page, ENVELOPE);
    await answered(page);
    assert.match(await page.locator("tbody tr").first().innerText(), /cup/);
    assert.equal(await page.locator(".frame canvas").count(), 0);
    await page.getByText("That the enclave asked KMS for a data key").waitFor();
    const [name, picture] = await saved(page, "Download annotated PNG");
    assert.equal(name, "coffee.detections.png");
    assert.equal(picture.readUInt32BE(16), 600);
  }));

test("a photo that was stored on its side is shown, answered and saved upright", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await choose(page, process.env["BLINDGATE_TURNED_PHOTO"]!);
    await answered(page);
    assert.match(await page.locator("tbody tr").first().innerText(), /cup/);
    await page.getByText("600 × 400 pixels").waitFor();
    const shown = await page.locator(".frame canvas").boundingBox();
    assert.ok(Math.abs(shown!.width / shown!.height - 1.5) < 0.01);
    const [, picture] = await saved(page, "Download annotated PNG");
    assert.deepEqual([picture.readUInt32BE(16), picture.readUInt32BE(20)], [600, 400]);
  }));

test("labels are inside the picture and cover neither each other nor the photo's edge", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await choose(page, PHOTO);
    await answered(page);
    await page.getByLabel("Lowest score").fill("10");
    const frame = (await page.locator(".frame").boundingBox())!;
    const tags = await Promise.all(
      (await page.locator(".tag").all()).map(async (tag) => (await tag.boundingBox())!),
    );
    assert.ok(tags.length >= 3);
    for (const [at, tag] of tags.entries()) {
      assert.ok(tag.x >= frame.x - 1 && tag.x + tag.width <= frame.x + frame.width + 1);
      assert.ok(tag.y >= frame.y - 1 && tag.y + tag.height <= frame.y + frame.height + 1);
      for (const other of tags.slice(0, at)) {
        const apart =
          tag.x + tag.width <= other.x + 1 ||
          other.x + other.width <= tag.x + 1 ||
          tag.y + tag.height <= other.y + 1 ||
          other.y + other.height <= tag.y + 1;
        assert.ok(apart, `${JSON.stringify(tag)} covers ${JSON.stringify(other)}`);
      }
    }
  }));

test("a photo can be dropped anywhere", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    const base64 = readFileSync(PHOTO).toString("base64");
    await page.evaluate((content) => {
      const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
    }, base64);
    await answered(page);
    await page.getByText("dropped.png").waitFor();
  }));

const UNUSABLE: readonly (readonly [string, string, Buffer, RegExp])[] = [
  ["a text", "notes.txt", Buffer.from("not a photo"), /neither a photo .* nor a file/],
  ["a HEIC photo", "IMG_1.HEIC", Buffer.from("\0\0\0\x18ftypheic\0\0\0\0"), /A HEIC photo/],
  ["an empty file", "empty.jpg", Buffer.alloc(0), /empty/],
  ["too large a file", "huge.jpg", Buffer.alloc(2 * 1024 * 1024, 0xff), /too large.*1\.9 MB/],
];
for (const [what, name, buffer, said] of UNUSABLE) {
  test(`${what} is not sent`, () =>
    withPage(async (watched) => {
      const { page, requests } = watched;
      await tell(page, (text) => text.replace(/"max_body": \d+/, '"max_body": 2097152'));
      await openVerified(watched);
      const chooser = page.waitForEvent("filechooser");
      await page.getByRole("button", { name: "Choose a photo" }).click();
      await (await chooser).setFiles({ name, mimeType: "image/jpeg", buffer });
      await page.getByText("Not sent.").waitFor();
      assert.match(await page.getByRole("alert").innerText(), said);
      assert.deepEqual(sealedRequests(requests), []);
    }));
}

test("a broken photo is refused by the enclave, inside the seal", () =>
  withPage(async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    const chooser = page.waitForEvent("filechooser");
    await page.getByRole("button", { name: "Choose a photo" }).click();
    const buffer = Buffer.from(readFileSync(PHOTO).subarray(0, 5000));
    await (await chooser).setFiles({ name: "cut.png", mimeType: "image/png", buffer });
    await page.getByText("The enclave says:").waitFor();
    assert.ok(await page.locator("#results").isHidden());
  }));
