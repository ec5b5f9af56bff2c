/**
 * Faults, when they happen, and scripts of them.
 *
 * A script is a list of steps, each a fault and its trigger: a time, or a message. `SimulatedServer` plays it in virtual time, and
 * `FaultProxy` on real sockets and real processes. Scripts are plain data (`Script` is their schema), so they can be printed, sent
 * to another process, generated from a seed ({@link random}) and shrunk by a property test.
 *
 * A fault that strikes a message (`drop`, `corrupt`, a crash in the middle of a call) is best triggered by that message, with {@link on}.
 * At a time, a fault that needs a message waits for the next one; a crash does not wait, and happens at once.
 *
 * @example
 * ```ts
 * import { Faults } from "@mcp-tether/testing"
 *
 * const badDay = Faults.script(
 *   Faults.at("5 seconds", Faults.crash({ downFor: "3 seconds" })),
 *   Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect" })),
 *   Faults.at("1 minute", Faults.partition("20 seconds"))
 * )
 * badDay.map(Faults.describe) // => ["at 5s: crash, down for 3s", "on the 1st call of pay: crash after the effect", "at 1m: partition for 20s"]
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as Faulty from "./Fault.ts"
import type { Fault, HttpFault, StdioFault, Tagged } from "./Fault.ts"
import * as SeededRandom from "./internal/seededRandom.ts"

/**
 * Schema of {@link Trigger}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Trigger = Schema.Union([
  Schema.TaggedStruct("At", { millis: Faulty.Millis }),
  Schema.TaggedStruct("On", {
    method: Schema.optionalKey(Schema.String),
    tool: Schema.optionalKey(Schema.String),
    nth: Faulty.Count,
    times: Faulty.Count
  })
])

/**
 * When a fault happens: at a time after the beginning of the script, or on the `nth` to `nth + times - 1`st message that matches.
 * The handshake is the message `initialize`, in either era.
 *
 * @category models
 * @since 0.1.0
 */
export type Trigger = typeof Trigger.Type

/**
 * A fault, and when it happens.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step<out F extends Fault = Fault> {
  readonly when: Trigger
  readonly fault: F
}

/**
 * What goes wrong, and when. A step on messages counts them from the beginning of the script, and each step counts for itself.
 *
 * @category models
 * @since 0.1.0
 */
export type Script<F extends Fault = Fault> = ReadonlyArray<Step<F>>

/**
 * Schema of {@link Script}: what a property test generates and shrinks, and how a script gets into another process.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Script = Schema.Array(Schema.Struct({ when: Trigger, fault: Faulty.Fault }))

/**
 * A script, made of steps and of other scripts. The order of its parts does not matter.
 *
 * @category combinators
 * @since 0.1.0
 */
export function script<const Parts extends ReadonlyArray<Step | Script>>(
  ...parts: Parts
): Script<FaultIn<Parts[number]>>
export function script(...parts: ReadonlyArray<Step | Script>): Script {
  return parts.flatMap((part) => ("fault" in part ? [part] : part))
}

/**
 * The faults of a step or a script.
 *
 * @category models
 * @since 0.1.0
 */
export type FaultIn<Part extends Step | Script> =
  Part extends Step<infer F> ? F : Part extends Script<infer F> ? F : never

/**
 * A step at a time, counted from the beginning of the script: from when the server, or the proxy, is made.
 *
 * @category combinators
 * @since 0.1.0
 */
export const at = <F extends Fault>(time: Duration.Input, fault: F): Step<F> => ({
  when: { _tag: "At", millis: millisOf(time) },
  fault
})

/**
 * A step on a request: on the first that matches, or on the `nth` and the `times - 1` matching ones that follow it. A `tool` matches the
 * calls of that tool. With neither `method` nor `tool` every request but the handshake matches, the connection's own pings included.
 *
 * What counts is what is sent. A call that the connection sends again counts twice: where a crash strikes the 2nd call of `pay`, the
 * 3rd is the same payment if it is sent again, and else the next one.
 *
 * @category combinators
 * @since 0.1.0
 */
export const on = <F extends Fault>(
  message: {
    readonly method?: string | undefined
    readonly tool?: string | undefined
    readonly nth?: number | undefined
    readonly times?: number | undefined
  },
  fault: F
): Step<F> => {
  const { method, nth = 1, times = 1, tool } = message
  return {
    when: {
      _tag: "On",
      ...(method === undefined ? {} : { method }),
      ...(tool === undefined ? {} : { tool }),
      nth,
      times
    },
    fault
  }
}

/**
 * The same script, that much later. What happens on messages is not moved.
 *
 * @category combinators
 * @since 0.1.0
 */
export const later = <F extends Fault>(self: Script<F>, by: Duration.Input): Script<F> =>
  self.map((step) =>
    step.when._tag === "At" ? { ...step, when: { ...step.when, millis: step.when.millis + millisOf(by) } } : step
  )

