/**
 * The promise, on real processes: a server that records each effect on disk dies hundreds of times, at every moment of a call.
 * Each call without a promise has run at most once, each idempotent call has succeeded, and each caller has one answer, which
 * agrees with the ledger.
 *
 * `MCP_TETHER_KILLS` is how many deaths there are (default: 500), `MCP_TETHER_SEED` makes a run draw the same calls again.
 */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import type { RequestError } from "../../src/RequestError.ts"
import type { Death, Order } from "../fixtures/ledgerServer.ts"
import { type Connection, eventsOf, fast, kill, type Rig, scenario, textOf, timed, transportOf } from "./rig.ts"

const kills = Number(process.env["MCP_TETHER_KILLS"] ?? 500)
const seed = Number(process.env["MCP_TETHER_SEED"] ?? Date.now() % 2 ** 32)

const server = fileURLToPath(new URL("../fixtures/ledgerServer.ts", import.meta.url))

/** mulberry32: a whole number from 0 to below `bound`. */
const makeRandom = (state: number) => {
  let current = state | 0
  return (bound: number): number => {
    current = (current + 0x6d2b79f5) | 0
    let mixed = Math.imul(current ^ (current >>> 15), 1 | current)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound
  }
}
type Random = ReturnType<typeof makeRandom>

type Tool = "write" | "again" | "read"

/** A call and every answer that its caller got. */
interface Account {
  readonly tool: Tool
  readonly order: Order
  readonly answers: Array<Result.Result<string, RequestError>>
}

const tools: ReadonlyArray<Tool> = ["write", "write", "again", "read"]
const deaths: ReadonlyArray<Death> = ["before", "recorded", "halfway", "replied"]

const pick = <A>(random: Random, items: ReadonlyArray<A>): A => items[random(items.length)] as A

const connect = (rig: Rig, name: string, options: Partial<McpConnection.Options> = {}) =>
  McpConnection.make({
    name,
    policy: fast,
    heartbeat: "off",
    ...options,
    transport: transportOf(rig, { command: process.execPath, args: [server, rig.dir] })
  })

const perform = (connection: Connection, account: Account) =>
  connection.callTool({ name: account.tool, arguments: { ...account.order } }).pipe(
    Effect.map(textOf),
    Effect.result,
    Effect.map((answer) => void account.answers.push(answer))
  )

/** Waits for a session newer than `generation`. */
const nextSession = (connection: Connection, generation: number) =>
  connection.changes.pipe(
    Stream.filter((state) => state._tag === "Ready" && state.generation > generation),
    Stream.take(1),
    Stream.runDrain,
    Effect.andThen(connection.awaitReady),
    Effect.orDie,
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.die(new Error(`no session after ${generation}`))
    })
  )

/**
 * A handful of calls at a time, one of which kills the server. All options are the defaults, and no call is hit twice: so each
 * idempotent call must succeed with the one replay it has.
 */
const rounds = Effect.fnUntraced(function* (
  connection: Connection,
  name: string,
  times: number,
  random: Random,
  accounts: Array<Account>
) {
  for (let round = 0; round < times; round += 1) {
    const { generation } = yield* Effect.orDie(connection.awaitReady)
    const deadly = random(6)
    const batch = Array.from({ length: 6 }, (_, index): Account => {
      const id = `${name}-${round}-${index}`
      const order = index === deadly ? { id, dies: pick(random, deaths) } : { id }
      return { tool: pick(random, tools), order, answers: [] }
    })
    accounts.push(...batch)
    yield* Effect.forEach(batch, (account) => perform(connection, account), { concurrency: "unbounded", discard: true })
    yield* nextSession(connection, generation)
  }
})

