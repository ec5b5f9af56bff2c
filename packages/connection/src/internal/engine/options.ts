/** The options of a connection and of a request, decoded. */
import packageJson from "../../../package.json" with { type: "json" }
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Heartbeat from "../../Heartbeat.ts"
import type { InvalidOptions } from "../../InvalidOptions.ts"
import type { Options as ConnectionOptions, RequestOptions } from "../../McpConnection.ts"
import type { OpenContext } from "../../McpTransport.ts"
import * as ReconnectPolicy from "../../ReconnectPolicy.ts"
import * as ReplayPolicy from "../../ReplayPolicy.ts"
import { InvalidRequest } from "../../RequestError.ts"
import { ToolFilter } from "../../ToolFilter.ts"
import {
  CountOption,
  decode as decodeOptions,
  DurationOption,
  SpanOption,
  valueOption,
  WaitOption
} from "../options.ts"
import { toolOf } from "../tool.ts"
import type * as Requests from "./requests.ts"

const HeartbeatOption = Schema.Union([
  Schema.Literal("off"),
  Schema.Struct({
    interval: Schema.optional(SpanOption),
    timeout: Schema.optional(SpanOption),
    misses: Schema.optional(CountOption(1)),
    busyGrace: Schema.optional(SpanOption)
  })
])

const requestFields = {
  wait: Schema.optional(WaitOption),
  replay: Schema.optional(ReplayPolicy.ReplayPolicy)
}

const isTransport = (u: unknown): u is object =>
  Predicate.hasProperty(u, "open") &&
  Predicate.isFunction(u.open) &&
  Predicate.hasProperty(u, "label") &&
  Predicate.isString(u.label) &&
  Predicate.hasProperty(u, "validate") &&
  Effect.isEffect(u.validate)

const FunctionOption = valueOption((u): u is object => Predicate.isFunction(u), "a function that returns an Effect")

const isRoot = (u: unknown): u is object => Predicate.hasProperty(u, "uri") && Predicate.isString(u.uri)

const ConnectionSchema = Schema.Struct({
  ...requestFields,
  transport: valueOption(isTransport, "a McpTransport, like McpTransport.stdio({ command })"),
  name: Schema.optional(Schema.NonEmptyString),
  client: Schema.optional(Schema.Struct({ name: Schema.NonEmptyString, version: Schema.NonEmptyString })),
  start: Schema.optional(Schema.Literals(["required", "background", "lazy"])),
  startWithin: Schema.optional(DurationOption),
  startupTimeout: Schema.optional(DurationOption),
  policy: Schema.optional(
    valueOption(
      (u): u is object => Schedule.isSchedule(u),
      "a Schedule over ConnectionError, like ReconnectPolicy.bounded(5)"
    )
  ),
  stableAfter: Schema.optional(DurationOption),
  requestTimeout: Schema.optional(DurationOption),
  heartbeat: Schema.optional(HeartbeatOption),
  maxWaiting: Schema.optional(CountOption(0)),
  maxReplays: Schema.optional(CountOption(0)),
  replayBudget: Schema.optional(Schema.Struct({ burst: CountOption(0), perSecond: CountOption(0) })),
  limits: Schema.optional(
    Schema.Struct({ maxPages: Schema.optional(CountOption(1)), maxItems: Schema.optional(CountOption(1)) })
  ),
  closeTimeout: Schema.optional(DurationOption),
  tools: Schema.optional(ToolFilter),
  handlers: Schema.optional(
    Schema.Struct({ sampling: Schema.optional(FunctionOption), elicitation: Schema.optional(FunctionOption) })
  ),
  roots: Schema.optional(Schema.Array(valueOption(isRoot, `a root, like { uri: "file:///home/me" }`))),
  onSession: Schema.optional(FunctionOption),
  restore: Schema.optional(Schema.Literals(["required", "best-effort"])),
  admission: Schema.optional(FunctionOption),
  drainTimeout: Schema.optional(DurationOption)
})

