/**
 * The other clients, in the versions of the lock file, installed with npm into a cache: beside the workspace and not in it, so that no
 * program here finds one of their packages by accident, and so that types and tests need none of them.
 */
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import { pathToFileURL } from "node:url"

const manifests = ["package.json", "package-lock.json"]

/** Another lock file is another folder: what is there is what the lock file says, or it is not there. */
export const directory = (): string => {
  const lock = readFileSync(path.join(import.meta.dirname, "package-lock.json"))
  const name = `peers-${createHash("sha256").update(lock).digest("hex").slice(0, 12)}`
  return path.resolve(import.meta.dirname, "../node_modules/.cache", name)
}

/** Written last, when all is there. */
const mark = "installed"
const loader = "load.mjs"

export const isInstalled = (folder: string): boolean => existsSync(path.join(folder, mark))

/** Installs what is missing, and says what went wrong, if something did. */
export const install = async (folder: string, progress: (line: string) => void): Promise<string | undefined> => {
  if (isInstalled(folder)) return undefined
  progress("installing the other clients, once, as the lock file has them (npm ci, about half a gigabyte)")
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const name of manifests) copyFileSync(path.join(import.meta.dirname, name), path.join(folder, name))
  const failure = await ci(folder)
  if (failure !== undefined) return failure
  // Modules are found from where the one stands that imports them.
  writeFileSync(path.join(folder, loader), "export const load = (name) => import(name)\n")
  writeFileSync(path.join(folder, mark), "")
  return undefined
}

const ci = (folder: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    // No package's script runs, and what is optional is left out: it is the browsers, compilers and bundlers of tools beside the clients.
    const args = ["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]
    const child = spawn("npm", args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] })
    const stop = () => child.kill()
    process.once("exit", stop)
    let stderr = ""
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk))
    child.once("error", (error) => resolve(`npm ci: ${error.message}`))
    child.once("close", (code) => resolve(code === 0 ? undefined : `npm ci ended with ${code}: ${lastLine(stderr)}`))
  })

const lastLine = (text: string): string =>
  text
    .split("\n")
    .findLast((line) => line.trim() !== "" && !line.includes("debug-0.log"))
    ?.trim() ?? ""

/** Imports a module of the installed packages. Its shape is what the adapter says that it uses of it. */
export const loaderOf = async (folder: string): Promise<<A>(name: string) => Promise<A>> => {
  const { load }: { load: <A>(name: string) => Promise<A> } = await import(
    pathToFileURL(path.join(folder, loader)).href
  )
  return load
}

/** The version that is installed, not the one that is asked for. */
export const versionOf = (folder: string, name: string): string => {
  const manifest: { readonly version: string } = JSON.parse(
    readFileSync(path.join(folder, "node_modules", name, "package.json"), "utf8")
  )
  return manifest.version
}
