// The TypeScript 7 compiler with Effect's diagnostics built in: one pass type-checks, emits, and fails on both.
// The binary is found by hand: `@effect/tsgo/lib/getExePath` 0.45.0 rejects the metadata of its own platform package.
import { spawnSync } from "node:child_process"
import { createRequire } from "node:module"
import * as path from "node:path"
import typescript from "typescript/package.json" with { type: "json" }

const tsgo = createRequire(import.meta.resolve("@effect/tsgo/package.json"))
const platform = path.dirname(tsgo.resolve(`@effect/tsgo-${process.platform}-${process.arch}/package.json`))
const name = process.platform === "win32" ? "tsc.exe" : "tsc"
const compiler = path.join(platform, "artifacts", "typescript", typescript.version, name)

const { error, status } = spawnSync(compiler, process.argv.slice(2), { stdio: "inherit" })
if (error !== undefined) throw error
process.exitCode = status ?? 1
