/** One session of a simulated server: the way of a request to it, what meets it there, and the way back. */
import { ConnectionError, type McpSession, type McpTransport } from "@mcp-tether/connection"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Tagged } from "../../Fault.ts"
import type { Book, Call, Listened, SimulatedSession } from "../../SimulatedServer.ts"
import { crashAt, crashed, meet, type Strikes } from "./faults.ts"
import { carryOut, type Desk, releaseOf, toolOf } from "./offer.ts"
import {
  background,
  end,
  errorOf,
  exited,
  gone,
  isHeldUp,
  type Line,
  passage,
  refused,
  thawed,
  type World
} from "./world.ts"

type Failure = McpSession.SessionFailure

/** How it went so far: where a request is lost, nobody answers it. */
const unanswered = (call: Call): Effect.Effect<never> =>
  Effect.suspend(() => {
    call.session.book.unanswered.add(call.ticket.method)
    return Effect.never
  })

/** From the first byte to the last. */
const exchange = Effect.fnUntraced(function* (
  world: World,
  line: Line,
  call: Call
): Effect.fn.Return<unknown, Failure> {
  const { behavior, over, weather } = world
  const { generation, ticket, tool } = call
  if (over === "http" && weather.isDown()) return yield* Effect.fail(refused(world))
  yield* behavior.send(call)
  const state = world.state === undefined ? undefined : yield* world.state
  ticket.sent = true
  const requestId = (world.requests += 1)
  ticket.requestId = requestId
  const { method, params } = ticket
  world.sent.push({
    order: world.nextOrder(),
    generation,
    method,
    tool,
    requestId,
    at: world.now(),
    state,
    params
  })

  const strikes = yield* meet(world, { method, tool })
  if (line.severed) return yield* unanswered(call)
  const served = serve(world, line, call, strikes)
  if (isHeldUp(world, line)) yield* arrival(world, line, outward(world, line, call, strikes), served)
  else yield* outward(world, line, call, strikes)
  return yield* served
})

/** The way of a request to whoever reads it. */
const outward = (world: World, line: Line, call: Call, { crash, drop, message }: Strikes): Effect.Effect<void> =>
  passage(world, line).pipe(
    Effect.andThen(
      Effect.suspend(() => {
        if (drop.has("request")) return unanswered(call)
        return crash?.when === "beforeReceiving" ? crashAt(world, line, crash, message) : thawed(world, line)
      })
    )
  )

/** What is on its way arrives also when its sender has given it up: then its cancellation is right behind it. */
const arrival = (
  world: World,
  line: Line,
  way: Effect.Effect<void>,
  served: Effect.Effect<unknown, Failure>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const arrived = Deferred.makeUnsafe<void>()
    let givenUp = false
    const deliver = Effect.suspend(() => (givenUp ? cancelledAtOnce(served) : Deferred.succeed(arrived, undefined)))
    const travel = Effect.raceFirst(gone(world, line), Effect.andThen(way, deliver))
    return background(world, Effect.ignore(travel)).pipe(
      Effect.andThen(Deferred.await(arrived)),
      Effect.onInterrupt(() =>
        Effect.sync(() => {
          givenUp = true
        })
      )
    )
  })

/** What takes no time has happened before the cancellation is read. */
const cancelledAtOnce = Effect.fnUntraced(function* (served: Effect.Effect<unknown, Failure>) {
  const serving = yield* Effect.forkChild(served, { startImmediately: true })
  yield* Fiber.interrupt(serving)
  const exit = yield* Fiber.await(serving)
  if (Exit.isSuccess(exit) && exit.value instanceof LastWords) yield* exit.value.death
})

