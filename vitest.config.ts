import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // The examples import the package by its name.
  resolve: { alias: { rankfold: fileURLToPath(new URL("src/index.ts", import.meta.url)) } },
  test: {
    include: ["src/**/*.test.ts", "playground/**/*.test.ts", "test/**/*.test.ts"],
    testTimeout: 60_000,
    // Under CI the counts are also written as JSON, from which .ci/run makes its last line.
    reporters: process.env.CI ? ["default", "json"] : ["default"],
    outputFile: { json: "out/tests.json" },
  },
});
