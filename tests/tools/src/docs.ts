/** Tries the examples of `/docs` as a person would, and prints what the page shows for each. */

import { chromium } from "playwright-core";

const [url, envelope] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.BLINDGATE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const complaints: string[] = [];
const shown: Record<string, { status: string; body: string }> = {};
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 1600 } });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("requestfailed", (request) => complaints.push(request.url()));
  page.on("request", (request) => {
    if (!request.url().startsWith(url!) && !request.url().startsWith("data:")) {
      complaints.push(`elsewhere: ${request.url()}`);
    }
  });
  await page.goto(`${url}/docs`, { waitUntil: "networkidle" });
  for (const [operation, file] of [
    ["Models-listModels", null],
    ["Attestation-getAttestation", null],
    ["Open_Inference_Protocol-getModelVersionMetadata", null],
    ["Open_Inference_Protocol-infer", null],
    ["Detections-detect", envelope!],
  ] as const) {
    const block = page.locator(`[id="operations-${operation}"]`);
    await block.locator(".opblock-summary").click();
    await block.locator(".try-out__btn").click();
    if (file !== null) await block.locator("input[type=file]").setInputFiles(file);
    await block.locator(".execute").click();
    const answer = block.locator(".live-responses-table tbody tr").first();
    await answer.waitFor({ timeout: 240_000 });
    shown[operation] = {
      status: await answer.locator(".response-col_status").first().innerText(),
      body: await answer.locator(".response-col_description").first().innerText(),
    };
    await block.locator(".opblock-summary").click();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify({ complaints, shown }));