/** From where the server reads a request to where its reply arrives. */
const serve = Effect.fnUntraced(function* (
  world: World,
  line: Line,
  call: Call,
  { corrupt, crash, drop, duplicate, message, unavailable }: Strikes
): Effect.fn.Return<unknown, Failure> {
  const { behavior, over, weather } = world
  const { session, ticket } = call
  const refusal = over === "http" ? refusalOf(world, line, unavailable) : undefined
  if (refusal !== undefined) {
    yield* passage(world, line)
    return yield* Effect.fail(refusal)
  }
  line.usedAt = world.now()
  if (session.info.era === "modern") session.book.level = session.host.logLevel()
  if (crash?.when === "afterReceiving") return yield* crashAt(world, line, crash, message)
  if (ticket.method === "ping" && weather.holds("SilentToPing") !== undefined) return yield* unanswered(call)

  const handled = Effect.exit(behavior.handle(call))
  const answer = duplicate.has("request")
    ? (yield* Effect.all([handled, handled], { concurrency: "unbounded" }))[0]
    : yield* handled
  if (crash?.when === "afterEffect") return yield* crashAt(world, line, crash, message)
  // What froze while it worked has the answer in its hands.
  yield* thawed(world, line)
  if (line.severed) return yield* unanswered(call)
  yield* passage(world, line)
  const reply: Exit.Exit<unknown, Failure> = corrupt && over === "http" ? Exit.fail(garbage(world)) : answer
  if (drop.has("reply") || (corrupt && over === "stdio")) {
    // A broken line belongs to no request.
    if (!drop.has("reply")) yield* session.hear
    if (crash !== undefined) return yield* crashAt(world, line, crash, message)
    return yield* unanswered(call)
  }
  return crash === undefined ? yield* reply : new LastWords(reply, crashed(world, line, crash, message))
})

/** A reply after which the server dies. */
class LastWords {
  readonly reply: Exit.Exit<unknown, Failure>
  readonly death: Effect.Effect<void>
  constructor(reply: Exit.Exit<unknown, Failure>, death: Effect.Effect<void>) {
    this.reply = reply
    this.death = death
  }
}

/** What is no message. */
export const garbage = (world: World) =>
  errorOf(
    world.name,
    new ConnectionError.MalformedResponse({
      description: "the server answered with text/html instead of a JSON-RPC message"
    })
  )

/** What a server over HTTP answers without looking at the request. */
export const refusalOf = (
  world: World,
  line: Line | undefined,
  once: Tagged<"Unavailable"> | undefined
): ConnectionError.ConnectionError | undefined => {
  const unavailable = once ?? world.weather.holds("Unavailable")
  if (unavailable !== undefined) {
    const { retryAfterMillis, status } = unavailable
    const retryAfter = retryAfterMillis === undefined ? undefined : Duration.millis(retryAfterMillis)
    return errorOf(world.name, new ConnectionError.ServerUnavailable({ status, retryAfter }))
  }
  if (world.refuses !== undefined) {
    return errorOf(
      world.name,
      new ConnectionError.Unauthorized({ status: world.refuses, challenge: 'Bearer error="invalid_token"' })
    )
  }
  if (line === undefined || world.behavior.era === "modern") return undefined
  const { sessionIdle } = world.options
  if (
    sessionIdle !== undefined &&
    world.now() - line.usedAt >= Duration.toMillis(Duration.fromInputUnsafe(sessionIdle))
  )
    line.forgotten ??= 404
  return line.forgotten === undefined
    ? undefined
    : errorOf(world.name, new ConnectionError.SessionExpired({ status: line.forgotten }))
}

