/** A simulated server: its transport, its script, and its face. */
import { ConnectionError, type InvalidOptions, type McpSession, type McpTransport } from "@mcp-tether/connection"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Fault, Tagged } from "../../Fault.ts"
import type { Script } from "../../Faults.ts"
import { JumpingClock } from "../../JumpingClock.ts"
import type { Behavior, Options, SimulatedServer } from "../../SimulatedServer.ts"
import { Program } from "../program.ts"
import { Weather } from "../weather.ts"
import { abilitiesOf, checkFault, checkScript } from "./check.ts"
import { crashAt, crashed, inject, live, meet, notify } from "./faults.ts"
import { listedTools, releaseOf } from "./offer.ts"
import * as Session from "./session.ts"
import { end, errorOf, gone, type Line, passage, refused, thawed, type World } from "./world.ts"

export { tool } from "./offer.ts"
export { exited } from "./world.ts"

export const failure = (reason: ConnectionError.Reason, stderrTail?: string): ConnectionError.ConnectionError =>
  new ConnectionError.ConnectionError({ server: "simulated", reason, stderrTail })

export const make = Effect.fnUntraced(function* (
  options: Options & { readonly faults?: Script | undefined } = {}
): Effect.fn.Return<SimulatedServer, InvalidOptions.InvalidOptions, Scope.Scope> {
  const { faults = [] } = options
  const clock = yield* Clock.Clock
  const jumping = yield* Effect.serviceOption(JumpingClock)
  yield* checkScript(faults, abilitiesOf(options, Option.isSome(jumping)))
  const scope = yield* Effect.scope
  const world = makeWorld(options, faults, {
    clock,
    scope,
    jump: Option.getOrUndefined(
      Option.map(
        jumping,
        ({ jump }) =>
          (millis: number) =>
            jump(millis)
      )
    )
  })
  yield* Effect.forkIn(play(world), scope)
  return faceOf(world)
})

export const makeUnsafe = (options: Options = {}): SimulatedServer =>
  faceOf(makeWorld(options, [], { clock: undefined, scope: undefined, jump: undefined }))

/** Does what is due at a time. What goes on does not hold up what comes next. */
const play = (world: World): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    let played = 0
    for (const { fault, millis } of world.program.timed) {
      // Not until a time: the clock may jump.
      if (millis > played) yield* Effect.sleep(millis - played)
      played = millis
      yield* Effect.forkScoped(inject(world, fault), { startImmediately: true })
    }
  })

const makeWorld = (options: Options, script: Script, around: Pick<World, "clock" | "scope" | "jump">): World => {
  const over = options.over ?? "stdio"
  let order = 0
  const now = (): number => world.clock?.currentTimeMillisUnsafe() ?? 0
  const behavior: Behavior = {
    open: options.open ?? (() => Effect.void),
    send: options.send ?? (() => Effect.void),
    handle: options.handle ?? ((call) => call.run),
    close: options.close ?? (() => Effect.void),
    lost: options.lost ?? ((session) => session.lost),
    listed:
      options.listed ??
      ((generation) => {
        const session = world.sessions.findLast((session) => session.generation === generation)
        return listedTools(releaseOf(options, session === undefined ? world.release : session.release))
      }),
    listen: options.listen ?? (() => Effect.void),
    capabilities: options.capabilities ?? {
      tools: options.releases === undefined ? {} : { listChanged: true },
      logging: {},
      resources: { subscribe: true },
      ...([options, ...Object.values(options.releases ?? {})].every(({ prompts }) => prompts === undefined)
        ? {}
        : { prompts: {} })
    },
    isolation: options.isolation ?? (over === "stdio" ? "shared" : "perRequest"),
    era: options.era ?? "legacy"
  }
  const world: World = {
    options,
    name: options.name ?? "simulated",
    over,
    behavior,
    program: new Program(script),
    weather: new Weather(now),
    now,
    ...around,
    release: undefined,
    refuses: undefined,
    life: Deferred.makeUnsafe(),
    lines: new Set(),
    sessions: [],
    ledger: [],
    sent: [],
    notified: [],
    listened: [],
    cancelled: [],
    log: [],
    attempts: [],
    happened: [],
    nextOrder: () => (order += 1),
    requests: 0,
    tries: 0,
    opening: 0,
    mostOpening: 0,
    state: undefined
  }
  return world
}

