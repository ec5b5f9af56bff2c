/** The packed packages, as somebody has them who knows of nothing but npm: installed into an empty folder, and the command line run by `npx`. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import * as path from "node:path"

interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The folders of PATH that no package manager has put there. */
const ownPath = (process.env["PATH"] ?? "").split(path.delimiter).filter((folder) => !folder.includes("node_modules"))

/** What npm is told by the package manager that runs us is not what it is told at home. */
const ownEnv = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(npm|pnpm)_|^(INIT_CWD|NODE_PATH|NO_COLOR|FORCE_COLOR)$/i.test(name)
  )
)

const run = (cwd: string, PATH: ReadonlyArray<string>, command: string, ...args: ReadonlyArray<string>): Ran => {
  const { error, status, stderr, stdout } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    env: { ...ownEnv, PATH: PATH.join(path.delimiter) },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 120_000
  })
  return {
    code: error === undefined ? status : null,
    stdout: stdout ?? "",
    stderr: `${stderr ?? ""}${error?.message ?? ""}`
  }
}

const servers = {
  healthy: {
    command: "node",
    args: [
      "-e",
      `require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
        const { id, method, params } = JSON.parse(line)
        const results = {
          initialize: { protocolVersion: params?.protocolVersion, capabilities: {}, serverInfo: { name: "small", version: "1" } },
          ping: {}
        }
        if (method in results) console.log(JSON.stringify({ jsonrpc: "2.0", id, result: results[method] }))
      })`
    ]
  },
  broken: { command: "node", args: ["-e", "console.error('no licence'); process.exit(7)"] }
}

/** Installs the tarballs, and looks at servers with them. Answers what is wrong. */
export const check = (folder: string, tarballs: ReadonlyArray<string>, wanted: string): ReadonlyArray<string> => {
  mkdirSync(folder)
  writeFileSync(path.join(folder, "package.json"), JSON.stringify({ private: true }))
  writeFileSync(path.join(folder, "servers.json"), JSON.stringify({ mcpServers: servers }))

  const begin = performance.now()
  const installed = run(folder, ownPath, "npm", "install", "--no-audit", "--no-fund", "--prefer-offline", ...tarballs)
  if (installed.code !== 0) return [`npm install: ${installed.stderr}`]
  console.log(`npm install: ${Math.round((performance.now() - begin) / 1000)} s`)
  if (!existsSync(path.join(folder, "node_modules/.bin/mcp-tether"))) return ["npm install: there is no mcp-tether"]

  const problems: Array<string> = []
  const expect = (label: string, ran: Ran, ...holds: ReadonlyArray<boolean>): void => {
    if (!holds.every(Boolean)) problems.push(`${label}: ${JSON.stringify(ran)}`)
  }
  const doctor = ["mcp-tether", "doctor", "--config", "servers.json", "--timeout", "20s"]

  const { stdout: own } = run(folder, ownPath, "node", "-p", "process.versions.node")
  const machine = own.trim()
  if (machine !== "" && isOlder(machine, wanted)) {
    const refused = run(folder, ownPath, "npx", ...doctor)
    const says = `mcp-tether needs Node ${wanted} or later, and this is Node ${machine}: see https://nodejs.org\n`
    expect("a Node that is too old", refused, refused.code === 1, refused.stdout === "", refused.stderr === says)
  }
  // The machine's npx, with a Node that is new enough.
  const newEnough = [path.dirname(process.execPath), ...ownPath]
  const told = run(folder, newEnough, "npx", ...doctor)
  expect(
    "npx mcp-tether doctor",
    told,
    told.code === 1,
    /^✓ healthy\n {4}small 1, protocol/m.test(told.stdout),
    /^✗ broken\n {4}the server process exited with code 7\n {4}→ start node by hand/m.test(told.stdout),
    told.stdout.includes("it said:\n      no licence"),
    told.stderr.includes("1 of 2 servers cannot be used: broken"),
    !/\n +at /.test(told.stderr)
  )
  const well = run(folder, newEnough, "npx", "mcp-tether", "status", "healthy", "--config", "servers.json", "--json")
  expect("npx mcp-tether status", well, well.code === 0, well.stdout.startsWith(`[{"name":"small"`))
  console.log(`npx mcp-tether on Node ${process.versions.node}; the machine's is ${machine || "none"}`)
  return problems
}

const isOlder = (version: string, than: string): boolean =>
  version.localeCompare(than, undefined, { numeric: true }) < 0
