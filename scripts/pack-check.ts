// What a user would download, checked as such: each package is packed, linted, resolved as every consumer would resolve
// it, unpacked and loaded; then all are installed as a user would.
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import * as Install from "./pack-install.ts"

const root = path.resolve(import.meta.dirname, "..")
const temporary = mkdtempSync(path.join(tmpdir(), "mcp-tether-pack-"))
const failures: Array<string> = []

const run = (label: string, command: string, args: ReadonlyArray<string>, cwd = root): boolean => {
  const { error, status } = spawnSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] })
  if (error === undefined && status === 0) return true
  failures.push(error === undefined ? label : `${label}: ${error.message}`)
  return false
}

const expect = (label: string, holds: boolean): void => {
  if (!holds) failures.push(label)
}

interface Manifest {
  readonly name: string
  readonly version: string
  readonly description?: string
  readonly keywords?: ReadonlyArray<string>
  readonly license?: string
  readonly bin?: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, unknown>>
  readonly engines: { readonly node?: string }
  readonly publishConfig?: { readonly access?: string }
}

/** What the registry shows. Where the project will be hosted is not decided: `repository` and with it provenance are missing still. */
const problemsOf = (manifest: Manifest): ReadonlyArray<string> => {
  const facts: Readonly<Record<string, boolean>> = {
    description: (manifest.description ?? "") !== "",
    keywords: manifest.keywords?.includes("mcp") === true,
    license: manifest.license === "MIT",
    engines: /^>=\d+\.\d+$/.test(manifest.engines.node ?? ""),
    "publishConfig.access": manifest.publishConfig?.access === "public"
  }
  return Object.entries(facts).flatMap(([name, holds]) => (holds ? [] : [name]))
}

const pnpm = process.env["npm_execpath"] ?? "pnpm"

const tarballs: Array<string> = []
let wanted = ""

for (const directory of ["packages/connection", "packages/testing", "apps/cli"]) {
  console.log(`\n${directory}`)
  const project = path.join(root, directory)
  const tarball = path.join(temporary, `${path.basename(directory)}.tgz`)
  if (!run(`${directory}: pnpm pack`, pnpm, ["pack", "--out", tarball], project)) continue

  tarballs.push(tarball)

  // Unpacked below the project's own node_modules, so that its dependencies resolve as they would for a user.
  const unpacked = path.join(project, "node_modules/.cache/pack")
  rmSync(unpacked, { recursive: true, force: true })
  mkdirSync(unpacked, { recursive: true })
  if (!run(`${directory}: tar`, "tar", ["-xzf", tarball, "-C", unpacked, "--strip-components=1"])) continue
  const manifest = JSON.parse(readFileSync(path.join(unpacked, "package.json"), "utf8")) as Manifest

  wanted = String(manifest.engines.node).replace(/^>=/, "")
  failures.push(...problemsOf(manifest).map((problem) => `${directory}: package.json: ${problem}`))

  run(`${directory}: publint`, "publint", ["run", "--strict", tarball])
  expect(`${directory}: LICENSE is missing`, readdirSync(unpacked).includes("LICENSE"))
  expect(
    `${directory}: a workspace or catalog version was published`,
    !/"(workspace|catalog):/.test(JSON.stringify(manifest))
  )
  expect(
    `${directory}: bin or exports point at sources`,
    !/\.\/src\//.test(JSON.stringify([manifest.bin, manifest.exports]))
  )
  for (const file of readdirSync(path.join(unpacked, "dist"), { recursive: true, encoding: "utf8" })) {
    const text = file.endsWith(".js") ? readFileSync(path.join(unpacked, "dist", file), "utf8") : ""
    expect(`${directory}: dist/${file} imports TypeScript`, !/from "\.[^"]*\.ts"/.test(text))
    expect(`${directory}: dist/${file} has no place in a package`, !file.endsWith(".tsbuildinfo"))
  }

  if (manifest.exports["."] === undefined) continue
  const modules = readdirSync(path.join(unpacked, "dist")).filter((file) => file.endsWith(".js"))
  const entrypoints = modules.map((file) => (file === "index.js" ? "." : `./${path.basename(file, ".js")}`))
  run(`${directory}: attw`, "attw", [tarball, "--profile", "esm-only", "--quiet", "--entrypoints", ...entrypoints])
  for (const file of modules) {
    await import(pathToFileURL(path.join(unpacked, "dist", file)).href).catch((error: unknown) => {
      failures.push(`${directory}: dist/${file} does not load: ${String(error)}`)
    })
  }
}

if (tarballs.length === 3) failures.push(...Install.check(path.join(temporary, "user"), tarballs, wanted))

rmSync(temporary, { recursive: true, force: true })
for (const failure of failures) console.error(`✗ ${failure}`)
if (failures.length === 0) console.log("\npublint, attw, the packed modules and an installation: no problem")
process.exitCode = failures.length === 0 ? 0 : 1