const RequestSchema = Schema.Struct({
  ...requestFields,
  timeout: Schema.optional(DurationOption),
  onProgress: Schema.optional(valueOption((u): u is object => Predicate.isFunction(u), "a function"))
})

const decodeConnection = decodeOptions(ConnectionSchema, { of: "McpConnection" })
const decodeRequestOptions = decodeOptions(RequestSchema, { of: "the request" })

export interface Decoded extends Requests.Limits {
  readonly name: string
  readonly client: { readonly name: string; readonly version: string }
  readonly start: "required" | "background" | "lazy"
  readonly startWithin: Duration.Duration
  readonly startupTimeout: Duration.Duration
  readonly policy: ReconnectPolicy.ReconnectPolicy
  readonly stableAfter: Duration.Duration
  /** `undefined`: as long as the transport needs. */
  readonly closeTimeout: Duration.Duration | undefined
  readonly heartbeat: Heartbeat.Heartbeat | undefined
  readonly heartbeatAsked: boolean
  readonly defaults: Requests.Options
  readonly restore: "required" | "best-effort"
  readonly drainTimeout: Duration.Duration
  readonly limits: OpenContext["limits"]
}

// Made once, and not for each of a thousand connections.
const thisClient = { name: "mcp-tether", version: packageJson.version }
const defaultBudget = { burst: 1000, perSecond: 100 }
const tenSeconds = Duration.seconds(10)
const halfMinute = Duration.seconds(30)
const oneMinute = Duration.seconds(60)

export const decode = <R>(options: ConnectionOptions<R>): Effect.Effect<Decoded, InvalidOptions> =>
  Effect.map(decodeConnection(options), (decoded) => ({
    name: decoded.name ?? options.transport.label,
    client: decoded.client ?? thisClient,
    start: decoded.start ?? "required",
    startWithin: duration(decoded.startWithin, oneMinute),
    startupTimeout: duration(decoded.startupTimeout, oneMinute),
    policy: options.policy ?? ReconnectPolicy.default,
    stableAfter: duration(decoded.stableAfter, tenSeconds),
    maxWaiting: decoded.maxWaiting ?? 1000,
    maxReplays: decoded.maxReplays ?? 1,
    replayBudget: decoded.replayBudget ?? defaultBudget,
    closeTimeout: decoded.closeTimeout === undefined ? undefined : duration(decoded.closeTimeout, 0),
    heartbeat: decoded.heartbeat === "off" ? undefined : Heartbeat.make(decoded.heartbeat),
    heartbeatAsked: decoded.heartbeat !== undefined,
    defaults: {
      timeout: duration(decoded.requestTimeout, oneMinute),
      wait: wait(decoded.wait ?? halfMinute),
      replay: decoded.replay ?? "safe",
      onProgress: undefined
    },
    restore: decoded.restore ?? "required",
    drainTimeout: duration(decoded.drainTimeout, halfMinute),
    limits: { maxPages: decoded.limits?.maxPages ?? 100, maxItems: decoded.limits?.maxItems ?? 10_000 }
  }))

export const decodeRequest = (
  options: RequestOptions,
  defaults: Requests.Options,
  server: string,
  method: string,
  params: unknown
): Effect.Effect<Requests.Options, InvalidRequest> =>
  decodeRequestOptions(options).pipe(
    Effect.map((decoded) => ({
      timeout: duration(decoded.timeout, defaults.timeout),
      wait: decoded.wait === undefined ? defaults.wait : wait(decoded.wait),
      replay: decoded.replay ?? defaults.replay,
      onProgress: options.onProgress
    })),
    Effect.mapError(
      (error) => new InvalidRequest({ server, method, tool: toolOf(method, params), description: error.message })
    )
  )

const duration = (input: Duration.Input | undefined, otherwise: Duration.Input): Duration.Duration =>
  Duration.fromInputUnsafe(input ?? otherwise)

const wait = (input: Duration.Input | "none"): Duration.Duration | undefined =>
  input === "none" ? undefined : Duration.fromInputUnsafe(input)
