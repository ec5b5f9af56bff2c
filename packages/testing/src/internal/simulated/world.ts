/** The state that a simulated server, its sessions and its faults share. */
import { ConnectionError } from "@mcp-tether/connection"
import type { ConnectionState } from "@mcp-tether/connection"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Fault } from "../../Fault.ts"
import type { Behavior, Happened, Listened, Options, Performed, Sent, SimulatedSession } from "../../SimulatedServer.ts"
import type { Program } from "../program.ts"
import type { Weather } from "../weather.ts"

/** What is known of the way to one session, from its first attempt on. */
export interface Line {
  /** Completes when the session ends: its process died, or it was closed. */
  readonly ended: Deferred.Deferred<ConnectionError.ConnectionError>
  endedAt: number | undefined
  /** Bytes go nowhere. */
  severed: boolean
  /** Until when its process does nothing (stdio). */
  frozenUntil: number
  /** The server knows it no longer (HTTP), and says so with this status. */
  forgotten: 404 | 400 | undefined
  /** When it was last used. */
  usedAt: number
  release: string | undefined
  /**
   * The process behind it has died: what it knew of the session is gone. Tells the client, where something broke which is no request's
   * own; there is nobody to tell before there is a session.
   */
  broke: (error: ConnectionError.ConnectionError) => Effect.Effect<void>
}

export interface World {
  readonly options: Options
  readonly name: string
  readonly over: "stdio" | "http"
  readonly behavior: Behavior
  readonly program: Program
  readonly weather: Weather
  /** The clock of whoever came last; all come under the same. */
  clock: Clock.Clock | undefined
  readonly now: () => number
  /** Where faults that go on run. `undefined`: there is no script. */
  readonly scope: Scope.Scope | undefined
  /** The clock jumps, where it can. */
  readonly jump: ((millis: number) => Effect.Effect<void>) | undefined
  release: string | undefined
  /** The credentials are refused with this status. */
  refuses: 401 | 403 | undefined
  /** Completes when the process that serves all sessions over HTTP dies; the next one has its own. */
  life: Deferred.Deferred<ConnectionError.ConnectionError>
  /** The attempts and sessions that are open. */
  readonly lines: Set<Line>
  readonly sessions: Array<SimulatedSession>
  readonly ledger: Array<Performed>
  readonly sent: Array<Sent>
  readonly notified: Array<string>
  readonly listened: Array<Listened>
  readonly cancelled: Array<string>
  readonly log: Array<string>
  readonly attempts: Array<number>
  readonly happened: Array<Happened>
  /** The place of what happens next among all that happened. */
  readonly nextOrder: () => number
  /** How many requests were put on the wire, and how many attempts there were: whoever watches may have emptied the lists. */
  requests: number
  tries: number
  opening: number
  mostOpening: number
  state: Effect.Effect<ConnectionState.ConnectionState> | undefined
}

/** An error of the connection to this server. */
export const errorOf = (server: string, reason: ConnectionError.Reason): ConnectionError.ConnectionError =>
  new ConnectionError.ConnectionError({ server, reason })

/** The error of a server whose process exited with 1. */
export const exited = errorOf("simulated", new ConnectionError.ProcessExited({ exitCode: 1 }))

const reset = (world: World) =>
  errorOf(
    world.name,
    new ConnectionError.NetworkFailed({
      code: "ECONNRESET",
      description: "the connection was reset",
      phase: "exchange"
    })
  )

/** Nobody listens, or the process exits at once. */
export const refused = (world: World) =>
  errorOf(
    world.name,
    world.over === "http"
      ? new ConnectionError.NetworkFailed({ code: "ECONNREFUSED", description: "nobody listens", phase: "connect" })
      : new ConnectionError.ProcessExited({ exitCode: 1 })
  )

/** A fault has happened, to a message or at a time. */
export const note = (world: World, fault: Fault, to?: Happened["to"]): void => {
  world.happened.push({ order: world.nextOrder(), at: world.now(), fault, to })
}

