/**
 * Watches a connection and its simulated server, reads out what happened as data, and checks the rules that a self-healing connection
 * has to keep. A broken rule is told with the story that led to it.
 *
 * The rules are those of the connection's design: a call with an effect runs at most once; everyone gets one answer, which agrees with
 * the server's ledger; one session is opened at a time; nothing is sent on a session that is not published; a published session has
 * what is desired; nothing is left after closing; delays stay within the policy; and `Ready` means a live session.
 *
 * Use `probe.connection` instead of the connection: its calls are numbered, and the number goes to the server in `_meta`.
 *
 * @example
 * ```ts
 * import { ConnectionProbe, Faults, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const server = yield* SimulatedServer.make({
 *     tools: { pay: {} },
 *     faults: Faults.script(Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect" })))
 *   })
 *   const probe = yield* ConnectionProbe.make(server)
 *   yield* Effect.ignore(probe.connection.callTool({ name: "pay" }))
 *   yield* probe.check
 *   return probe.answers.map(({ outcome, tool }) => `${tool}: ${outcome}`)
 * })
 *
 * await program.pipe(Effect.scoped, VirtualClock.run, Effect.provide(VirtualClock.layer()), Effect.runPromise) // => ["pay: OutcomeUnknown"]
 * ```
 *
 * @since 0.1.0
 */
import {
  type ConnectionError,
  type ConnectionEvent,
  type ConnectionState,
  type InvalidOptions,
  McpConnection,
  type ReplayPolicy,
  type RequestError
} from "@mcp-tether/connection"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { RulesBroken, Violation } from "./internal/probe/violation.ts"
import * as Watched from "./internal/probe/watched.ts"
import type { SimulatedServer } from "./SimulatedServer.ts"

/**
 * A call that was made through a probe.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  /** Its number, from 1. The server has it in the ledger. */
  readonly call: number
  readonly method: string
  readonly tool: string | undefined
  /** The replay policy that was asked for with this call; `undefined`: the connection's. */
  readonly replay: ReplayPolicy.ReplayPolicy | undefined
  /** When it was made, and when it was answered, in milliseconds since the epoch. */
  readonly begunAt: number
  readonly endedAt: number | undefined
  /** How it ended: `"pending"`, `"succeeded"`, `"interrupted"`, `"died"`, or the tag of its error. */
  readonly outcome: "pending" | "succeeded" | "interrupted" | "died" | RequestError.RequestError["_tag"]
  readonly error: RequestError.RequestError | undefined
}

/**
 * Something that happened, in the order in which it did.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  readonly order: number
  /** When, in milliseconds since the epoch. */
  readonly at: number
  readonly kind: "fault" | "event" | "call" | "sent" | "ran" | "answer"
  /** The call that it belongs to, if there is one. */
  readonly call: number | undefined
  /** What happened, in words, without arguments or results. */
  readonly text: string
}

export { RulesBroken, Violation } from "./internal/probe/violation.ts"

/**
 * What is promised, where the rules depend on options of the connection. The defaults are those of {@link make}; with {@link attach},
 * what is not given is not checked.
 *
 * @category options
 * @since 0.1.0
 */
export interface Promises {
  /** How long a call may go without an answer. Default: what the connection's options, or the call's own, add up to. */
  readonly answerWithin?: Duration.Input | undefined
  /** The longest delay before an attempt, unless the server asked for more. Default: 30 seconds for the default policy, or not checked. */
  readonly maxDelay?: Duration.Input | undefined
}

/**
 * Options of {@link make}: those of the connection, whose transport is the server's unless said otherwise.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<R = never> extends Partial<McpConnection.Options<R>>, Promises {}

/**
 * A connection under watch.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConnectionProbe {
  /** The connection, which does what it always does, and is watched. */
  readonly connection: McpConnection.Shape
  /** The calls that were made, in order. */
  readonly answers: ReadonlyArray<Answer>
  /** The events of the connection since it was watched. */
  readonly events: ReadonlyArray<ConnectionEvent.ConnectionEvent>
  /** The states of the connection since it was watched, the first one included. */
  readonly states: ReadonlyArray<ConnectionState.ConnectionState>
  /** Everything that happened so far, in order: faults, events, calls, what was sent, what ran, and the answers. */
  readonly timeline: () => ReadonlyArray<Entry>
  /**
   * Looks at this moment: a published session has what is desired (rule 5), and lives (rule 8). What is on its way is waited for with
   * `Effect.yieldNow`, without any passing of time; what is wrong is told by {@link ConnectionProbe.check}.
   */
  readonly look: Effect.Effect<void>
  /** Which rules were broken so far, at this moment too ({@link ConnectionProbe.look}). */
  readonly violations: Effect.Effect<ReadonlyArray<Violation>>
  /** Fails where a rule was broken so far. */
  readonly check: Effect.Effect<void, RulesBroken>
}

/**
 * Connects to a simulated server, and watches.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R = never>(
  server: SimulatedServer,
  options: Options<R> = {}
): Effect.Effect<ConnectionProbe, InvalidOptions.InvalidOptions | ConnectionError.ConnectionError, R | Scope.Scope> => {
  const { answerWithin, maxDelay, ...rest } = options
  return Effect.flatMap(McpConnection.make<R>({ transport: server.transport, ...rest }), (connection) =>
    Watched.attach(
      connection,
      server,
      { ...Watched.delaysOf(rest), ...Watched.given({ answerWithin, maxDelay }) },
      rest,
      Watched.boundOf(rest)
    )
  )
}

/**
 * Watches a connection that is there already. `options` are those it was made with, as far as the rules depend on them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const attach: (
  connection: McpConnection.Shape,
  server: SimulatedServer,
  promises?: Promises,
  options?: Pick<McpConnection.Options, "replay" | "roots">
) => Effect.Effect<ConnectionProbe> = Watched.attach