const open = Effect.fnUntraced(function* (
  world: World,
  context: McpTransport.OpenContext
): Effect.fn.Return<McpSession.McpSession, ConnectionError.ConnectionError, Scope.Scope> {
  const { generation } = context
  world.clock = yield* Clock.Clock
  const line: Line = {
    ended: Deferred.makeUnsafe(),
    endedAt: undefined,
    severed: false,
    frozenUntil: Number.NEGATIVE_INFINITY,
    forgotten: undefined,
    usedAt: world.now(),
    release: world.release,
    broke: () => Effect.void
  }
  let session: ReturnType<typeof Session.make> | undefined = undefined
  yield* Effect.acquireRelease(
    Effect.sync(() => world.lines.add(line)),
    () =>
      Effect.suspend(() => {
        if (session !== undefined) {
          session.book.closed = true
          world.log.push(`close ${generation}`)
        }
        end(world, line, failure(new ConnectionError.TransportClosed({ description: "the session was closed" })))
        return world.behavior.close(generation)
      }).pipe(Effect.ensuring(Effect.sync(() => world.lines.delete(line))))
  )
  const crash = yield* Effect.suspend(() => {
    world.attempts.push(world.now())
    world.tries += 1
    world.opening += 1
    world.mostOpening = Math.max(world.mostOpening, world.opening)
    return Effect.raceFirst(gone(world, line), handshake(world, line, context))
  }).pipe(
    Effect.ensuring(
      Effect.sync(() => {
        world.opening -= 1
      })
    )
  )
  // It shook hands with a process that may have been replaced while it was on its way.
  line.usedAt = world.now()
  session = Session.make(world, line, context)
  world.log.push(`open ${generation}`)
  world.sessions.push(session)
  if (world.options.asksForRoots === true) yield* session.askForRoots
  if (crash !== undefined) yield* crashed(world, line, crash, initialize)
  return { ...session, lost: world.behavior.lost(session) }
})

/** How long the operating system, or the driver, waits for a connection to come about. */
const connectMillis = 10_000

/** What a handshake is to triggers, in either era. */
const initialize = { method: "initialize", tool: undefined }

/** Shakes hands; tells of the crash that follows, where there is one. */
const handshake = Effect.fnUntraced(function* (
  world: World,
  line: Line,
  context: McpTransport.OpenContext
): Effect.fn.Return<Tagged<"Crash"> | undefined, ConnectionError.ConnectionError> {
  const { behavior, options, over, weather } = world
  const attempt = world.tries
  const strikes = yield* meet(world, initialize)
  if (weather.isDown()) return yield* Effect.fail(refused(world))
  if (weather.startsToRefuse > 0) {
    weather.startsToRefuse -= 1
    return yield* Effect.fail(refused(world))
  }
  if (over === "http" && weather.holds("Partition") !== undefined) yield* connected(world)
  if (weather.handshakesToHang > 0) {
    weather.handshakesToHang -= 1
    return yield* Effect.never
  }
  yield* behavior.open(attempt, context)
  yield* passage(world, line)
  yield* thawed(world, line)
  const { crash, drop } = strikes
  if (drop.has("request")) return yield* Effect.never
  // Whoever waits on this line has its end.
  if (crash !== undefined && (crash.when !== "afterReplying" || drop.has("reply")))
    return yield* crashAt(world, line, crash, initialize)
  if (drop.has("reply")) return yield* Effect.never
  const refusal = over === "http" ? Session.refusalOf(world, undefined, strikes.unavailable) : undefined
  if (refusal !== undefined) return yield* Effect.fail(refusal)
  if (strikes.corrupt) return yield* over === "http" ? Effect.fail(Session.garbage(world)) : Effect.never
  if (options.handshake !== undefined) yield* Effect.sleep(options.handshake)
  yield* passage(world, line)
  return crash
})

/** A connection comes about when the partition is over, if that is soon enough. */
const connected = (world: World): Effect.Effect<void, ConnectionError.ConnectionError> =>
  Effect.timeoutOrElse(world.weather.over("Partition"), {
    duration: connectMillis,
    orElse: () =>
      Effect.fail(
        errorOf(
          world.name,
          new ConnectionError.NetworkFailed({
            code: "ETIMEDOUT",
            description: "no connection came about",
            phase: "connect"
          })
        )
      )
  })

const faceOf = (world: World): SimulatedServer => ({
  transport: {
    label: world.name,
    validate: Effect.void,
    open: (context) => open(world, context)
  },
  behavior: world.behavior,
  ledger: world.ledger,
  get ran() {
    return world.ledger.map(({ key }) => key)
  },
  sent: world.sent,
  notified: world.notified,
  listened: world.listened,
  cancelled: world.cancelled,
  log: world.log,
  attempts: world.attempts,
  happened: world.happened,
  sessions: world.sessions,
  get current() {
    const session = world.sessions.at(-1)
    if (session === undefined) throw new Error("no session was opened yet")
    return session
  },
  get live() {
    return world.lines.size
  },
  get opening() {
    return world.opening
  },
  get mostOpening() {
    return world.mostOpening
  },
  get state() {
    return world.state
  },
  set state(state) {
    world.state = state
  },
  nextOrder: world.nextOrder,
  generationsOf: (method) => world.sent.filter((sent) => sent.method === method).map(({ generation }) => generation),
  inject: (fault: Fault) =>
    timed(
      world,
      Effect.andThen(
        Effect.orDie(checkFault(fault, abilitiesOf(world.options, world.jump !== undefined))),
        inject(world, fault)
      )
    ),
  refreshCredentials: Effect.sync(() => {
    world.refuses = undefined
  }),
  update: (uri) =>
    timed(
      world,
      Effect.suspend(() =>
        Effect.forEach(
          live(world).filter(({ book }) => book.subscriptions.has(uri)),
          (session) => session.tell({ method: "notifications/resources/updated", params: { uri } }),
          { discard: true }
        )
      )
    ),
  notify: (notification) => timed(world, notify(world, notification))
})

/** Whoever does something to the server brings the clock. */
const timed = (world: World, effect: Effect.Effect<void>): Effect.Effect<void> =>
  Clock.clockWith((clock) => {
    world.clock = clock
    return effect
  })
