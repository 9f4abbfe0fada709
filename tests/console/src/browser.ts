/** Debian's Chromium, driven by Playwright, watching what a page must never do. */

import assert from "node:assert/strict";
import { after } from "node:test";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

export const GATEWAY = required("BLINDGATE_URL");
export const PHOTO = required("BLINDGATE_PHOTO");
/** The same photo, as `blindgate encrypt` wrote it. */
export const ENVELOPE = required("BLINDGATE_ENVELOPE");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface Options {
  readonly width?: number;
  readonly height?: number;
  readonly colorScheme?: "light" | "dark";
  readonly deviceScaleFactor?: number;
  /** Origins beside the gateway's that the page may speak to. */
  readonly origins?: readonly string[];
}

/** A page in a profile of its own, and what it did. */
export interface Watched {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Every request, as `METHOD address`. */
  readonly requests: string[];
  /** Errors, uncaught ones and those that the browser wrote into the console. */
  readonly complaints: string[];
  /** What the Content-Security-Policy stopped. */
  violations(): Promise<string[]>;
}

let browser: Browser | null = null;
after(close);

/** End the browser; without it the process would not end either. */
export async function close(): Promise<void> {
  await browser?.close();
  browser = null;
}

/** Run something in a fresh profile, then see that the page spoke to nobody else. */
export async function withPage(
  run: (watched: Watched) => Promise<void>,
  options: Options = {},
): Promise<void> {
  browser ??= await chromium.launch({
    executablePath: process.env["BLINDGATE_CHROMIUM"] ?? "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
  });
  const context = await browser.newContext({
    viewport: { width: options.width ?? 1280, height: options.height ?? 900 },
    colorScheme: options.colorScheme ?? "light",
    deviceScaleFactor: options.deviceScaleFactor ?? 1,
    acceptDownloads: true,
  });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    const requests: string[] = [];
    const complaints: string[] = [];
    page.on("request", (request) => requests.push(`${request.method()} ${request.url()}`));
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    await page.addInitScript(() => {
      const stopped: string[] = [];
      Object.assign(globalThis, { stopped });
      document.addEventListener("securitypolicyviolation", (event) => {
        stopped.push(`${event.effectiveDirective} ${event.blockedURI}`);
      });
    });
    const violations = () =>
      page.evaluate(() => (globalThis as unknown as { stopped: string[] }).stopped);
    try {
      await run({ page, context, requests, complaints, violations });
    } catch (error) {
      // What a person would have seen instead.
      console.error(await page.locator("body").innerText(), complaints);
      throw error;
    }
    const origins = [new URL(GATEWAY).origin, ...(options.origins ?? [])];
    assert.deepEqual(requests.filter((line) => !isOwn(line, origins)), []);
    assert.deepEqual(await violations(), []);
  } finally {
    await context.close();
  }
}

/** Open the page and wait until it has verified the enclave. */
export async function openVerified({ page }: Watched): Promise<void> {
  await page.goto(GATEWAY);
  await page.getByText("Verified by this page").waitFor();
}

/** Have the page be told something else than what the gateway says. */
export async function tell(page: Page, change: (text: string) => string): Promise<void> {
  await page.route("**/console/config.json", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: change(await response.text()) });
  });
}

/** Choose a file as a person would, and wait for the answer. */
export async function choose(page: Page, file: string): Promise<void> {
  const chooser = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: /photo/ }).click();
  await (await chooser).setFiles(file);
}

export async function answered(page: Page): Promise<void> {
  await page.getByRole("heading", { name: "Objects", exact: true }).waitFor();
}

export function sealedRequests(requests: readonly string[]): string[] {
  return requests.filter((line) => line.startsWith("POST "));
}

function isOwn(request: string, origins: readonly string[]): boolean {
  const { origin, protocol } = new URL(request.split(" ")[1]!);
  return origins.includes(origin) || protocol === "blob:" || protocol === "data:";
}

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
