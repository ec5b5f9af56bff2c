import { defineConfig } from "vitest/config"

const project = (name: string, root: string) => ({
  extends: true as const,
  test: { name, root, include: ["test/**/*.test.ts", "examples/**/*.test.ts"] }
})

// `.ci/run` counts the tests from this file.
const json = process.env["VITEST_JSON"]

export default defineConfig({
  test: {
    projects: [
      project("connection", "packages/connection"),
      project("testing", "packages/testing"),
      project("cli", "apps/cli"),
      project("soak", "scripts/soak")
    ],
    environment: "node",
    pool: "forks",
    // Tests start, stop and kill real processes: more workers than cores makes their deadlines lie.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    retry: 0,
    reporters: json === undefined ? ["default"] : ["default", ["json", { outputFile: json }]]
  }
})
