/** stdio: a server in a process group of its own, spoken to over pipes (DESIGN §9). */
import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/client"
import { getDefaultEnvironment } from "@modelcontextprotocol/client/stdio"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { constants } from "node:buffer"
import {
  ConnectionError,
  MalformedResponse,
  ProcessExited,
  type Reason,
  SpawnFailed,
  TransportClosed
} from "../../ConnectionError.ts"
import type { McpSession } from "../../McpSession.ts"
import type { McpTransport, OpenContext, StdioOptions } from "../../McpTransport.ts"
import { CountOption, decode, DurationOption, SecretOption } from "../options.ts"
import * as Concealment from "./concealment.ts"
import * as Era from "./era.ts"
import { Unserializable, unserializable } from "./failure.ts"
import * as Flights from "./flights.ts"
import * as LineSplitter from "./lineSplitter.ts"
import * as Outbox from "./outbox.ts"
import * as Pipes from "./pipes.ts"
import * as SdkSession from "./sdkSession.ts"
import * as Tail from "./tail.ts"

const Options = Schema.Struct({
  command: Schema.NonEmptyString,
  args: Schema.optional(Schema.Array(SecretOption)),
  env: Schema.optional(Schema.Record(Schema.String, SecretOption)),
  cwd: Schema.optional(Schema.NonEmptyString),
  maxMessageBytes: Schema.optional(CountOption(1, constants.MAX_STRING_LENGTH)),
  closeGrace: Schema.optional(DurationOption)
})

const decodeOptions = decode(Options, { of: "McpTransport.stdio", secret: ["args", "env"] })

const defaultMaxMessageBytes = 64 * 1024 * 1024
const stderrTailBytes = 64 * 1024
/** A secret that is cut is recognised up to this length. */
const maxSecretLength = 4096
/** Messages that wait are handed to the pipe in pieces of about this size: one write for many, and little is past recall. */
const writeBytes = 64 * 1024
/** What was written just before the exit is still delivered; a grandchild that holds the pipes open gets no more than this. */
const drainGrace = Duration.millis(250)
/** A pipe that breaks is mostly an exit whose event is still on its way. */
const exitGrace = Duration.millis(500)

export const make = (options: StdioOptions): McpTransport<ChildProcessSpawner.ChildProcessSpawner> => ({
  label: Predicate.isString(options.command) ? (options.command.split(/[\\/]/).at(-1) ?? options.command) : "stdio",
  validate: Effect.asVoid(decodeOptions(options)),
  // EOF, SIGTERM, SIGKILL to what is left of the group, each with its grace, and the spawner's own waits of a second.
  closeWithin: () => Duration.sum(Duration.times(closeGraceOf(options), 3), Duration.seconds(3)),
  open: Era.remembered((modern, context) => open(options, context, modern))
})

const closeGraceOf = ({ closeGrace }: StdioOptions): Duration.Duration =>
  Duration.fromInputUnsafe(closeGrace ?? "2 seconds")

const open = Effect.fnUntraced(function* (
  options: StdioOptions,
  context: OpenContext,
  modern: boolean
): Effect.fn.Return<McpSession, ConnectionError, ChildProcessSpawner.ChildProcessSpawner | Scope.Scope> {
  const conceal = Concealment.make([...(options.args ?? []), ...Object.values(options.env ?? {})])
  const stderr = Tail.make(stderrTailBytes, conceal === undefined ? 0 : maxSecretLength)
  const stderrTail = () => {
    const text = stderr.text()
    return text === undefined || conceal === undefined ? text : conceal(text)
  }
  context.setStderrTail(stderrTail)
  const closeGrace = closeGraceOf(options)

  const { child, destroyPipes, read, write } = yield* Pipes.track(spawn(options, closeGrace, context.server))
  const outbox = Outbox.make(writeBytes)
  const broken = Deferred.makeUnsafe<Reason>()
  const clock = yield* Clock.Clock
  let lastActivity = clock.currentTimeMillisUnsafe()
  const onBytes = (): void => {
    lastActivity = clock.currentTimeMillisUnsafe()
    context.onActivity()
  }
  const breaks = (reason: Reason) => Deferred.succeed(broken, reason)

  yield* write(outbox).pipe(
    Effect.catchCause(() => breaks(new TransportClosed({ description: "the server closed its stdin" }))),
    Effect.forkScoped
  )
  const transport = makeTransport(outbox)
  const lines = LineSplitter.make({
    maxBytes: options.maxMessageBytes ?? defaultMaxMessageBytes,
    onLine: (line) => receive(line, transport, stderr, conceal)
  })
  const stdoutEnd = yield* readStdout(read, lines, onBytes).pipe(Effect.flatMap(breaks), endOf)
  const stderrEnd = yield* readStderr(child, stderr, conceal, onBytes).pipe(endOf)
  const drained = Effect.all([Deferred.await(stdoutEnd), Deferred.await(stderrEnd)], { discard: true }).pipe(
    Effect.timeoutOption(drainGrace)
  )
  // Registered last, so it runs first: the pipes are still being drained while the process is asked to leave.
  yield* Effect.addFinalizer(() => Effect.andThen(leave(child, outbox, closeGrace, drained), destroyPipes))

  return yield* SdkSession.open({
    server: context.server,
    client: context.client,
    limits: context.limits,
    host: context.host,
    transport,
    isolation: "shared",
    negotiation: { _tag: "initialize", modern },
    onGap: context.onGap,
    lost: verdict(child, broken, drained),
    stderrTail,
    conceal,
    pid: child.pid,
    lastActivity: () => lastActivity
  })
})