/** Callers that never pause, and a killer that strikes from outside, whatever they are doing. */
const storm = Effect.fnUntraced(function* (
  connection: Connection,
  name: string,
  times: number,
  random: Random,
  accounts: Array<Account>
) {
  let over = false
  let answered = 0
  const caller = Effect.fnUntraced(function* (index: number) {
    for (let call = 0; !over; call += 1) {
      const account: Account = {
        tool: pick(random, tools),
        order: { id: `${name}-${index}-${call}`, delayMillis: random(10), late: random(2) === 0 },
        answers: []
      }
      accounts.push(account)
      yield* perform(connection, account)
      answered += 1
    }
  })
  const killer = Effect.gen(function* () {
    let { generation, server } = yield* Effect.orDie(connection.awaitReady)
    for (let strike = 0; strike < times; strike += 1) {
      const until = answered + random(6)
      yield* Effect.yieldNow.pipe(
        Effect.andThen(Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))),
        Effect.repeat({ while: () => answered < until })
      )
      if (server.pid !== undefined) kill(-server.pid, "SIGKILL")
      ;({ generation, server } = yield* nextSession(connection, generation))
    }
    over = true
  })
  yield* Effect.all([killer, Effect.forEach([0, 1, 2, 3], caller, { concurrency: "unbounded" })], {
    concurrency: "unbounded",
    discard: true
  })
})

/** How often each call is in the ledger. */
const countsOf = (ledger: ReadonlyArray<string>): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const id of ledger) counts.set(id, (counts.get(id) ?? 0) + 1)
  return counts
}

/** What is wrong with an account, given how often its call ran. */
const faultOf = ({ answers, order, tool }: Account, ran: number): string | undefined => {
  const [answer] = answers
  if (answer === undefined || answers.length !== 1) return `${answers.length} answers`
  if (tool === "write" && ran > 1) return `ran ${ran} times`
  if (Result.isSuccess(answer)) {
    if (answer.success !== order.id) return `got the answer of ${answer.success}`
    if (ran === 0) return "succeeded and never ran"
    return undefined
  }
  if (tool !== "write") return `is idempotent and failed: ${answer.failure.message}`
  if (order.dies === "replied") return `was answered and failed: ${answer.failure.message}`
  return answer.failure._tag === "OutcomeUnknown" ? undefined : `failed: ${answer.failure.message}`
}

describe("the ledger", () => {
  scenario(
    `agrees with every answer after ${kills} deaths`,
    (rig) =>
      Effect.gen(function* () {
        rig.measured("seed", seed)
        const accounts: Array<Account> = []
        const lanes = [0, 1, 2, 3, 4, 5]
        const books: Array<ReadonlyArray<ConnectionEvent>> = []
        const lane = Effect.fnUntraced(function* (index: number) {
          const random = makeRandom(seed + index)
          const times = Math.floor(kills / lanes.length) + (index < kills % lanes.length ? 1 : 0)
          const isRound = index % 2 === 0
          const name = `${isRound ? "round" : "storm"}${index}`
          // In a storm a call may be hit again and again.
          const connection = yield* connect(
            rig,
            name,
            isRound ? {} : { maxReplays: 1_000_000, replayBudget: { burst: 1_000_000, perSecond: 100 } }
          )
          const events = yield* eventsOf(connection)
          books.push(events)
          yield* (isRound ? rounds : storm)(connection, name, times, random, accounts)
        })
        const [exit, took] = yield* timed(
          Effect.exit(Effect.forEach(lanes, lane, { concurrency: "unbounded", discard: true }))
        )
        rig.measured("wall time, ms", took)
        assert(Exit.isSuccess(exit), String(exit))

        const counts = countsOf(rig.ledger())
        const events = books.flat()
        const lost = events.filter(({ _tag }) => _tag === "SessionLost").length
        const failed = accounts.filter(({ answers }) => answers.some(Result.isFailure)).length
        const replayed = events.filter(({ _tag }) => _tag === "RequestReplayed").length
        const twice = accounts.filter(({ order }) => (counts.get(order.id) ?? 0) > 1).length
        rig.measured("calls", accounts.length)
        rig.measured("deaths seen", lost)
        rig.measured("outcome unknown", failed)
        rig.measured("sent again", replayed)
        rig.measured("idempotent calls that ran more than once", twice)

        assert.deepStrictEqual(
          accounts.flatMap((account) => {
            const fault = faultOf(account, counts.get(account.order.id) ?? 0)
            return fault === undefined ? [] : [`${account.tool} ${JSON.stringify(account.order)} ${fault}`]
          }),
          []
        )
        const known = new Set(accounts.map(({ order }) => order.id))
        assert.deepStrictEqual(
          [...counts.keys()].filter((id) => !known.has(id)),
          [],
          "effects that nobody asked for"
        )
        assert.strictEqual(lost, kills)
        // Else nothing was shown.
        for (const [what, count] of Object.entries({ failed, replayed, twice })) assert.isAbove(count, 0, what)
      }),
    240_000
  )
})
