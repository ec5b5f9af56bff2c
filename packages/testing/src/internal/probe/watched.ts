/** A connection whose calls are numbered and noted, and what is known of it. */
import type {
  ConnectionEvent,
  ConnectionState,
  McpConnection,
  ReplayPolicy,
  RequestError
} from "@mcp-tether/connection"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import type { Answer, ConnectionProbe, Promises } from "../../ConnectionProbe.ts"
import type { SimulatedServer } from "../../SimulatedServer.ts"
import { callKey, toolIn } from "../simulated/offer.ts"
import * as Moment from "./moment.ts"
import * as Rules from "./rules.ts"
import { timelineOf } from "./story.ts"
import { RulesBroken, type Violation } from "./violation.ts"

/** An answer, while it is being written. */
type Pending = { -readonly [Key in keyof Answer]: Answer[Key] } & {
  readonly order: number
  endOrder: number | undefined
  /** What is promised of this call; `undefined`: nothing. In milliseconds. */
  readonly answerWithin: number | undefined
  /** By the clock that does not jump, in milliseconds. */
  readonly begunMonotonic: number
  tookMillis: number | undefined
}

/** What is wished of every session, as far as the calls through the probe say. */
export interface Wishes {
  level: unknown
  /** The generation on which setting it has failed, and whose caller was told so. */
  levelDoubtfulOn: number | undefined
  roots: unknown
  /** The resources that are read, and by how many. */
  readonly readers: Map<string, number>
}

/** Everything that was seen. */
export interface Seen {
  readonly server: SimulatedServer
  readonly connection: McpConnection.Shape
  readonly since: number
  readonly answers: ReadonlyArray<Pending>
  readonly events: Array<{
    readonly order: number
    /** When it was heard, by the clock that does not jump, in milliseconds. */
    readonly heard: number
    readonly event: ConnectionEvent.ConnectionEvent
  }>
  readonly states: Array<ConnectionState.ConnectionState>
  readonly wishes: Wishes
  /** Since when the catalog has not been what the server lists, as far as it was looked at. */
  listsWrongSince: number | undefined
  readonly now: () => number
  /** How long calls may take is told by the clock that does not jump. */
  readonly monotonic: () => number
  /** The requests on their way, lists and settings included. */
  readonly inFlight: () => number
  /** When somebody asked for another session, by the clock that does not jump, in milliseconds. */
  readonly replacements: Array<number>
  readonly replay: ReplayPolicy.ReplayPolicy
  readonly promises: { readonly maxDelay: number | undefined }
}

/** Promises that were given. */
export const given = (promises: Promises): Promises =>
  Object.fromEntries(Object.entries(promises).filter(([, promise]) => promise !== undefined))

/** What the policy of a connection promises of its delays. */
export const delaysOf = <R>({ policy }: Partial<McpConnection.Options<R>>): Promises =>
  policy === undefined ? { maxDelay: "30 seconds" } : {}

/** In milliseconds: how long a call may take by its own options; `undefined`: that cannot be said. */
export type Bound = (own: McpConnection.RequestOptions | undefined) => number | undefined

/** What the options of a connection, and those of the call itself, add up to. */
export const boundOf =
  <R>({
    maxReplays = 1,
    requestTimeout = "60 seconds",
    wait = "30 seconds"
  }: Partial<McpConnection.Options<R>>): Bound =>
  (own) => {
    // Each word of progress starts the timeout anew.
    if (own?.onProgress !== undefined) return undefined
    const patience = own?.wait ?? wait
    const waiting = patience === "none" ? 0 : Duration.toMillis(Duration.fromInputUnsafe(patience))
    const answering = Duration.toMillis(Duration.fromInputUnsafe(own?.timeout ?? requestTimeout))
    // Each sending waits for a session, for its answer, and once more for what the tool promises there.
    return (maxReplays + 1) * (waiting + 2 * answering)
  }

const millisOf = (duration: Duration.Input | undefined): number | undefined =>
  duration === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(duration))

