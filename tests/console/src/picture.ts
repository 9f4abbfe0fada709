/** The README's picture of the console: `node dist/picture.js FILE`. */

import { PHOTO, answered, choose, close, openVerified, withPage } from "./browser.js";

const [file] = process.argv.slice(2);

await withPage(
  async (watched) => {
    const { page } = watched;
    await openVerified(watched);
    await choose(page, PHOTO);
    await answered(page);
    // The pointer would mark what it happens to be over, and the focus has a ring.
    await page.mouse.move(0, 0);
    await page.screenshot({ path: file!, fullPage: true });
  },
  { width: 1280, height: 900 },
);
await close();
