/** Opens a page, chooses a file in it, and prints what the page then lists. */

import { chromium } from "playwright-core";

const [url, file] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.BLINDGATE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.log(message.text()));
  page.on("pageerror", (error) => console.log(error.message));
  await page.goto(url!, { waitUntil: "networkidle" });
  await page.setInputFiles("#photo", file!);
  await page.waitForSelector("#found li", { timeout: 240_000 });
  console.log(await page.innerText("#found"));
} finally {
  await browser.close();
}