/**
 * The server dies: at once, or at that moment of the message that triggers it. Default: before it has received the message, and it can
 * be started again at once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const crash = (
  options: { readonly when?: Tagged<"Crash">["when"]; readonly downFor?: Duration.Input } = {}
): Tagged<"Crash"> => ({
  _tag: "Crash",
  when: options.when ?? "beforeReceiving",
  downMillis: millisOf(options.downFor ?? 0)
})

/**
 * The next starts fail: so many.
 *
 * @category constructors
 * @since 0.1.0
 */
export const refuseStarts = (times: number): Tagged<"RefuseStarts"> => ({ _tag: "RefuseStarts", times })

/**
 * The next handshakes are never answered. Default: one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const hangHandshakes = (times = 1): Tagged<"HangHandshakes"> => ({ _tag: "HangHandshakes", times })

/**
 * The server does nothing for a time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const freeze = (duration: Duration.Input): Tagged<"Freeze"> => ({
  _tag: "Freeze",
  forMillis: millisOf(duration)
})

/**
 * What the present sessions send, either way, never arrives, and nobody says so. New sessions work.
 *
 * @category constructors
 * @since 0.1.0
 */
export const halfOpen: Tagged<"HalfOpen"> = { _tag: "HalfOpen" }

/**
 * Nothing gets through for a time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const partition = (duration: Duration.Input): Tagged<"Partition"> => ({
  _tag: "Partition",
  forMillis: millisOf(duration)
})

/**
 * Every message takes `latency` longer, each way, for a time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const slowLink = (options: {
  readonly latency: Duration.Input
  readonly for: Duration.Input
}): Tagged<"SlowLink"> => ({
  _tag: "SlowLink",
  latencyMillis: millisOf(options.latency),
  forMillis: millisOf(options.for)
})

/**
 * A message is lost.
 *
 * @category constructors
 * @since 0.1.0
 */
export const drop = (what: "request" | "reply"): Tagged<"Drop"> => ({ _tag: "Drop", what })

/**
 * A message arrives twice.
 *
 * @category constructors
 * @since 0.1.0
 */
export const duplicate = (what: "request" | "reply"): Tagged<"Duplicate"> => ({ _tag: "Duplicate", what })

/**
 * A reply that cannot be read.
 *
 * @category constructors
 * @since 0.1.0
 */
export const corrupt: Tagged<"Corrupt"> = { _tag: "Corrupt" }

/**
 * The server forgets all sessions. Default: it says so with 404.
 *
 * @category constructors
 * @since 0.1.0
 */
export const expireSessions = (status: 404 | 400 = 404): Tagged<"ExpireSessions"> => ({
  _tag: "ExpireSessions",
  status
})

/**
 * The server refuses all credentials, until they are refreshed. Default: with 401.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unauthorized = (status: 401 | 403 = 401): Tagged<"Unauthorized"> => ({ _tag: "Unauthorized", status })

/**
 * The server answers with a status that asks for patience. Default: 503, without `Retry-After`, to one request.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unavailable = (
  options: {
    readonly status?: Tagged<"Unavailable">["status"]
    readonly retryAfter?: Duration.Input
    readonly for?: Duration.Input
  } = {}
): Tagged<"Unavailable"> => ({
  _tag: "Unavailable",
  status: options.status ?? 503,
  ...(options.retryAfter === undefined ? {} : { retryAfterMillis: millisOf(options.retryAfter) }),
  forMillis: millisOf(options.for ?? 0)
})

/**
 * The server crashes so many times, once every so often; the first time at once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const flap = (options: { readonly every: Duration.Input; readonly times: number }): Tagged<"Flap"> => ({
  _tag: "Flap",
  everyMillis: millisOf(options.every),
  times: options.times
})

/**
 * Lines on stdout that are no messages. Default: one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noise = (lines = 1): Tagged<"Noise"> => ({ _tag: "Noise", lines })

/**
 * Pings are not answered, for a time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const silentToPing = (duration: Duration.Input): Tagged<"SilentToPing"> => ({
  _tag: "SilentToPing",
  forMillis: millisOf(duration)
})

/**
 * The simulated server becomes another of its `releases`. Default: it is restarted for it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deploy = (release: string, how: "restart" | "live" = "restart"): Tagged<"Deploy"> => ({
  _tag: "Deploy",
  release,
  how
})

/**
 * The wall clock jumps forward while no timer runs. It needs a `JumpingClock`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const clockJump = (by: Duration.Input): Tagged<"ClockJump"> => ({ _tag: "ClockJump", byMillis: millisOf(by) })

/**
 * A script drawn from a seed: the same seed and options give the same script. A fault that lasts, lasts at most a fifth of `during`.
 *
 * Not drawn are doubled requests, with which a server does twice what it was asked once, whatever its client does; refused credentials,
 * which only somebody else can heal; and what is simulated only, deployments and jumps of the clock.
 *
 * @category constructors
 * @since 0.1.0
 */
