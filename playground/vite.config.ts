/** Builds the page into dist/playground: relative addresses, no inlined data, which its security policy would refuse. */
import { defaultClientConditions, defineConfig } from "vite";

export default defineConfig({
  base: "./",
  // onnxruntime-web without a copy of its WebAssembly loader: threads load that file by itself.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    outDir: "../dist/playground",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
    // A busy machine is no defect of the page.
    rolldownOptions: { checks: { pluginTimings: false } },
  },
});