/** Runs a reader in the background and tells when it has come to its end. */
const endOf = <A>(reader: Effect.Effect<A>): Effect.Effect<Deferred.Deferred<void>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const end = Deferred.makeUnsafe<void>()
    return reader.pipe(Effect.ensuring(Deferred.succeed(end, undefined)), Effect.forkScoped, Effect.as(end))
  })

const spawn = (options: StdioOptions, closeGrace: Duration.Duration, server: string) =>
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const command = ChildProcess.make(options.command, options.args ?? [], {
      cwd: options.cwd,
      // Not this process's whole environment: its secrets are none of the server's business.
      env: { ...getDefaultEnvironment(), ...options.env },
      killSignal: "SIGTERM",
      forceKillAfter: closeGrace
    })
    return yield* spawner.spawn(command).pipe(
      Effect.mapError((error) => spawnFailed(options, errnoOf(error.reason), error.reason)),
      // Some errnos, like ENOTDIR and E2BIG, Node throws instead of emitting them.
      Effect.catchDefect((defect) => {
        const code = codeOf(defect)
        return code === undefined ? Effect.die(defect) : Effect.fail(spawnFailed(options, code))
      }),
      Effect.mapError((reason) => new ConnectionError({ server, reason }))
    )
  })

const codeOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "code") && Predicate.isString(error.code) ? error.code : undefined

const errnoOf = (reason: PlatformError.PlatformError["reason"]): string | undefined =>
  reason._tag === "BadArgument" ? undefined : codeOf(reason.cause)

/** The platform's message holds the whole command line, and arguments can be secret: so it is said anew. */
const spawnFailed = (
  { command, cwd }: StdioOptions,
  code: string | undefined,
  reason?: PlatformError.PlatformError["reason"]
): SpawnFailed => {
  const ofDirectory = cwd !== undefined && (code === "ENOTDIR" || (reason !== undefined && reason.method === "access"))
  const what = ofDirectory ? `the working directory "${cwd}"` : `the command "${command}"`
  return new SpawnFailed({ command, code, description: `${what} ${whyNot(code, reason)}` })
}

const whyNot = (code: string | undefined, reason: PlatformError.PlatformError["reason"] | undefined): string => {
  if (reason?._tag === "BadArgument") return `cannot be used: ${reason.description ?? "bad argument"}`
  switch (code) {
    case "ENOENT":
      return "was not found"
    case "EACCES":
    case "EPERM":
      return "may not be used: permission denied"
    case "ENOTDIR":
      return "is not a directory"
    case "E2BIG":
      return "could not be started: its arguments and environment are too long"
    default:
      return `could not be started (${code ?? reason?._tag ?? "unknown"})`
  }
}

/** How the process ended. Effect's spawner tells a signal only in words. */
const exited = (child: ChildProcessSpawner.ChildProcessHandle): Effect.Effect<ProcessExited> =>
  Effect.match(child.exitCode, {
    onSuccess: (exitCode) => new ProcessExited({ exitCode }),
    onFailure: ({ reason }) => {
      const cause = reason._tag === "BadArgument" ? undefined : reason.cause
      const signal = cause instanceof Error ? /SIG[A-Z0-9]+/.exec(cause.message)?.[0] : undefined
      return new ProcessExited({ signal: signal ?? "an unknown signal" })
    }
  })

/** The best explanation of the end: the process's exit wherever there is one, and nothing it still said is lost. */
const verdict = (
  child: ChildProcessSpawner.ChildProcessHandle,
  broken: Deferred.Deferred<Reason>,
  drained: Effect.Effect<unknown>
): Effect.Effect<Reason> =>
  Effect.gen(function* () {
    const exit = exited(child)
    const first = yield* Effect.raceFirst(exit, Deferred.await(broken))
    if (first._tag === "MalformedResponse") return first
    const end = first._tag === "ProcessExited" ? Option.some(first) : yield* Effect.timeoutOption(exit, exitGrace)
    if (Option.isNone(end)) return first
    yield* drained
    return end.value
  })

