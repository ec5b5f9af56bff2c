import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..")
const sources = path.join(root, "src")
/** Inside the package (and ignored by git), so that the examples import it by its name. */
const workplace = path.join(root, "test/.examples")

/** The `ts` blocks of the doc comments, each as a program of its own; `// =>` says what an expression gives. */
const examplesOf = (file: string): ReadonlyArray<string> =>
  [...readFileSync(path.join(sources, file), "utf8").matchAll(/^ \* ```ts\n([^]*?)^ \* ```$/gm)].map(([, block = ""]) =>
    block.replace(/^ \* ?/gm, "").replace(/^(.+) \/\/ => (.+)$/gm, "assert.deepStrictEqual($1, $2)")
  )

const files = readdirSync(sources).filter((file) => file.endsWith(".ts") && examplesOf(file).length > 0)

const run = (...args: ReadonlyArray<string>) => promisify(execFile)(process.execPath, args, { cwd: workplace })

describe("the examples in the docs", () => {
  it("compile, and give what they say", async () => {
    assert.includeMembers(files, [
      "Health.ts",
      "McpConnection.ts",
      "McpTransport.ts",
      "ConnectionError.ts",
      "ReconnectPolicy.ts"
    ])
    rmSync(workplace, { recursive: true, force: true })
    mkdirSync(workplace, { recursive: true })
    const programs = files.flatMap((file) =>
      examplesOf(file).map((example, index) => {
        const name = `${path.basename(file, ".ts")}.${index}.ts`
        writeFileSync(
          path.join(workplace, name),
          `import { strict as assert } from "node:assert"\n${example}\nvoid assert\n`
        )
        return name
      })
    )
    writeFileSync(
      path.join(workplace, "tsconfig.json"),
      JSON.stringify({
        extends: path.join(root, "../../tsconfig.base.json"),
        include: ["*.ts"],
        compilerOptions: { noEmit: true, composite: false, declaration: false, declarationMap: false, plugins: [] }
      })
    )
    await run(path.join(root, "../../scripts/tsc.ts"), "-p", workplace)
    for (const program of programs) await run(path.join(workplace, program))
  })
})