export function random(seed: string | number, options: RandomOptions & { readonly over: "stdio" }): Script<StdioFault>
export function random(seed: string | number, options: RandomOptions & { readonly over: "http" }): Script<HttpFault>
export function random(
  seed: string | number,
  { during, faults = 10, over, tools = [] }: RandomOptions & { readonly over: "stdio" | "http" }
): Script<StdioFault | HttpFault> {
  const { nextDoubleUnsafe } = SeededRandom.make(seed, 0)
  const whole = (below: number): number => Math.floor(nextDoubleUnsafe() * below)
  const total = millisOf(during)
  const span = (): number => 1 + whole(Math.max(1, Math.floor(total / 5)))
  const draw = (): StdioFault | HttpFault => {
    const kinds: ReadonlyArray<(StdioFault | HttpFault)["_tag"]> =
      over === "stdio" ? [...anyKinds, ...stdioKinds] : [...anyKinds, ...httpKinds]
    switch (kinds[whole(kinds.length)]) {
      case "RefuseStarts":
        return refuseStarts(1 + whole(4))
      case "HangHandshakes":
        return hangHandshakes()
      case "Freeze":
        return freeze(span())
      case "HalfOpen":
        return halfOpen
      case "Partition":
        return partition(span())
      case "SlowLink":
        return slowLink({ latency: 1 + whole(2_000), for: span() })
      case "Drop":
        return drop(whole(2) === 0 ? "request" : "reply")
      case "Duplicate":
        return duplicate("reply")
      case "Corrupt":
        return corrupt
      case "Flap":
        return flap({ every: 1 + whole(Math.min(3_000, total / 20)), times: 1 + whole(4) })
      case "SilentToPing":
        return silentToPing(span())
      case "Noise":
        return noise(1 + whole(100))
      case "ExpireSessions":
        return expireSessions(whole(2) === 0 ? 404 : 400)
      case "Unavailable":
        return unavailable({
          status: ([429, 502, 503, 504] as const)[whole(4)] ?? 503,
          ...(whole(2) === 0 ? {} : { retryAfter: 1 + whole(5_000) }),
          ...(whole(2) === 0 ? {} : { for: span() })
        })
      default:
        return crash({
          when:
            (["beforeReceiving", "afterReceiving", "afterEffect", "afterReplying"] as const)[whole(4)] ?? "afterEffect",
          ...(whole(2) === 0 ? {} : { downFor: span() })
        })
    }
  }
  return Array.from({ length: faults }, () =>
    tools.length > 0 && whole(2) === 0
      ? on({ tool: tools[whole(tools.length)], nth: 1 + whole(8) }, draw())
      : at(whole(total), draw())
  )
}

/**
 * Options of {@link random}.
 *
 * @category options
 * @since 0.1.0
 */
export interface RandomOptions {
  /** The faults that happen at a time begin between the start of the script and this. */
  readonly during: Duration.Input
  /** How many there are. Default: 10. */
  readonly faults?: number | undefined
  /** About half of the faults strike one of the first 8 calls of one of these tools. Default: none, and all begin at some time. */
  readonly tools?: ReadonlyArray<string> | undefined
}

/** The more often a kind stands here, the more often it is drawn. */
const anyKinds = [
  "Crash",
  "Crash",
  "Crash",
  "RefuseStarts",
  "HangHandshakes",
  "Freeze",
  "HalfOpen",
  "Partition",
  "SlowLink",
  "Drop",
  "Duplicate",
  "Corrupt",
  "Flap",
  "SilentToPing"
] as const
const stdioKinds = ["Noise"] as const
const httpKinds = ["ExpireSessions", "ExpireSessions", "Unavailable", "Unavailable"] as const

/**
 * A step in words.
 *
 * @category getters
 * @since 0.1.0
 */
export const describe = ({ fault, when }: Step): string => `${describeTrigger(when)}: ${Faulty.describe(fault)}`

const describeTrigger = (when: Trigger): string => {
  if (when._tag === "At") return `at ${Duration.format(Duration.millis(when.millis))}`
  const message = when.tool !== undefined ? `call of ${when.tool}` : when.method === undefined ? "request" : when.method
  const last = when.nth + when.times - 1
  return when.times === 1
    ? `on the ${ordinal(when.nth)} ${message}`
    : `on the ${ordinal(when.nth)} to ${ordinal(last)} ${message}`
}

const ordinal = (n: number): string => {
  const teen = n % 100 >= 11 && n % 100 <= 13
  return `${n}${teen ? "th" : (({ 1: "st", 2: "nd", 3: "rd" } as Record<number, string>)[n % 10] ?? "th")}`
}

/** What is no number stays none, and is found where a server is to play it; `Duration` takes it for zero. */
const millisOf = (duration: Duration.Input): number =>
  Number.isNaN(duration) ? Number.NaN : Math.round(Duration.toMillis(Duration.fromInputUnsafe(duration)))
