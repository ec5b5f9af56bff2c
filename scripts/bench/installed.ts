/**
 * The packages as a user has them after an installation: the built files and the manifests that are published, in a `node_modules` of
 * their own, beside the dependencies that this workspace has installed.
 */
import { cpSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import * as path from "node:path"

export const directory = path.resolve(import.meta.dirname, "node_modules/.cache/installed")

const root = path.resolve(import.meta.dirname, "../..")
const packages = ["packages/connection", "packages/testing", "apps/cli"]

interface Manifest {
  readonly name: string
  readonly publishConfig: Readonly<Record<string, unknown>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

export const assemble = (): void => {
  rmSync(directory, { recursive: true, force: true })
  const modules = path.join(directory, "node_modules")
  const manifests = packages.map((project) => {
    const manifest: Manifest = JSON.parse(readFileSync(path.join(root, project, "package.json"), "utf8"))
    return { project: path.join(root, project), manifest }
  })
  const own = new Set(manifests.map(({ manifest }) => manifest.name))
  for (const { manifest, project } of manifests) {
    const target = path.join(modules, manifest.name)
    mkdirSync(target, { recursive: true })
    cpSync(path.join(project, "dist"), path.join(target, "dist"), { recursive: true })
    writeFileSync(path.join(target, "package.json"), JSON.stringify({ ...manifest, ...manifest.publishConfig }))
    for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
      if (own.has(name)) continue
      const link = path.join(modules, name)
      mkdirSync(path.dirname(link), { recursive: true })
      rmSync(link, { force: true })
      symlinkSync(realpathSync(path.join(project, "node_modules", name)), link)
    }
  }
}