/** A session ends: what is pending fails with `error`. */
export const end = (world: World, line: Line, error: ConnectionError.ConnectionError): void => {
  if (Deferred.isDoneUnsafe(line.ended)) return
  line.endedAt = world.now()
  Deferred.doneUnsafe(line.ended, Exit.succeed(error))
}

/**
 * The server dies. Over stdio each session has a process of its own: that of `only`, or all. Over HTTP all sessions have one, and those
 * of the legacy era are in its memory.
 */
export const die = (
  world: World,
  how: { readonly downMillis: number; readonly exitCode?: number },
  only?: Line
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { life, weather } = world
    weather.downUntil = Math.max(weather.downUntil, world.now() + how.downMillis)
    if (world.over === "stdio") {
      const error = errorOf(
        world.name,
        new ConnectionError.ProcessExited(
          how.exitCode === undefined ? { signal: "SIGKILL" } : { exitCode: how.exitCode }
        )
      )
      for (const line of only === undefined ? [...world.lines] : [only]) end(world, line, error)
      return Effect.void
    }
    world.life = Deferred.makeUnsafe()
    // It was that process that was frozen.
    weather.end("Freeze")
    if (world.behavior.era === "legacy") forget(world, 404)
    const error = reset(world)
    Deferred.doneUnsafe(life, Exit.succeed(error))
    const telling = [...world.lines].map((line) => ({ line, told: line.broke(error) }))
    const tell = Effect.forEach(
      telling,
      ({ line, told }) => (line.severed || Deferred.isDoneUnsafe(line.ended) ? Effect.void : told),
      { discard: true }
    )
    return weather.holds("Partition") === undefined
      ? tell
      : background(world, Effect.andThen(weather.over("Partition"), tell))
  })

/** Something that goes on without anyone who waits for it. */
export const background = (world: World, effect: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.asVoid(world.scope === undefined ? Effect.forkDetach(effect) : Effect.forkIn(effect, world.scope))

/** The server forgets all sessions. */
export const forget = (world: World, status: 404 | 400): void => {
  for (const line of world.lines) line.forgotten ??= status
}

/** The end of what is on its way on a line, with why: the session's own end, or that of the server behind it. */
export const gone = (world: World, line: Line): Effect.Effect<never, ConnectionError.ConnectionError> => {
  const ended = Effect.flatMap(Deferred.await(line.ended), (error) => Effect.fail(error))
  if (world.over === "stdio") return ended
  const broken = Effect.flatMap(Deferred.await(world.life), (error) =>
    // Nobody hears of a reset where bytes go nowhere; where they are held up, one does later.
    line.severed ? Effect.never : Effect.andThen(world.weather.over("Partition"), Effect.fail(error))
  )
  return Effect.raceFirst(ended, broken)
}

/** One way of a message: it may never arrive, or late. */
export const passage = (world: World, line: Line): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (line.severed) return Effect.never
    const slow = world.weather.holds("SlowLink")
    const late = slow === undefined ? Effect.void : Effect.sleep(slow.latencyMillis)
    if (world.weather.holds("Partition") === undefined) return late
    return Effect.andThen(world.weather.over("Partition"), line.severed ? Effect.never : late)
  })

/** Whether what the server says now arrives later. */
export const isHeldUp = (world: World, line: Line): boolean =>
  line.frozenUntil > world.now() ||
  (["Freeze", "Partition", "SlowLink"] as const).some((tag) => world.weather.holds(tag) !== undefined)

/** Waits until the server does something again. */
export const thawed = (world: World, line: Line): Effect.Effect<void> =>
  Effect.suspend(() => {
    const left = line.frozenUntil - world.now()
    return left > 0 ? Effect.andThen(Effect.sleep(left), thawed(world, line)) : world.weather.over("Freeze")
  })
