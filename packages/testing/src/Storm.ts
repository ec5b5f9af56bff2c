/**
 * What many clients do to one server that comes back after an outage, in virtual time.
 *
 * Simulated are the clock (`VirtualClock`) and the server, which serves so many handshakes a second, lets some wait, and refuses the
 * rest. Nobody sends requests and nobody probes (`heartbeat: "off"`): a storm is about coming back. All sessions are lost at the same
 * moment, which is the worst case.
 *
 * The clients are real connections, the engine as it is shipped, or (`fidelity: "policy"`) only their policies, which are all that the
 * server sees of them: both give the same report, number by number (a test compares them). A connection takes 50 KiB, and 0.15 ms for
 * each attempt; a policy about 7 KiB and 0.03 ms (Node 24, two cores).
 *
 * The same options and the same seed give the same report, number by number.
 *
 * @example
 * ```ts
 * import { ReconnectPolicy } from "@mcp-tether/connection"
 * import { Storm } from "@mcp-tether/testing"
 * import { Effect } from "effect"
 *
 * const report = await Effect.runPromise(
 *   Storm.simulate({ clients: 100, outage: "10 seconds", capacity: 20, backlog: 5, policy: ReconnectPolicy.default })
 * )
 * report.recovered // => 100
 * report.longestDelayMillis <= 30_000 // => true
 * ```
 *
 * @since 0.1.0
 */
import { type ConnectionError, InvalidOptions, McpConnection, ReconnectPolicy } from "@mcp-tether/connection"
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as SeededRandom from "./internal/seededRandom.ts"
import * as StormPolicies from "./internal/stormPolicies.ts"
import * as StormServer from "./internal/stormServer.ts"
import * as VirtualClock from "./VirtualClock.ts"

/**
 * Options of {@link simulate}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** How many connections there are. */
  readonly clients: number
  /**
   * What a client is. `"connection"` (default): an `McpConnection`. `"policy"`: the loop that tries, and waits as the policy says;
   * for more clients than memory has room for connections.
   */
  readonly fidelity?: "connection" | "policy" | undefined
  /** How long the server is away. */
  readonly outage: Duration.Input
  /** When the clients try again. Default: `ReconnectPolicy.default`. */
  readonly policy?: ReconnectPolicy.ReconnectPolicy | undefined
  /** How many handshakes a second the server can serve when it is back. Default: 1,000. */
  readonly capacity?: number | undefined
  /** How many handshakes may wait for their turn; more are refused (HTTP 503). Default: 511, as many as Node's servers let wait. */
  readonly backlog?: number | undefined
  /** How long it is watched, from the beginning of the outage. Default: 1 hour. */
  readonly duration?: Duration.Input | undefined
  /** The seed of the jitter. Default: `"storm"`. */
  readonly seed?: string | number | undefined
}

/**
 * What the server saw. Times are in milliseconds; the lists have one entry for each second since the outage began.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly clients: number
  readonly capacity: number
  readonly backlog: number
  readonly outageMillis: number
  readonly durationMillis: number
  /** How many handshakes were asked for, in all, and by second. */
  readonly attempts: number
  readonly attemptsPerSecond: ReadonlyArray<number>
  /** How many handshakes were served, by second. */
  readonly servedPerSecond: ReadonlyArray<number>
  /** The most attempts in a second, while the server was away, and once it was back. */
  readonly peakDuringOutage: number
  readonly peakAfterOutage: number
  /** `peakAfterOutage` as a multiple of the capacity. */
  readonly peakLoad: number
  /** How many clients had a session again at the end. */
  readonly recovered: number
  /** How long after the end of the outage half of the clients, 99 of 100, and all had a session again; absent for what did not come. */
  readonly recovery: { readonly p50?: number; readonly p99?: number; readonly max?: number }
  /** The longest time that any client waited between two attempts: at most the cap of its policy. */
  readonly longestDelayMillis: number
}

/**
 * The default ladder without its jitter: at once, then 250 ms, 500 ms, 1 s … 30 s. All clients do the same at the same time.
 *
 * @category policies
 * @since 0.1.0
 */
export const noJitter: ReconnectPolicy.ReconnectPolicy = Schedule.exponential("250 millis", 2).pipe(
  Schedule.setInputType<ConnectionError.ConnectionError>(),
  (self) => ReconnectPolicy.capped(self, "30 seconds"),
  ReconnectPolicy.atOnceFirst
)

/**
 * The policies that are worth a comparison, by name.
 *
 * @category policies
 * @since 0.1.0
 */
export const policies = {
  default: ReconnectPolicy.default,
  "no-jitter": noJitter,
  aggressive: ReconnectPolicy.aggressive,
  patient: ReconnectPolicy.patient,
  "every-second": Schedule.spaced("1 second")
} as const satisfies Readonly<Record<string, ReconnectPolicy.ReconnectPolicy>>

