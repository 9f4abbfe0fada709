/**
 * Two builds of one page. `vite build`: files that the gateway serves, the page at `/` and the
 * rest below `/console/`. `vite build --mode standalone`: one file with everything in it, a
 * template that `python -m gateway.console` completes with measurements and a gateway.
 */

import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { standalone } from "./standalone.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

export default defineConfig(({ mode }) => ({
  base: "/console/",
  publicDir: false,
  resolve: {
    alias: { "@client": path("../clients/js/src"), crypto: path("src/no-node-crypto.ts") },
  },
  plugins: mode === "standalone" ? [standalone()] : [],
  build: {
    target: "es2022",
    outDir: mode === "standalone" ? "../gateway/console/dist/standalone" : "../gateway/console/dist/served",
    // Outside of this folder, so Vite empties it only where told.
    emptyOutDir: true,
    // Below 4 KiB Vite would put files into the page as data: addresses, which our policy refuses.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    rolldownOptions: { output: { codeSplitting: false } },
  },
}));
