import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const here = path.dirname(fileURLToPath(import.meta.url))
const program = path.join(here, "examples/quickstart.ts")

describe("the README", () => {
  it.each([program, path.join(here, "../../../packages/testing/examples/readme.test.ts")])(
    "shows %s as it stands",
    (file) => {
      const readme = readFileSync(path.join(here, "../../../README.md"), "utf8")
      assert.include(readme, `\`\`\`ts\n${readFileSync(file, "utf8")}\`\`\``)
    }
  )

  it("shows a program that runs, and answers", async () => {
    const bin = path.join(here, "../node_modules/.bin")
    const { stdout } = await promisify(execFile)(process.execPath, [program], {
      env: { ...process.env, PATH: `${bin}${path.delimiter}${process.env["PATH"]}` }
    })
    assert.include(stdout, "Echo: still here")
  })
})