/** How long everyone has been connected before the outage: longer than `stableAfter`, so that every session is proven. */
const calm = Duration.minutes(1)

/**
 * Loses all sessions of a server at once, brings it back after the outage, and tells what the clients did to it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const simulate = (options: Options): Effect.Effect<Report, InvalidOptions.InvalidOptions> =>
  Effect.flatMap(decode(options), ({ fidelity, policy, seed, ...settings }) => {
    const lostAt = Duration.toMillis(calm)
    const server = StormServer.make({
      lostAt,
      backAt: lostAt + settings.outageMillis,
      endAt: lostAt + settings.durationMillis,
      capacity: settings.capacity,
      backlog: settings.backlog
    })
    const crowd = { clients: settings.clients, policy, seed, endAt: lostAt + settings.durationMillis }
    const storm = Effect.gen(function* () {
      if (fidelity === "connection") yield* connect(server, crowd)
      yield* VirtualClock.runFor(calm)
      yield* server.fall
      if (fidelity === "policy") yield* StormPolicies.comeBack(server, crowd)
      else yield* VirtualClock.runFor(settings.durationMillis)
      return reportOf(settings, server.books)
    })
    return VirtualClock.run(Effect.scoped(storm)).pipe(
      // Nobody could read a million lines.
      Effect.provideService(References.MinimumLogLevel, "None"),
      Effect.provide(VirtualClock.layer())
    )
  })

const connect = Effect.fnUntraced(function* (server: StormServer.StormServer, crowd: StormPolicies.Crowd) {
  for (let index = 0; index < crowd.clients; index += 1) {
    const open = server.client()
    yield* McpConnection.make({
      transport: { label: "storm", validate: Effect.void, open: () => open },
      policy: crowd.policy,
      start: "background",
      heartbeat: "off"
      // It is not waited for, and its options are right.
    }).pipe(Effect.orDie, Effect.provideService(Random.Random, SeededRandom.make(crowd.seed, index)))
  }
})

interface Settings extends Pick<Report, "clients" | "capacity" | "backlog" | "outageMillis" | "durationMillis"> {}

const reportOf = (settings: Settings, { attempts, longestDelay, recoveries, served }: StormServer.Books): Report => {
  const { backlog, capacity, clients, durationMillis, outageMillis } = settings
  const back = Math.floor(outageMillis / 1000)
  const sorted = recoveries.toSorted((a, b) => a - b)
  /** When this part of all clients was back. */
  const quantile = (part: number): number | undefined => sorted[Math.ceil(clients * part) - 1]
  const peakAfterOutage = peakOf(attempts.subarray(back))
  const [p50, p99, max] = [quantile(0.5), quantile(0.99), quantile(1)]
  return {
    clients,
    capacity,
    backlog,
    outageMillis,
    durationMillis,
    attempts: attempts.reduce((sum, count) => sum + count, 0),
    attemptsPerSecond: [...attempts],
    servedPerSecond: [...served],
    peakDuringOutage: peakOf(attempts.subarray(0, back)),
    peakAfterOutage,
    peakLoad: peakAfterOutage / capacity,
    recovered: sorted.length,
    recovery: {
      ...(p50 === undefined ? {} : { p50 }),
      ...(p99 === undefined ? {} : { p99 }),
      ...(max === undefined ? {} : { max })
    },
    longestDelayMillis: longestDelay
  }
}

const peakOf = (counts: Uint32Array): number => counts.reduce((most, count) => Math.max(most, count), 0)

const decode = (options: Options) =>
  Effect.suspend(() => {
    const {
      backlog = 511,
      capacity = 1_000,
      clients,
      fidelity = "connection",
      policy = ReconnectPolicy.default,
      seed = "storm"
    } = options
    const outageMillis = Duration.toMillis(Duration.fromInputUnsafe(options.outage))
    const durationMillis = Duration.toMillis(Duration.fromInputUnsafe(options.duration ?? "1 hour"))
    const issues = [
      wrong("clients", "a whole number of at least 1", clients, Number.isSafeInteger(clients) && clients >= 1),
      wrong("capacity", "handshakes a second, more than none", capacity, capacity > 0),
      wrong("backlog", "a whole number of at least 0", backlog, Number.isSafeInteger(backlog) && backlog >= 0),
      wrong("duration", "at most a day", durationMillis, durationMillis <= Duration.toMillis("1 day")),
      wrong("outage", "less than the duration", outageMillis, outageMillis < durationMillis)
    ].flat()
    return Arr.isArrayNonEmpty(issues)
      ? Effect.fail(new InvalidOptions.InvalidOptions({ of: "Storm.simulate", issues }))
      : Effect.succeed({ backlog, capacity, clients, fidelity, policy, seed, outageMillis, durationMillis })
  })

const wrong = (option: string, expected: string, actual: number, holds: boolean) =>
  holds ? [] : [{ option, expected, actual: String(actual) }]
