/** What a fault does to a simulated server that it happens to. */
import type { McpSession } from "@mcp-tether/connection"
import type { SubscriptionFilter } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Faulty from "../../Fault.ts"
import type { Fault, Tagged } from "../../Fault.ts"
import { isStrike, type Message, type Strike } from "../program.ts"
import { die, forget, type Line, note, type World } from "./world.ts"

/** What is in store for one message. */
export interface Strikes {
  readonly message: Message
  /** It happens at its moment, if the message gets that far. */
  readonly crash: Tagged<"Crash"> | undefined
  readonly drop: ReadonlySet<"request" | "reply">
  readonly duplicate: ReadonlySet<"request" | "reply">
  readonly corrupt: boolean
  readonly unavailable: Tagged<"Unavailable"> | undefined
}

const unharmed: Omit<Strikes, "message"> = {
  crash: undefined,
  drop: new Set(),
  duplicate: new Set(),
  corrupt: false,
  unavailable: undefined
}

/** A message is sent: the faults that are due on it happen, and what is in store for itself is told. */
export const meet = (world: World, message: Message): Effect.Effect<Strikes> =>
  Effect.suspend(() => {
    const due = world.program.dueOn(message)
    let strikes: Strikes = { ...unharmed, message }
    if (due.length === 0) return Effect.succeed(strikes)
    const others: Array<Fault> = []
    for (const fault of due) {
      if (fault._tag === "Crash") {
        strikes = { ...strikes, crash: sooner(fault, strikes.crash) }
        continue
      }
      note(world, fault, message)
      if (isStrike(fault)) strikes = { ...strikes, ...strike(fault, strikes) }
      else others.push(fault)
    }
    return Effect.as(
      Effect.forEach(others, (fault) => begin(world, fault), { discard: true }),
      strikes
    )
  })

/** Of two crashes on one message the one whose moment comes first: nobody dies twice. */
const sooner = (crash: Tagged<"Crash">, other: Tagged<"Crash"> | undefined): Tagged<"Crash"> =>
  other === undefined || moments.indexOf(crash.when) < moments.indexOf(other.when) ? crash : other

const moments: ReadonlyArray<Tagged<"Crash">["when"]> = Faulty.Crash.fields.when.literals

const strike = (fault: Strike, { drop, duplicate }: Strikes): Partial<Strikes> => {
  switch (fault._tag) {
    case "Drop":
      return { drop: new Set([...drop, fault.what]) }
    case "Duplicate":
      return { duplicate: new Set([...duplicate, fault.what]) }
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
        return die(world, fault)
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
    () => Effect.andThen(die(world, { downMillis: 0 }), Effect.sleep(everyMillis)),
    { discard: true }
  )

const deploy = (world: World, { how, release }: Tagged<"Deploy">): Effect.Effect<void> =>
  Effect.suspend(() => {
    world.release = release
    // Sessions that outlive a restart (HTTP, modern era) are served by the new release, too.
    if (how === "live" || world.over === "http") for (const line of world.lines) line.release = release
    if (how === "restart") return die(world, { downMillis: 0, exitCode: 0 })
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
export const crashAt = (world: World, line: Line, crash: Tagged<"Crash">, message: Message): Effect.Effect<never> =>
  Effect.andThen(crashed(world, line, crash, message), Effect.never)

/** The server dies of a message. */
export const crashed = (world: World, line: Line, crash: Tagged<"Crash">, message: Message): Effect.Effect<void> =>
  Effect.suspend(() => {
    note(world, crash, message)
    return die(world, crash, line)
  })
