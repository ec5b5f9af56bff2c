/**
 * `node scripts/bench/peers/run.ts [--quick] [--json] [--only client,…] [--scenario name,…] [--words]`: what becomes of calls when the server dies,
 * restarts or forgets its sessions, for this client and for others, with whatever they document for reconnecting switched on. All are
 * measured by the same code, in turns, and shown with their failures. With `--json` the last line of stdout is the report.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { parseArgs } from "node:util"
import { seeded, shuffled } from "../random.ts"
import { type Client, clients as allClients } from "./clients.ts"
import { directory, install, isInstalled, versionOf } from "./install.ts"
import type { Outcome } from "./observation.ts"
import { full, quick } from "./plan.ts"
import { type Row, table, totals, words } from "./report.ts"
import { type Scenario, scenarios as allScenarios } from "./scenarios.ts"
import { write as writeServer } from "./serverFile.ts"
import { sweepAll, turn } from "./turn.ts"
import { verdict } from "./verdict.ts"

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    only: { type: "string" },
    scenario: { type: "string" },
    words: { type: "boolean", default: false },
    rounds: { type: "string" },
    lanes: { type: "string" },
    seed: { type: "string", default: "1" }
  }
})

const chosen = <A extends { readonly name: string }>(all: ReadonlyArray<A>, names: string | undefined) => {
  if (names === undefined) return all
  return names.split(",").map((name) => {
    const found = all.find((one) => one.name === name.trim())
    if (found === undefined) throw new Error(`there is no "${name}": ${all.map(({ name }) => name).join(", ")}`)
    return found
  })
}

/** The last line of stdout is for programs, and the rest is for people, wherever they look. */
const tell = (text: string): void => {
  ;(options.json ? process.stderr : process.stdout).write(`${text}\n`)
}

const base = options.quick ? quick : full
const plan = {
  ...base,
  rounds: Number(options.rounds ?? base.rounds),
  lanes: Number(options.lanes ?? base.lanes)
}
const clients = chosen(allClients, options.only)
const scenarios = chosen(allScenarios, options.scenario)
const random = seeded(Number(options.seed))

const root = mkdtempSync(path.join(tmpdir(), "mcp-tether-peers-"))
process.once("exit", () => {
  sweepAll()
  rmSync(root, { recursive: true, force: true, maxRetries: 3 })
})
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143]
] as const) {
  process.once(signal, () => process.exit(code))
}

const installed = directory()
const missing = clients.some(({ from }) => from === "npm") ? await install(installed, tell) : undefined

const server = await writeServer(root)

const version = (client: Client): string => {
  if (client.from === "npm") return isInstalled(installed) ? versionOf(installed, client.package) : "not installed"
  const manifest = path.resolve(import.meta.dirname, "../node_modules", client.package, "package.json")
  return (JSON.parse(readFileSync(manifest, "utf8")) as { readonly version: string }).version
}
const named = clients.map((client) => ({ ...client, version: version(client) }))

const outcomes = new Map<string, Array<Outcome>>()
const key = (client: string, scenario: string) => `${client} ${scenario}`

const playRound = async (round: number): Promise<void> => {
  const waiting = shuffled(random, clients).map((client) => ({ client, scenarios: shuffled(random, scenarios) }))
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { client, scenarios } = next
      const folder = path.join(root, `${round}-${client.name}`)
      mkdirSync(folder)
      for (const [scenario, outcome] of await turn(client, scenarios, { plan, installed, missing, server, folder })) {
        const place = key(client.name, scenario)
        outcomes.set(place, [...(outcomes.get(place) ?? []), outcome])
      }
      process.stderr.write(`round ${round} of ${plan.rounds}: ${client.name}\n`)
    }
  }
  await Promise.all(Array.from({ length: plan.lanes }, lane))
}

const begin = performance.now()
for (let round = 1; round <= plan.rounds; round += 1) await playRound(round)
const seconds = Math.round((performance.now() - begin) / 1_000)

const rows = clients.flatMap((client) =>
  scenarios.map(({ name, transport }): Row => ({
    client: client.name,
    scenario: name,
    transport,
    verdict: verdict(outcomes.get(key(client.name, name)) ?? [])
  }))
)

const heading = (transport: Scenario["transport"]): string =>
  scenarios
    .filter((scenario) => scenario.transport === transport)
    .map(({ about, name }) => `  ${name}: ${about}`)
    .join("\n")

for (const transport of ["stdio", "http"] as const) {
  const some = scenarios.filter((scenario) => scenario.transport === transport)
  if (some.length === 0) continue
  tell(`\npeers over ${transport}, ${plan.rounds} rounds\n${heading(transport)}\n`)
  tell(table(some, named, rows))
}
tell(`
✓/✗: the call was answered / a call after it was answered (2/5: in two of five rounds). ×: the time to the first answer, as a multiple of
what a new connection and one call cost the raw SDK just after (over stdio with the spawn): median, and least to most. paid: how often the
effect of one call happened. calls lost: of one call every 100 ms until one is answered or the time is over. early: requests before the time that Retry-After asked for. left: processes that outlive the closed client.
`)
tell(totals(named, rows))
const said = words(rows, options.words ? "all" : "broken")
if (said !== "") tell(`\nwhat they said:\n${said}`)
tell(`\nin ${seconds} s, Node ${process.version}`)

if (options.json) {
  const report = {
    suite: "peers",
    date: new Date().toISOString(),
    node: process.version,
    quick: options.quick,
    rounds: plan.rounds,
    seconds,
    versions: Object.fromEntries(named.map(({ name, package: is, version }) => [name, `${is}@${version}`])),
    options: Object.fromEntries(named.map(({ name, option }) => [name, option])),
    scenarios: Object.fromEntries(scenarios.map(({ about, name }) => [name, about])),
    rows: rows.map(({ verdict, ...row }) => ({ ...row, ...verdict }))
  }
  process.stdout.write(`${JSON.stringify(report)}\n`)
}
// A client's process that is stuck is no reason to wait.
process.exit(0)
