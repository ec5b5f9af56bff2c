/**
 * What can go wrong between a client and its server, as data. `Faults` has the constructors, and says when each fault happens.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

/**
 * Schema of the times in faults and scripts: whole milliseconds, a day at most.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Millis = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400_000 }))
/**
 * Schema of the counts in faults and scripts.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Count = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))

/**
 * The server dies. `when` is the moment in the life of the message that triggers it; a crash at a time is at once, whatever `when`
 * says. `downMillis`: how long it cannot be started, or reached, after that.
 *
 * - `"beforeReceiving"`: the message has been sent, and nobody reads it. It did not run, but its sender cannot know.
 * - `"afterReceiving"`: the server has read it, and has not begun with it.
 * - `"afterEffect"`: it has run, and there is no reply.
 * - `"afterReplying"`: the reply has arrived.
 *
 * @category faults
 * @since 0.1.0
 */
export const Crash = Schema.TaggedStruct("Crash", {
  when: Schema.Literals(["beforeReceiving", "afterReceiving", "afterEffect", "afterReplying"]),
  downMillis: Millis
})

/**
 * The next `times` starts fail: the process exits, or the connection is refused.
 *
 * @category faults
 * @since 0.1.0
 */
export const RefuseStarts = Schema.TaggedStruct("RefuseStarts", { times: Count })

/**
 * The next `times` handshakes are never answered.
 *
 * @category faults
 * @since 0.1.0
 */
export const HangHandshakes = Schema.TaggedStruct("HangHandshakes", { times: Count })

/**
 * The server stops doing anything (SIGSTOP, a long garbage collection), and goes on afterwards with what has arrived meanwhile. Over
 * stdio a process that is started in the meantime is not frozen.
 *
 * @category faults
 * @since 0.1.0
 */
export const Freeze = Schema.TaggedStruct("Freeze", { forMillis: Millis })

/**
 * The path of all present sessions is gone, and nobody says so (a NAT that has forgotten them): what is sent, in either direction,
 * never arrives. New sessions work.
 *
 * @category faults
 * @since 0.1.0
 */
export const HalfOpen = Schema.TaggedStruct("HalfOpen", {})

/**
 * Nothing gets through, either way, until it is over. What was sent meanwhile arrives then, as TCP sees to it. New sessions wait, or
 * cannot be opened.
 *
 * @category faults
 * @since 0.1.0
 */
export const Partition = Schema.TaggedStruct("Partition", { forMillis: Millis })

/**
 * Every message takes this much longer, each way.
 *
 * @category faults
 * @since 0.1.0
 */
export const SlowLink = Schema.TaggedStruct("SlowLink", { latencyMillis: Millis, forMillis: Millis })

/**
 * A message is lost.
 *
 * @category faults
 * @since 0.1.0
 */
export const Drop = Schema.TaggedStruct("Drop", { what: Schema.Literals(["request", "reply"]) })

/**
 * A message arrives twice. A request that does is carried out twice by most servers, with one and the same id.
 *
 * @category faults
 * @since 0.1.0
 */
export const Duplicate = Schema.TaggedStruct("Duplicate", { what: Schema.Literals(["request", "reply"]) })

/**
 * A reply is not what it should be. Over stdio it is broken JSON, which belongs to no request, so that its request stays without an
 * answer; over HTTP it is HTML with status 200.
 *
 * @category faults
 * @since 0.1.0
 */
export const Corrupt = Schema.TaggedStruct("Corrupt", {})

/**
 * The server forgets all sessions, and says so with this status to whoever comes with one (HTTP). Most say 404, many 400.
 *
 * @category faults
 * @since 0.1.0
 */
export const ExpireSessions = Schema.TaggedStruct("ExpireSessions", { status: Schema.Literals([404, 400]) })

/**
 * The server refuses everyone's credentials until they are refreshed (HTTP): for a simulated server, until
 * `server.refreshCredentials`.
 *
 * @category faults
 * @since 0.1.0
 */
export const Unauthorized = Schema.TaggedStruct("Unauthorized", { status: Schema.Literals([401, 403]) })

/**
 * The server, or a gateway before it, answers with this status (HTTP), and with `Retry-After` where there is a `retryAfterMillis`. The
 * request is not carried out. It lasts for `forMillis`; with 0 it strikes one request.
 *
 * @category faults
 * @since 0.1.0
 */
export const Unavailable = Schema.TaggedStruct("Unavailable", {
  status: Schema.Literals([429, 502, 503, 504]),
  retryAfterMillis: Schema.optionalKey(Millis),
  forMillis: Millis
})

/**
 * The server crashes `times` times, once every `everyMillis`; the first time at once.
 *
 * @category faults
 * @since 0.1.0
 */
export const Flap = Schema.TaggedStruct("Flap", { everyMillis: Millis.check(Schema.isGreaterThan(0)), times: Count })