/** stdin EOF → grace → SIGTERM to the group → grace → SIGKILL to the group, awaited (MCP 2025-11-25, Lifecycle, Shutdown). */
const leave = (
  child: ChildProcessSpawner.ChildProcessHandle,
  outbox: Outbox.Outbox,
  grace: Duration.Duration,
  drained: Effect.Effect<unknown>
) =>
  Effect.gen(function* () {
    outbox.close(new Error("the session was closed"))
    const end = yield* Effect.timeoutOption(exited(child), grace)
    if (Option.isNone(end)) yield* Effect.ignore(child.kill({ killSignal: "SIGTERM", forceKillAfter: grace }))
    // Unread output would keep the pipe, and with it a file descriptor.
    yield* drained
  })

/** Reads until the end, or until a message is too large, and says why it stopped. */
const readStdout = (
  read: Pipes.Spawned["read"],
  lines: LineSplitter.LineSplitter,
  onBytes: () => void
): Effect.Effect<Reason> => {
  const tooLarge = new MalformedResponse({
    description: `the server sent a message of more than ${lines.maxBytes} bytes`
  })
  const unreadable = new MalformedResponse({ description: "the server sent a message that could not be read" })
  const ended = new TransportClosed({ description: "the server closed its stdout" })
  return Effect.map(
    read((chunk) => {
      onBytes()
      try {
        return lines.push(chunk) === "overflow" ? tooLarge : undefined
      } catch {
        // The SDK throws on some messages, like one that is nested thousands deep. A reader that dies silently would leave a session
        // that never hears again.
        return unreadable
      }
    }),
    (reason) => reason ?? ended
  )
}

const receive = (
  line: string,
  transport: Transport,
  stderr: Tail.Tail,
  conceal: ((text: string) => string) | undefined
): void => {
  if (line.trim() === "") return
  const message = parse(line)
  if (message === undefined) {
    // Not the protocol's, but often the last words of a server that prints its errors to the wrong place.
    stderr.push(Buffer.from(`[stdout] ${(conceal?.(line) ?? line).slice(0, 500)}\n`))
    return
  }
  // Batches were part of 2025-03-26 only; reading them costs nothing.
  for (const one of Array.isArray(message) ? message : [message]) {
    if (Predicate.isObject(one)) transport.onmessage?.(one as unknown as JSONRPCMessage)
  }
}

const parse = (line: string): unknown => {
  try {
    const value: unknown = JSON.parse(line)
    return Predicate.isObject(value) || Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Always drained, or a server that talks much would block; each line goes to the log. */
const readStderr = (
  child: ChildProcessSpawner.ChildProcessHandle,
  stderr: Tail.Tail,
  conceal: ((text: string) => string) | undefined,
  onBytes: () => void
): Effect.Effect<void> => {
  let ready: Array<string> = []
  /** A line that was too long is left out whole: its end could be the end of a secret. */
  let cut = false
  const onLine = (line: string): void => {
    if (!cut) ready.push(conceal?.(line) ?? line)
    cut = false
  }
  const splitter = () => LineSplitter.make({ maxBytes: stderrTailBytes, onLine })
  let lines = splitter()
  const flush = Effect.suspend(() => {
    const logged = ready
    ready = []
    return Effect.forEach(logged, (line) => Effect.logDebug("mcp server stderr", line), { discard: true })
  })
  return child.stderr.pipe(
    Stream.runForEach((chunk) => {
      onBytes()
      stderr.push(chunk)
      if (lines.push(chunk) === "overflow") {
        lines = splitter()
        cut = true
      }
      return flush
    }),
    Effect.ignore,
    // The last words often lack a line end.
    Effect.andThen(
      Effect.suspend(() => {
        lines.end()
        return flush
      })
    )
  )
}

/** The pipes, as the SDK wants a transport. */
const makeTransport = (outbox: Outbox.Outbox): Transport => ({
  start: () => Promise.resolve(),
  send: (message, options) => {
    if (isCancellation(message) && outbox.cancel(message.params.requestId)) return Promise.resolve()
    const line = serialize(message)
    return line instanceof Unserializable
      ? Promise.reject(line)
      : outbox.add(line, "id" in message ? message.id : undefined, Flights.ticketOf(options?.onresumptiontoken))
  },
  close: () => {
    outbox.close(new Error("the client closed the transport"))
    return Promise.resolve()
  }
})

const serialize = (message: JSONRPCMessage): string | Unserializable => {
  try {
    return `${JSON.stringify(message)}\n`
  } catch (error) {
    return unserializable(error)
  }
}

/** A request that is taken back before a byte of it has left needs no cancellation: the server never hears of it. */
const isCancellation = (
  message: JSONRPCMessage
): message is JSONRPCMessage & { readonly params: { readonly requestId: string | number } } =>
  "method" in message &&
  message.method === "notifications/cancelled" &&
  Predicate.hasProperty(message.params, "requestId") &&
  (Predicate.isString(message.params.requestId) || Predicate.isNumber(message.params.requestId))
