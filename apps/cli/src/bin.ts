#!/usr/bin/env node
/** The entry of the command line. A Node that is too old gets a sentence, before anything is loaded that it would choke on. */
import { readFileSync } from "node:fs"

interface Manifest {
  readonly engines: { readonly node: string }
}

const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as Manifest
const wanted = manifest.engines.node.replace(/^>=/, "")
const found = process.versions.node

const isOlder = (version: string, than: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  const [thanMajor = 0, thanMinor = 0] = than.split(".").map(Number)
  return major < thanMajor || (major === thanMajor && minor < thanMinor)
}

if (isOlder(found, wanted)) {
  console.error(`mcp-tether needs Node ${wanted} or later, and this is Node ${found}: see https://nodejs.org`)
  process.exitCode = 1
} else {
  void import("./main.ts")
}