/**
 * Lines on stdout, between the messages, that are no messages (stdio).
 *
 * @category faults
 * @since 0.1.0
 */
export const Noise = Schema.TaggedStruct("Noise", { lines: Count })

/**
 * The server answers everything but pings.
 *
 * @category faults
 * @since 0.1.0
 */
export const SilentToPing = Schema.TaggedStruct("SilentToPing", { forMillis: Millis })

/**
 * Another release of the server, with other tools. It is restarted with them, or changes them while it runs, and says so (`"live"`).
 * Simulated only; the releases are declared in the options of the server.
 *
 * @category faults
 * @since 0.1.0
 */
export const Deploy = Schema.TaggedStruct("Deploy", {
  release: Schema.String,
  how: Schema.Literals(["restart", "live"])
})

/**
 * The wall clock jumps forward while no timer runs, as when a laptop sleeps. Simulated only, and only under a `JumpingClock`.
 *
 * @category faults
 * @since 0.1.0
 */
export const ClockJump = Schema.TaggedStruct("ClockJump", { byMillis: Millis })

/**
 * Schema of {@link Fault}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Fault = Schema.Union([
  Crash,
  RefuseStarts,
  HangHandshakes,
  Freeze,
  HalfOpen,
  Partition,
  SlowLink,
  Drop,
  Duplicate,
  Corrupt,
  ExpireSessions,
  Unauthorized,
  Unavailable,
  Flap,
  Noise,
  SilentToPing,
  Deploy,
  ClockJump
])

/**
 * Something that goes wrong.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = typeof Fault.Type

/**
 * The fault of one kind.
 *
 * @category models
 * @since 0.1.0
 */
export type Tagged<Tag extends Fault["_tag"]> = Extract<Fault, { readonly _tag: Tag }>

/**
 * What only HTTP knows: statuses.
 *
 * @category models
 * @since 0.1.0
 */
export type HttpOnly = Tagged<"ExpireSessions" | "Unauthorized" | "Unavailable">

/**
 * What only stdio knows: lines between the messages.
 *
 * @category models
 * @since 0.1.0
 */
export type StdioOnly = Tagged<"Noise">

/**
 * What nothing between a client and a server can do.
 *
 * @category models
 * @since 0.1.0
 */
export type SimulatedOnly = Tagged<"Deploy" | "ClockJump">

/**
 * What can happen to a server over stdio, simulated or real.
 *
 * @category models
 * @since 0.1.0
 */
export type StdioFault = Exclude<Fault, HttpOnly | SimulatedOnly>

/**
 * What can happen to a server over HTTP, simulated or real.
 *
 * @category models
 * @since 0.1.0
 */
export type HttpFault = Exclude<Fault, StdioOnly | SimulatedOnly>

/**
 * A fault in words.
 *
 * @category getters
 * @since 0.1.0
 */
export const describe = (fault: Fault): string => {
  switch (fault._tag) {
    case "Crash":
      return `crash${moments[fault.when]}${fault.downMillis === 0 ? "" : `, down for ${span(fault.downMillis)}`}`
    case "RefuseStarts":
      return `${plural(fault.times, "start")} refused`
    case "HangHandshakes":
      return `${plural(fault.times, "handshake")} never answered`
    case "Freeze":
      return `frozen for ${span(fault.forMillis)}`
    case "HalfOpen":
      return "bytes go nowhere"
    case "Partition":
      return `partition for ${span(fault.forMillis)}`
    case "SlowLink":
      return `${span(fault.latencyMillis)} more each way for ${span(fault.forMillis)}`
    case "Drop":
      return `the ${fault.what} is lost`
    case "Duplicate":
      return `the ${fault.what} arrives twice`
    case "Corrupt":
      return "the reply is garbage"
    case "ExpireSessions":
      return `sessions forgotten, with ${fault.status}`
    case "Unauthorized":
      return `credentials refused with ${fault.status}`
    case "Unavailable": {
      const hint = fault.retryAfterMillis === undefined ? "" : `, Retry-After ${span(fault.retryAfterMillis)}`
      return `${fault.status}${hint}${fault.forMillis === 0 ? "" : ` for ${span(fault.forMillis)}`}`
    }
    case "Flap":
      return `${plural(fault.times, "crash", "crashes")}, one every ${span(fault.everyMillis)}`
    case "Noise":
      return `${plural(fault.lines, "line")} of noise on stdout`
    case "SilentToPing":
      return `pings not answered for ${span(fault.forMillis)}`
    case "Deploy":
      return `release ${fault.release}, ${fault.how === "restart" ? "with a restart" : "live"}`
    case "ClockJump":
      return `the clock jumps by ${span(fault.byMillis)}`
  }
}

const moments = {
  beforeReceiving: "",
  afterReceiving: " after receiving",
  afterEffect: " after the effect",
  afterReplying: " after the reply"
} as const

const span = (millis: number): string => Duration.format(Duration.millis(millis))

const plural = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`
