/** What a fault does to a simulated server that it happens to. */
import type { McpSession } from "@mcp-tether/connection"
import type { SubscriptionFilter } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import type { Fault, Tagged } from "../../Fault.ts"
import { isStrike, type Strike } from "../program.ts"
import { die, forget, type Line, note, type World } from "./world.ts"

/** What is in store for one message. */
export interface Strikes {
  readonly crash: Tagged<"Crash">["when"] | undefined
  readonly downMillis: number
  readonly drop: "request" | "reply" | undefined
  readonly duplicate: "request" | "reply" | undefined
  readonly corrupt: boolean
  readonly unavailable: Tagged<"Unavailable"> | undefined
}

const unharmed: Strikes = {
  crash: undefined,
  downMillis: 0,
  drop: undefined,
  duplicate: undefined,
  corrupt: false,
  unavailable: undefined
}

/** A message is sent: the faults that are due on it happen, and what is in store for itself is told. */
export const meet = (
  world: World,
  message: { readonly method: string; readonly tool: string | undefined }
): Effect.Effect<Strikes> =>
  Effect.suspend(() => {
    const due = world.program.dueOn(message)
    if (due.length === 0) return Effect.succeed(unharmed)
    let strikes = unharmed
    const others: Array<Fault> = []
    for (const fault of due) {
      note(world, fault, message)
      if (fault._tag === "Crash") strikes = { ...strikes, crash: fault.when, downMillis: fault.downMillis }
      else if (isStrike(fault)) strikes = { ...strikes, ...strike(fault) }
      else others.push(fault)
    }
    return Effect.as(
      Effect.forEach(others, (fault) => begin(world, fault), { discard: true }),
      strikes
    )
  })

const strike = (fault: Strike): Partial<Strikes> => {
  switch (fault._tag) {
    case "Drop":
      return { drop: fault.what }
    case "Duplicate":
      return { duplicate: fault.what }
    case "Corrupt":
      return { corrupt: true }
    case "Unavailable":
      return { unavailable: fault }
  }
}

/** A fault happens now, whoever is there. What strikes a message waits for one. */
export const inject = (world: World, fault: Fault): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (isStrike(fault)) {
      world.program.arm(fault)
      return Effect.void
    }
    note(world, fault)
    return fault._tag === "Flap" ? flap(world, fault) : begin(world, fault)
  })

/** Begins what lasts, and does what does not. */
const begin = (world: World, fault: Fault): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { weather } = world
    switch (fault._tag) {
      case "Crash":
        return Effect.sync(() => die(world, fault))
      case "RefuseStarts":
        weather.startsToRefuse += fault.times
        return Effect.void
      case "HangHandshakes":
        weather.handshakesToHang += fault.times
        return Effect.void
      case "Freeze":
        if (world.over === "http") weather.begin(fault)
        // Each process is frozen by itself; one that is started later is not.
        else
          for (const line of world.lines) line.frozenUntil = Math.max(line.frozenUntil, world.now() + fault.forMillis)
        return Effect.void
      case "HalfOpen":
        for (const line of world.lines) line.severed = true
        return Effect.void
      case "Partition":
      case "SlowLink":
      case "Unavailable":
      case "SilentToPing":
        weather.begin(fault)
        return Effect.void
      case "ExpireSessions":
        forget(world, fault.status)
        return Effect.void
      case "Unauthorized":
        world.refuses = fault.status
        return Effect.void
      case "Flap":
        return world.scope === undefined
          ? flap(world, fault)
          : Effect.asVoid(Effect.forkIn(flap(world, fault), world.scope))
      case "Noise":
        return Effect.forEach(live(world), (session) => session.hear, { discard: true })
      case "Deploy":
        return deploy(world, fault)
      case "ClockJump":
        return world.jump?.(fault.byMillis) ?? Effect.void
      case "Drop":
      case "Duplicate":
      case "Corrupt":
        return Effect.void
    }
  })

const flap = (world: World, { everyMillis, times }: Tagged<"Flap">): Effect.Effect<void> =>
  Effect.forEach(
    Array.from({ length: times }),
    () =>
      Effect.andThen(
        Effect.sync(() => die(world, { downMillis: 0 })),
        Effect.sleep(everyMillis)
      ),
    { discard: true }
  )

const deploy = (world: World, { how, release }: Tagged<"Deploy">): Effect.Effect<void> =>
  Effect.suspend(() => {
    world.release = release
    if (how === "restart") return Effect.sync(() => die(world, { downMillis: 0, exitCode: 0 }))
    for (const line of world.lines) line.release = release
    return Effect.forEach(
      [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed"
      ],
      (method) => notify(world, { method, params: undefined }),
      { discard: true }
    )
  })

/** The sessions that have not ended. */
export const live = (world: World) => world.sessions.filter((session) => session.endedAt() === undefined)

/** Tells all sessions; in the modern era, those that asked to be told. */
export const notify = (world: World, notification: McpSession.ServerNotification): Effect.Effect<void> =>
  Effect.forEach(
    live(world).filter((session) => session.info.era === "legacy" || isAskedFor(session.book.filter, notification)),
    (session) => session.tell(notification),
    { discard: true }
  )

const isAskedFor = (
  filter: SubscriptionFilter | undefined,
  { method, params }: McpSession.ServerNotification
): boolean => {
  switch (method) {
    case "notifications/tools/list_changed":
      return filter?.toolsListChanged === true
    case "notifications/prompts/list_changed":
      return filter?.promptsListChanged === true
    case "notifications/resources/list_changed":
      return filter?.resourcesListChanged === true
    case "notifications/resources/updated":
      return filter?.resourceSubscriptions?.includes(String(params?.["uri"])) === true
    default:
      return true
  }
}

/** A crash at this moment of a message: of the session's process, or of the server of all. */
export const crashAt = (world: World, line: Line, strikes: Strikes): Effect.Effect<never> =>
  Effect.andThen(
    Effect.sync(() => die(world, strikes, line)),
    Effect.never
  )
