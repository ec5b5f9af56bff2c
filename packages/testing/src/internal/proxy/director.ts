/** Who directs a proxy: reads the script, knows what holds, and keeps what happened. It touches no socket and no process. */
import type { InvalidOptions } from "@mcp-tether/connection"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Fault, SimulatedOnly, Tagged } from "../../Fault.ts"
import type { Passed } from "../../FaultProxy.ts"
import type { Script } from "../../Faults.ts"
import type { Happened } from "../../SimulatedServer.ts"
import { isStrike, type Message, Program, type Strike } from "../program.ts"
import { checkScript } from "../simulated/check.ts"
import { Weather } from "../weather.ts"

/** What a proxy can do. */
export type Proxied = Exclude<Fault, SimulatedOnly>

/** What has to be done to sockets or processes, by whoever has them. */
export interface Actor {
  /** The server dies now. */
  readonly crash: () => void
  readonly freeze: (forMillis: number) => void
  readonly partition: () => void
  readonly sever: () => void
  readonly expire: (status: Tagged<"ExpireSessions">["status"]) => void
  readonly refuse: (status: Tagged<"Unauthorized">["status"]) => void
  readonly noise: (lines: number) => void
}

/** What is in store for one message. */
export interface Strikes {
  readonly crash: Tagged<"Crash">["when"] | undefined
  readonly drop: "request" | "reply" | undefined
  readonly duplicate: "request" | "reply" | undefined
  readonly corrupt: boolean
  readonly unavailable: Tagged<"Unavailable"> | undefined
}

export const unharmed: Strikes = {
  crash: undefined,
  drop: undefined,
  duplicate: undefined,
  corrupt: false,
  unavailable: undefined
}

const handshake: Message = { method: "initialize", tool: undefined }

export interface Director {
  readonly weather: Weather
  readonly passed: Array<Passed>
  readonly happened: Array<Happened>
  readonly now: () => number
  /**
   * A message comes by: what is due happens, and what is in store for it is told. To triggers a handshake is `initialize` in either
   * era; what continues one is nothing to them.
   */
  readonly meet: (message: Message, part?: "handshake" | "continued") => Strikes
  /** The server dies, and is down for as long as the last crash that was met says. */
  readonly crash: () => void
  /** The same, where only one of its processes dies, which is somebody else's to end. */
  readonly down: () => void
  readonly inject: (fault: Proxied) => Effect.Effect<void>
  /** In milliseconds: how long what is on its way has to wait, because nothing gets through, or slowly. */
  readonly delay: () => number
}

export const make = Effect.fnUntraced(function* (
  of: string,
  over: "stdio" | "http",
  script: Script<Proxied>,
  actor: Actor
): Effect.fn.Return<
  { readonly director: Director; readonly play: Effect.Effect<void> },
  InvalidOptions.InvalidOptions,
  Scope.Scope
> {
  yield* checkScript(script, { over, releases: [], canJump: false }, of)
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const now = (): number => clock.currentTimeMillisUnsafe()
  const program = new Program<Proxied>(script)
  const weather = new Weather(now)
  const happened: Array<Happened> = []
  const passed: Array<Passed> = []
  const run = Effect.runForkWith(yield* Effect.context())
  let downMillis = 0

  const note = (fault: Proxied, to?: Message): void => {
    happened.push({ order: happened.length + 1, at: now(), fault, to })
  }

  const down = (): void => {
    weather.downUntil = Math.max(weather.downUntil, now() + downMillis)
    downMillis = 0
  }

  const crash = (): void => {
    down()
    actor.crash()
  }

  const flap = ({ everyMillis, times }: Tagged<"Flap">): Effect.Effect<void> =>
    Effect.forEach(
      Array.from({ length: times }),
      () =>
        Effect.andThen(
          Effect.sync(() => crash()),
          Effect.sleep(everyMillis)
        ),
      { discard: true }
    )

  /** Begins what lasts, and does what does not. */
  const begin = (fault: Exclude<Proxied, Strike> | Tagged<"Unavailable">): void => {
    switch (fault._tag) {
      case "Crash":
        downMillis = fault.downMillis
        crash()
        return
      case "RefuseStarts":
        weather.startsToRefuse += fault.times
        return
      case "HangHandshakes":
        weather.handshakesToHang += fault.times
        return
      case "Freeze":
        weather.begin(fault)
        actor.freeze(fault.forMillis)
        return
      case "Partition":
        weather.begin(fault)
        actor.partition()
        return
      case "SlowLink":
      case "Unavailable":
      case "SilentToPing":
        weather.begin(fault)
        return
      case "HalfOpen":
        actor.sever()
        return
      case "ExpireSessions":
        actor.expire(fault.status)
        return
      case "Unauthorized":
        actor.refuse(fault.status)
        return
      case "Noise":
        actor.noise(fault.lines)
        return
      case "Flap":
        run(Effect.forkIn(flap(fault), scope))
    }
  }

  const inject = (fault: Proxied): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (isStrike(fault)) {
        program.arm(fault)
        return Effect.void
      }
      note(fault)
      if (fault._tag === "Flap") return flap(fault)
      begin(fault)
      return Effect.void
    })

  const director: Director = {
    weather,
    passed,
    happened,
    now,
    crash,
    down,
    inject,
    meet: (message, part) => {
      passed.push({ at: now(), method: message.method, tool: message.tool })
      let strikes = unharmed
      if (part === "continued") return strikes
      for (const fault of program.dueOn(part === "handshake" ? handshake : message)) {
        note(fault, message)
        if (fault._tag === "Crash") {
          downMillis = fault.downMillis
          strikes = { ...strikes, crash: fault.when }
        } else if (isStrike(fault)) strikes = { ...strikes, ...strike(fault) }
        else begin(fault)
      }
      return strikes
    },
    delay: () =>
      Math.max(weather.left("Partition"), weather.left("Freeze")) + (weather.holds("SlowLink")?.latencyMillis ?? 0)
  }

  const play = Effect.gen(function* () {
    let played = 0
    for (const { fault, millis } of program.timed) {
      if (millis > played) yield* Effect.sleep(millis - played)
      played = millis
      yield* Effect.forkIn(inject(fault), scope, { startImmediately: true })
    }
  })
  return { director, play }
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