export const attach = Effect.fnUntraced(function* (
  connection: McpConnection.Shape,
  server: SimulatedServer,
  promises: Promises = {},
  options: Pick<McpConnection.Options, "replay" | "roots"> = {},
  bound: Bound = () => undefined
) {
  const clock = yield* Clock.Clock
  const now = (): number => clock.currentTimeMillisUnsafe()
  const monotonic = (): number => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
  const answers: Array<Pending> = []
  const answerWithin = millisOf(promises.answerWithin)
  const broken: Array<Violation> = []
  let inFlight = 0
  const seen: Seen = {
    server,
    connection,
    since: now(),
    answers,
    events: [],
    states: [],
    wishes: { level: undefined, levelDoubtfulOn: undefined, roots: options.roots, readers: new Map() },
    listsWrongSince: undefined,
    now,
    monotonic,
    inFlight: () => inFlight,
    replacements: [],
    replay: options.replay ?? "safe",
    promises: { maxDelay: millisOf(promises.maxDelay) }
  }
  server.state = connection.state
  // Not in the scope: what it hears last is that the connection is closed, with which both streams end.
  yield* connection.changes.pipe(
    Stream.runForEach((state) => Effect.sync(() => seen.states.push(state))),
    Effect.forkDetach({ startImmediately: true })
  )
  yield* connection.events.pipe(
    Stream.runForEach((event) =>
      Effect.sync(() => seen.events.push({ order: server.nextOrder(), heard: monotonic(), event }))
    ),
    Effect.forkDetach({ startImmediately: true })
  )

  const begin = (method: string, tool?: string, own?: McpConnection.RequestOptions): Pending => {
    inFlight += 1
    const answer: Pending = {
      order: server.nextOrder(),
      endOrder: undefined,
      answerWithin: answerWithin ?? bound(own),
      begunMonotonic: monotonic(),
      tookMillis: undefined,
      call: answers.length + 1,
      method,
      tool,
      replay: own?.replay,
      begunAt: now(),
      endedAt: undefined,
      outcome: "pending",
      error: undefined
    }
    answers.push(answer)
    return answer
  }

  const finish = (answer: Pending, exit: Exit.Exit<unknown, RequestError.RequestError>): void => {
    inFlight -= 1
    answer.endedAt = now()
    answer.tookMillis = monotonic() - answer.begunMonotonic
    answer.endOrder = server.nextOrder()
    const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
    answer.error = error
    answer.outcome = Exit.isSuccess(exit)
      ? "succeeded"
      : (error?._tag ?? (Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "died"))
  }

  /** Makes a call that is noted. */
  const noted = <A>(
    method: string,
    run: (answer: Pending) => Effect.Effect<A, RequestError.RequestError>,
    own?: McpConnection.RequestOptions,
    tool?: string
  ): Effect.Effect<A, RequestError.RequestError> =>
    Effect.suspend(() => {
      const answer = begin(method, tool, own)
      return Effect.onExit(run(answer), (exit) => Effect.sync(() => finish(answer, exit)))
    })

  const watched: McpConnection.Shape = {
    ...connection,
    callTool: (params, options) =>
      noted("tools/call", ({ call }) => connection.callTool(numbered(params, call), options), options, params.name),
    callToolStream: (params, options) =>
      Stream.suspend(() => {
        const answer = begin("tools/call", params.name, options)
        return Stream.onExit(connection.callToolStream(numbered(params, answer.call), options), (exit) =>
          Effect.sync(() => finish(answer, exit))
        )
      }),
    listTools: (options) => noted("tools/list", () => connection.listTools(options), options),
    listResources: (options) => noted("resources/list", () => connection.listResources(options), options),
    listResourceTemplates: (options) =>
      noted("resources/templates/list", () => connection.listResourceTemplates(options), options),
    readResource: (params, options) => noted("resources/read", () => connection.readResource(params, options), options),
    listPrompts: (options) => noted("prompts/list", () => connection.listPrompts(options), options),
    getPrompt: (params, options) => noted("prompts/get", () => connection.getPrompt(params, options), options),
    complete: (params, options) => noted("completion/complete", () => connection.complete(params, options), options),
    ping: (options) => noted("ping", () => connection.ping(options), options),
    request: (method, ...args) => {
      const [params, options] = args
      const tool = toolIn(method, params)
      return noted(
        method,
        ({ call }) =>
          // Only what comes first is another one, and it is of the same type.
          connection.request(
            method,
            ...(tool === undefined ? args : (args.with(0, numbered(params ?? {}, call)) as unknown as typeof args))
          ),
        options,
        tool
      )
    },
    notify: (method, params) => noted(method, () => connection.notify(method, params)),
    setLogLevel: (level) =>
      noted("logging/setLevel", () =>
        Effect.suspend(() => {
          const before = seen.wishes.level
          seen.wishes.level = level
          return connection.setLogLevel(level).pipe(
            Effect.tapError((error) =>
              Effect.sync(() => {
                // What the server will not have is not desired.
                if (error._tag === "ServerRejected" && seen.wishes.level === level) seen.wishes.level = before
              })
            ),
            Effect.onExit((exit) =>
              Effect.map(connection.state, (state) => {
                // Whoever was told that it failed, or left, knows that this session may not have it; the next one has.
                seen.wishes.levelDoubtfulOn =
                  Exit.isFailure(exit) && state._tag === "Ready" ? state.generation : undefined
              })
            )
          )
        })
      ),
    setRoots: (roots) =>
      noted("notifications/roots/list_changed", () =>
        Effect.suspend(() => {
          seen.wishes.roots = roots
          return connection.setRoots(roots)
        })
      ),
    resourceUpdates: (uri) =>
      Stream.suspend(() => {
        const { readers } = seen.wishes
        readers.set(uri, (readers.get(uri) ?? 0) + 1)
        return Stream.onExit(connection.resourceUpdates(uri), () =>
          Effect.sync(() => readers.set(uri, (readers.get(uri) ?? 0) - 1))
        )
      }),
    reconnect: Effect.suspend(() => {
      seen.replacements.push(monotonic())
      return connection.reconnect
    }),
    refresh: Effect.suspend(() => {
      seen.replacements.push(monotonic())
      return connection.refresh
    })
  }

  const look = Effect.map(Moment.look(seen), (found) => {
    broken.push(...found.filter(({ what }) => broken.every((known) => known.what !== what)))
  })
  const violations = Effect.map(look, (): ReadonlyArray<Violation> => [...broken, ...Rules.check(seen)])
  const probe: ConnectionProbe = {
    connection: watched,
    answers,
    get events() {
      return seen.events.map(({ event }) => event)
    },
    states: seen.states,
    timeline: () => timelineOf(seen),
    look,
    violations,
    check: Effect.flatMap(violations, (violations) =>
      Arr.isReadonlyArrayNonEmpty(violations) ? Effect.fail(new RulesBroken({ violations })) : Effect.void
    )
  }
  return probe
})

/** The call's number goes with it, where MCP has a place for what is not the tool's. */
const numbered = <Params extends { readonly _meta?: unknown }>(params: Params, call: number): Params => ({
  ...params,
  _meta: { ...(Predicate.isObject(params._meta) ? params._meta : {}), [callKey]: call }
})