/** The session that an attempt has come to. */
export const make = (
  world: World,
  line: Line,
  context: McpTransport.OpenContext
): SimulatedSession & { readonly askForRoots: Effect.Effect<void> } => {
  const { behavior, options } = world
  const { generation, host } = context
  let lastActivity = world.now()
  let inFlight = 0
  const hear = Effect.sync(() => {
    lastActivity = world.now()
  })
  const book: Book = {
    level: undefined,
    subscriptions: new Set(),
    roots: undefined,
    filter: undefined,
    unanswered: new Set(),
    listsChangedAt: Number.NEGATIVE_INFINITY,
    closed: false
  }
  const ended = Effect.flatMap(Deferred.await(line.ended), (error) => Effect.fail(error))

  const request = (ticket: McpSession.RequestTicket): Effect.Effect<unknown, Failure> =>
    Effect.suspend(() => {
      // On a session that ended, no byte of the request leaves.
      if (Deferred.isDoneUnsafe(line.ended)) return ended
      const tool = toolOf(ticket)
      const call: Call = { session, generation, ticket, tool, run: Effect.suspend(() => carryOut(desk(), call)) }
      inFlight += 1
      return Effect.raceFirst(
        gone(world, line),
        exchange(world, line, call).pipe(
          // An answer is bytes; a broken connection is not.
          Effect.tap(() => hear),
          Effect.tapError((failure) => (failure._tag === "ConnectionError" ? Effect.void : hear))
        )
      ).pipe(
        Effect.flatMap((answer) =>
          answer instanceof LastWords ? Effect.andThen(answer.death, answer.reply) : Effect.succeed(answer)
        ),
        Effect.onInterrupt(() => Effect.sync(() => world.cancelled.push(`${generation} ${ticket.method}`))),
        Effect.ensuring(
          Effect.sync(() => {
            inFlight -= 1
          })
        )
      )
    })

  const desk = (): Desk => ({
    server: world.name,
    release: releaseOf(options, line.release),
    listed: behavior.listed(generation),
    book,
    now: world.now,
    awake: thawed(world, line),
    perform: (performed) => void world.ledger.push({ order: world.nextOrder(), ...performed })
  })

  /** The roots, as the server asks for them where it wants to know them. */
  const askForRoots = Effect.suspend(
    () => host.handlers.get("roots/list")?.(undefined) ?? Effect.succeed({ roots: undefined })
  ).pipe(
    Effect.map((answer) => {
      book.roots = typeof answer === "object" && answer !== null && "roots" in answer ? answer.roots : undefined
    }),
    Effect.ignore
  )

  const session: ReturnType<typeof make> = {
    generation,
    askForRoots,
    get release() {
      return line.release
    },
    info: {
      era: behavior.era,
      protocolVersion: behavior.era === "legacy" ? "2025-11-25" : "2026-07-28",
      name: world.name,
      version: options.version?.(generation) ?? `${generation}.0.0`,
      capabilities: behavior.capabilities
    },
    book,
    host,
    isolation: behavior.isolation,
    request: <Method extends string>(ticket: McpSession.RequestTicket<Method>) =>
      // The server answers any method; only who wrote its answers knows that they fit.
      request(ticket) as Effect.Effect<McpSession.ResultOf<Method>, Failure>,
    notify: (method) =>
      Effect.suspend(() => {
        if (Deferred.isDoneUnsafe(line.ended)) return ended
        world.notified.push(`${generation} ${method}`)
        return options.asksForRoots === true && method === "notifications/roots/list_changed"
          ? askForRoots
          : Effect.void
      }),
    listen: (filter) =>
      Effect.flatMap(world.state ?? Effect.succeed(undefined), (state) => {
        if (Deferred.isDoneUnsafe(line.ended)) return ended
        const listened: Listened = { generation, at: world.now(), state, filter }
        world.listened.push(listened)
        return Effect.raceFirst(gone(world, line), agree(listened))
      }),
    lost: Deferred.await(line.ended),
    lastActivity: () => lastActivity,
    inFlight: () => inFlight,
    lose: (error = exited) => Effect.sync(() => end(world, line, error)),
    endedAt: () => line.endedAt,
    hear: Effect.suspend(() => (line.severed ? Effect.void : hear)),
    tell: (notification) =>
      Effect.suspend(() => {
        // A session that the server has forgotten it cannot tell anything.
        if (line.severed || line.forgotten !== undefined) return Effect.void
        if (notification.method.endsWith("/list_changed")) book.listsChangedAt = world.now()
        const told = Effect.andThen(
          hear,
          Effect.sync(() => host.onNotification(notification))
        )
        if (!isHeldUp(world, line)) return told
        const arrived = thawed(world, line).pipe(Effect.andThen(passage(world, line)), Effect.andThen(told))
        return background(world, Effect.raceFirst(Effect.asVoid(Deferred.await(line.ended)), arrived))
      }),
    gap: Effect.sync(() => context.onGap()),
    suspect: (error) => Effect.sync(() => context.onSuspect(error))
  }

  const agree = (listened: Listened): Effect.Effect<void, Failure> =>
    Effect.suspend(() => {
      if (world.over === "http" && world.weather.isDown()) return Effect.fail(refused(world))
      const refusal = world.over === "http" ? refusalOf(world, line, undefined) : undefined
      if (refusal !== undefined) return Effect.fail(refusal)
      return passage(world, line).pipe(
        Effect.andThen(thawed(world, line)),
        Effect.andThen(behavior.listen(listened, session)),
        Effect.andThen(
          Effect.sync(() => {
            book.filter = listened.filter
            book.subscriptions = new Set(listened.filter.resourceSubscriptions)
          })
        ),
        Effect.andThen(thawed(world, line)),
        Effect.andThen(passage(world, line))
      )
    })

  line.broke = (error) => {
    if (session.info.era === "legacy") return Effect.sync(() => context.onSuspect(error))
    const listening = book.filter !== undefined && Object.keys(book.filter).length > 0
    book.filter = undefined
    book.subscriptions = new Set()
    return listening ? Effect.sync(() => context.onGap()) : Effect.void
  }
  return session
}
