import * as path from "node:path"
import { defineConfig } from "vitest/config"

const project = (name: string, root: string, testTimeout = 30_000) => ({
  extends: true as const,
  test: { name, root, testTimeout, hookTimeout: testTimeout, include: ["test/**/*.test.ts", "examples/**/*.test.ts"] }
})

// `.ci/run` counts the tests from this file.
const json = process.env["VITEST_JSON"]

export default defineConfig({
  test: {
    projects: [
      project("connection", "packages/connection"),
      project("testing", "packages/testing"),
      // Each command is a process that loads everything anew, and one test runs several: on a busy machine that takes its time.
      project("cli", "apps/cli", 120_000),
      project("bench", "scripts/bench"),
      project("soak", "scripts/soak")
    ],
    environment: "node",
    // Tests start hundreds of programs out of TypeScript: without it each of them takes twice as long to load.
    env: { NODE_COMPILE_CACHE: path.join(import.meta.dirname, "node_modules/.cache/node") },
    pool: "forks",
    // Tests start, stop and kill real processes: more workers than cores makes their deadlines lie.
    maxWorkers: 2,
    retry: 0,
    reporters: json === undefined ? ["default"] : ["default", ["json", { outputFile: json }]]
  }
})
