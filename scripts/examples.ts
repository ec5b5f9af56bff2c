/** The `ts` blocks of a package's doc comments: each is a program that must compile, and give what `// =>` says. */
import { execFile } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const scripts = path.dirname(fileURLToPath(import.meta.url))

/** Those of one file, as programs whose lines have the numbers they have in the file. */
const examplesOf = (file: string): ReadonlyArray<string> => {
  const source = readFileSync(file, "utf8")
  return [...source.matchAll(/^ \* ```ts\n([^]*?)^ \* ```$/gm)].map(({ 1: block = "", index }) => {
    const before = source.slice(0, index).split("\n").length
    const example = block.replace(/^ \* ?/gm, "").replace(/^(.+) \/\/ => (.+)$/gm, "assert.deepStrictEqual($1, $2)")
    return `import { strict as assert } from "node:assert"${"\n".repeat(before)}${example}\nvoid assert\n`
  })
}

/** Runs Node. It fails with all that was printed: the compiler writes its errors to stdout, which `execFile` leaves out. */
const run = (cwd: string, ...args: ReadonlyArray<string>) =>
  promisify(execFile)(process.execPath, args, { cwd }).catch((error: Error & { readonly stdout?: string }) => {
    throw new Error(`${error.stdout ?? ""}${error.message}`)
  })

/**
 * Compiles and runs the examples of a package, and answers the files that have some. Fails with what the compiler or the program says,
 * which names the file and the line.
 */
export const check = async (root: string): Promise<ReadonlyArray<string>> => {
  const sources = path.join(root, "src")
  /** Inside the package (and ignored by git), so that the examples import it by its name. */
  const workplace = path.join(root, "test/.examples")
  rmSync(workplace, { recursive: true, force: true })
  mkdirSync(workplace, { recursive: true })

  const files = readdirSync(sources).filter((file) => file.endsWith(".ts"))
  const programs = files.flatMap((file) =>
    examplesOf(path.join(sources, file)).map((example, index) => {
      const program = `${path.basename(file, ".ts")}.${index}.ts`
      writeFileSync(path.join(workplace, program), example)
      return { file, program }
    })
  )
  writeFileSync(
    path.join(workplace, "tsconfig.json"),
    JSON.stringify({
      extends: path.join(scripts, "../tsconfig.base.json"),
      include: ["*.ts"],
      compilerOptions: { noEmit: true, composite: false, declaration: false, declarationMap: false, plugins: [] }
    })
  )
  await run(workplace, path.join(scripts, "tsc.ts"), "-p", workplace)
  // In one process: most of what a program takes is the loading of what it imports. The stack of a failure names the program.
  writeFileSync(
    path.join(workplace, "all.mjs"),
    programs.map(({ program }) => `await import("./${program}")\n`).join("")
  )
  await run(workplace, path.join(workplace, "all.mjs"))
  return [...new Set(programs.map(({ file }) => file))]
}
