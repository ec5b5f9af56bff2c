/** The path of a request: to the current session, or to the next one, and again or not when the session is lost. */
import type { Progress } from "@modelcontextprotocol/client"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import type { ConnectionError } from "../../ConnectionError.ts"
import * as ConnectionEvent from "../../ConnectionEvent.ts"
import * as ConnectionState from "../../ConnectionState.ts"
import * as Delivery from "../../Delivery.ts"
import { RequestTicket, type ParamsOf, type ResultOf, type SessionFailure } from "../../McpSession.ts"
import * as ReplayPolicy from "../../ReplayPolicy.ts"
import {
  ConnectionClosed,
  ConnectionUnavailable,
  OutcomeUnknown,
  type RequestError,
  RequestTimeout
} from "../../RequestError.ts"
import * as Catalogs from "./catalogs.ts"
import * as Core from "./core.ts"
import type * as Deadlines from "./deadlines.ts"
import * as Expiring from "./expiring.ts"
import * as Ladder from "./ladder.ts"
import * as Patience from "./patience.ts"
import * as ReplayBudget from "./replayBudget.ts"
import type { Suspicion } from "./suspicion.ts"
import type { Within } from "./waiters.ts"

export interface Options {
  readonly timeout: Duration.Duration
  /** How long a request may stay unsent for want of a session. `undefined`: not at all. */
  readonly wait: Duration.Duration | undefined
  readonly replay: ReplayPolicy.ReplayPolicy
  readonly onProgress: ((progress: Progress) => void) | undefined
}

export interface Limits {
  /** How many callers may wait for a session at a time. */
  readonly maxWaiting: number
  /** How often one request may be sent again after it was handed over or refused. */
  readonly maxReplays: number
  /** How many requests of the connection may be sent again at once, and how many more each second. */
  readonly replayBudget: ReplayBudget.Options
}

export interface Requests {
  readonly request: <Method extends string>(
    method: Method,
    params: ParamsOf<Method> | undefined,
    options: Options,
    tool?: string
  ) => Effect.Effect<ResultOf<Method>, RequestError>
  /** Does something once on the current session, or on the next one. */
  readonly onSession: (
    method: string,
    options: Options,
    use: (published: Core.Published) => Effect.Effect<void, SessionFailure>
  ) => Effect.Effect<void, RequestError>
  /** How many wait for a session now. */
  readonly waiting: () => number
  readonly unavailable: (because: ConnectionUnavailable["because"], cause?: ConnectionError) => ConnectionUnavailable
  /** Waits for a session newer than generation `after`, as long as it takes. The state `known` does not end the wait. */
  readonly awaitSession: (
    after: number,
    known?: ConnectionState.ConnectionState
  ) => Effect.Effect<Core.Published, ConnectionUnavailable | ConnectionClosed>
}

/** One call of a user, over all of its sendings. */
interface Call<Method extends string> {
  readonly method: Method
  readonly params: ParamsOf<Method> | undefined
  readonly tool: string | undefined
  readonly options: Options
  readonly startedAt: number
  /** Since when it is unsent: all waits since then share one bound, also those on a session that died before it was sent. */
  unsentSince: number
  replays: number
  /** Until when the server asked to be left alone. */
  notBefore: number
  /** How often it was sent again on the session that it failed on. */
  resumptions: number
  sendings: number
  /** Over all sendings: what once may have run has no better outcome than that. */
  delivery: Delivery.Delivery
  /** The last sending that may have run. */
  mayHaveRun: Sending | undefined
}

interface Sending {
  readonly published: Core.Published
  readonly requestId: string | number | undefined
  readonly cause: ConnectionError
}

/** In milliseconds: between sendings of one request on one session, from the second one on. */
const firstPause = 250
const maxPause = 30_000

const noQuestions = Patience.makeQuestions()

/** `questions`: those of the server to the user, where the user answers any. */
export const make = (
  core: Core.Core,
  catalogs: Catalogs.Catalogs,
  limits: Limits,
  questions: Patience.Questions | undefined,
  deadlines: Deadlines.Deadlines
): Requests => {
  const budget = ReplayBudget.make(limits.replayBudget)
  let waiting = 0

  const request: Requests["request"] = (method, params, options, tool) =>
    Clock.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe()
      const call = makeCall(method, params, options, tool, now)
      const { published } = Ref.getUnsafe(core.snapshot)
      return core.telemetry.measured(
        method,
        now,
        published === undefined
          ? Effect.flatMap(awaitSessionFor(call, 0), (session) => send(call, session))
          : send(call, published)
      )
    })

  const onSession: Requests["onSession"] = (method, options, use) =>
    Clock.clockWith((clock) =>
      Effect.flatMap(
        awaitSessionFor(makeCall(method, undefined, options, undefined, clock.currentTimeMillisUnsafe()), 0),
        (published) =>
          Effect.catch(bounded(method, options, use(published)), (failure): Effect.Effect<never, RequestError> => {
            if (failure._tag !== "ConnectionError") return Effect.fail(failure)
            core.report(published, failure)
            return Effect.fail(isClosed() ? closed("NotSent") : unavailable("NotReplayed", failure))
          })
      )
    )

  /** A message without an answer: what is bounded is how long the session takes to take it over. */
  const bounded = (method: string, { timeout }: Options, sending: Effect.Effect<void, SessionFailure>) => {
    const guarded = Effect.catchDefect(sending, (defect) => Effect.fail(core.defect("transport", Cause.die(defect))))
    return Duration.isFinite(timeout)
      ? Effect.timeoutOrElse(guarded, {
          duration: timeout,
          orElse: () =>
            Effect.fail(new RequestTimeout({ server: core.server, method, after: timeout, delivery: "Unknown" }))
        })
      : guarded
  }

  const send = <Method extends string>(
    call: Call<Method>,
    published: Core.Published
  ): Effect.Effect<ResultOf<Method>, RequestError> => {
    const { onProgress } = call.options
    let patience: Patience.Patience | undefined
    const ticket = new RequestTicket(
      call.method,
      call.params,
      onProgress === undefined
        ? undefined
        : (progress) => {
            patience?.renew()
            // The callback is the user's: what it throws costs neither the call nor the session.
            Result.try(() => onProgress(progress))
          }
    )
    const sent = core.telemetry.sending(
      {
        method: call.method,
        tool: call.tool,
        info: published.session.info,
        generation: published.generation,
        again: call.sendings++ > 0
      },
      answer(call, published, ticket)
    )
    const millis = Duration.toMillis(call.options.timeout)
    return Effect.catch(
      millis === Number.POSITIVE_INFINITY
        ? sent
        : Effect.suspend(() => {
            let deadline: Deadlines.Deadline | undefined
            return Effect.onExit(
              Clock.clockWith((clock) => {
                if (onProgress !== undefined || questions !== undefined) {
                  patience = Patience.make(millis, questions ?? noQuestions, () => clock.currentTimeMillisUnsafe())
                }
                deadline = deadlines.add(millis, () => {
                  const left = patience?.left() ?? 0
                  if (left > 0) return left
                  // Its fiber has not come to it yet: it yielded to others.
                  if (ticket.expire === undefined) return 1
                  // Evaluated after the request was cancelled, so that `sent` cannot change any more.
                  ticket.expire(Effect.suspend(() => Effect.fail(timedOut(call, ticket))))
                  return 0
                })
                return sent
              }),
              () => {
                if (deadline !== undefined) deadlines.remove(deadline)
                return Effect.void
              }
            )
          }),
      (failure) =>
        failure._tag === "ConnectionError" ? recover(call, published, ticket, failure) : Effect.fail(failure)
    )
  }

  const answer = <Method extends string>(
    call: Call<Method>,
    published: Core.Published,
    ticket: RequestTicket<Method>
  ): Effect.Effect<ResultOf<Method>, SessionFailure> => {
    const answered = ask(published, ticket)
    const kind = Catalogs.kindOf(call.method, call.params)
    if (kind === undefined) return answered
    const { generation, tools, versions } = published
    return Effect.suspend(() => {
      const epoch = tools.epoch
      const readingOf = Catalogs.reading(versions, kind)
      return Effect.tap(answered, (result) => {
        if (kind === "tools") tools.remember(result, epoch)
        // A session that drains knows only what was.
        if (Ref.getUnsafe(core.snapshot).published !== published) return Effect.void
        if (!catalogs.listed().includes(kind)) published.wish("More")
        const reading = readingOf(result)
        const changes = catalogs.note([reading], generation)
        // When the server told of the change, the list was not known yet: nobody has read it since.
        if (reading.overtaken() && catalogs.current[kind]?.stale === true) published.relist([kind])
        return Object.keys(changes).length === 0
          ? Effect.void
          : core.emit((at) => ConnectionEvent.CatalogChanged({ at, generation, changes }))
      })
    })
  }

  /** What the session says. A defect of a transport is a failure of the session, or its caller would get no typed answer. */
  const ask = <Method extends string>(
    published: Core.Published,
    ticket: RequestTicket<Method>
  ): Effect.Effect<ResultOf<Method>, SessionFailure> =>
    Effect.catchDefect(
      Effect.suspend(() => {
        const { session } = published
        return session.expires === true ? session.request(ticket) : Expiring.make(ticket, session.request(ticket))
      }),
      (defect) => Effect.fail(core.defect("transport", Cause.die(defect)))
    )

  /** The session failed under the request: report it, then send again on the next one, or say what is known. */
  const recover = <Method extends string>(
    call: Call<Method>,
    published: Core.Published,
    ticket: RequestTicket<Method>,
    error: ConnectionError
  ): Effect.Effect<ResultOf<Method>, RequestError> =>
    Clock.clockWith((clock) => {
      const delivery = ticket.sent ? error.delivery : "NotSent"
      // As it was known when the call was made: a suspicion makes the session list its tools anew.
      const promised = call.tool === undefined ? Option.none() : published.tools.annotations(call.tool)
      const suspicion = core.report(published, error)
      const cause = published.loss ?? error
      call.delivery = Delivery.worst(call.delivery, delivery)
      if (delivery === "Unknown") call.mayHaveRun = { published, requestId: ticket.requestId, cause }

      if (isClosed()) return Effect.fail(closed(call.delivery))
      const outOfReplays =
        delivery !== "NotSent" && (call.replays >= limits.maxReplays || !budget.spend(clock.currentTimeMillisUnsafe()))
      const verdict = outOfReplays ? "Fail" : ReplayPolicy.decide(call.options.replay, call.method, call.delivery)
      // A tool that made no promise when it was called cannot make one afterwards.
      const unsafe =
        verdict === "AskTool" && Option.exists(promised, (annotations) => !ReplayPolicy.isSafeTool(annotations))
      // Nor does what cannot be healed become better on the same session.
      const hopeless = suspicion !== undefined && !Ladder.mayHeal(error, true)
      if (verdict === "Fail" || unsafe || hopeless) return fail(call, cause, "NotReplayed")

      const now = clock.currentTimeMillisUnsafe()
      if (delivery !== "NotSent") {
        call.replays += 1
        call.unsentSince = now
      }
      call.notBefore = notBefore(error, now)
      return nextFor(call, published, verdict, suspicion).pipe(
        Effect.matchEffect({
          onSuccess: (next) =>
            next === undefined
              ? fail(call, cause, "NotReplayed")
              : Effect.andThen(
                  core.emit((at) =>
                    ConnectionEvent.RequestReplayed({
                      at,
                      method: call.method,
                      tool: call.tool,
                      from: published.generation,
                      to: next.generation,
                      delivery
                    })
                  ),
                  send(call, next)
                ),
          // Without a next session it is not known whether the tool would have allowed it: the first error stands.
          onFailure: (ended) =>
            ended._tag === "ConnectionClosed"
              ? Effect.fail(closed(call.delivery))
              : fail(call, ended.cause ?? cause, ended.because)
        })
      )
    })

  /** The session to send again on; `undefined` when the tool, as that session lists it, does not allow it. */
  const nextFor = <Method extends string>(
    call: Call<Method>,
    from: Core.Published,
    verdict: "Replay" | "AskTool",
    suspicion: Suspicion | undefined
  ): Effect.Effect<Core.Published | undefined, ConnectionUnavailable | ConnectionClosed> =>
    awaitSessionFor(call, from.generation, suspicion).pipe(
      Effect.flatMap((onto) => (onto === from ? pause(call, onto) : Effect.succeed(onto))),
      Effect.flatMap((onto) =>
        verdict === "Replay" || call.tool === undefined
          ? Effect.succeed(onto)
          : listTools(call, onto).pipe(
              Effect.map((annotations) => (ReplayPolicy.isSafeTool(annotations) ? onto : undefined)),
              Effect.catch((failure) => {
                if (failure._tag !== "ConnectionError") return Effect.succeed(undefined)
                const doubt = core.report(onto, failure)
                if (doubt !== undefined && !Ladder.mayHeal(failure, true)) return Effect.succeed(undefined)
                return Clock.clockWith((clock) => {
                  call.notBefore = notBefore(failure, clock.currentTimeMillisUnsafe())
                  return nextFor(call, onto, verdict, doubt)
                })
              })
            )
      )
    )

  /**
   * A session that is good and on which a request fails again and again is left alone for longer each time, and never for less than the
   * server asked for. Ends with the session to send on, which is another one if it is replaced meanwhile.
   */
  const pause = <Method extends string>(
    call: Call<Method>,
    on: Core.Published
  ): Effect.Effect<Core.Published, ConnectionUnavailable | ConnectionClosed> =>
    Clock.clockWith((clock) => {
      const { wait } = call.options
      const now = clock.currentTimeMillisUnsafe()
      const backoff = call.resumptions === 0 ? 0 : Math.min(maxPause, firstPause * 2 ** (call.resumptions - 1))
      call.resumptions += 1
      const delay = Math.max(backoff, call.notBefore - now)
      if (delay <= 0) return Effect.succeed(on)
      const due = Duration.millis(now + delay - call.unsentSince)
      if (wait === undefined || Duration.isGreaterThan(due, wait)) return Effect.fail(unavailable("WaitElapsed"))
      if (waiting >= limits.maxWaiting) return Effect.fail(unavailable("TooManyWaiting"))
      return Effect.flatMap(counted(untilReplaced(on, delay)), () =>
        Ref.getUnsafe(core.snapshot).published === on ? Effect.succeed(on) : awaitSessionFor(call, on.generation)
      )
    })

  /** Waits until another session serves, or none ever will, or it has taken so many milliseconds. */
  const untilReplaced = (published: Core.Published, millis: number): Effect.Effect<void> =>
    core.waiters.until(
      () => {
        const current = Ref.getUnsafe(core.snapshot)
        return current.published === published ||
          (current.published === undefined && current.state._tag === "Reconnecting")
          ? undefined
          : Effect.void
      },
      { duration: Duration.millis(millis), orElse: () => Effect.void }
    )

  /** Shared by whoever asks meanwhile, so it is no caller's own; each waits for it no longer than for its own answer. */
  const listTools = <Method extends string>(call: Call<Method>, published: Core.Published) => {
    const ticket = new RequestTicket("tools/list", undefined)
    return published.tools.ask(call.tool ?? "", ask(published, ticket)).pipe(
      Effect.timeoutOrElse({
        duration: call.options.timeout,
        orElse: () => Effect.fail(timedOut(call, ticket))
      })
    )
  }

  const fail = <Method extends string>(
    call: Call<Method>,
    cause: ConnectionError,
    because: ConnectionUnavailable["because"]
  ): Effect.Effect<never, RequestError> => {
    const sending = call.mayHaveRun
    if (sending === undefined || ReplayPolicy.isSafeMethod(call.method))
      return Effect.fail(unavailable(because, cause, call.delivery))
    const { method, tool } = call
    const { generation, session } = sending.published
    const { requestId } = sending
    return Clock.clockWith((clock) =>
      Effect.andThen(
        core.emit((at) => ConnectionEvent.OutcomeUnknown({ at, method, tool, requestId, generation })),
        Effect.fail(
          new OutcomeUnknown({
            server: core.server,
            method,
            tool,
            requestId,
            generation,
            era: session.info.era,
            elapsed: Duration.millis(clock.currentTimeMillisUnsafe() - call.startedAt),
            cause: sending.cause
          })
        )
      )
    )
  }

  const awaitSessionFor = <Method extends string>(call: Call<Method>, after: number, suspicion?: Suspicion) =>
    Clock.clockWith((clock): Effect.Effect<Core.Published, ConnectionUnavailable | ConnectionClosed> => {
      const { wait } = call.options
      const arrived = arrival(after, undefined, suspicion)
      if (arrived !== undefined) return arrived
      if (wait === undefined) return Effect.fail(unavailable("NotWaiting"))
      const unsent = Duration.millis(clock.currentTimeMillisUnsafe() - call.unsentSince)
      if (Duration.isGreaterThanOrEqualTo(unsent, wait)) return Effect.fail(unavailable("WaitElapsed"))
      if (waiting >= limits.maxWaiting) return Effect.fail(unavailable("TooManyWaiting"))
      return counted(
        waitFor(after, undefined, suspicion, {
          duration: Duration.isFinite(wait) ? Duration.subtract(wait, unsent) : wait,
          orElse: () => Effect.fail(unavailable("WaitElapsed"))
        })
      )
    })

  /** Counts whoever waits, for `maxWaiting`. */
  const counted = <A, E>(wait: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        waiting += 1
      }),
      () => wait,
      () =>
        Effect.sync(() => {
          waiting -= 1
        })
    )

  const awaitSession: Requests["awaitSession"] = (after, known) => waitFor(after, known)

  const waitFor = (
    after: number,
    known?: ConnectionState.ConnectionState,
    suspicion?: Suspicion,
    within?: Within<Core.Published, ConnectionUnavailable | ConnectionClosed>
  ): Effect.Effect<Core.Published, ConnectionUnavailable | ConnectionClosed> =>
    Effect.suspend(() => {
      if (Ref.getUnsafe(core.snapshot).state._tag === "Idle") Queue.offerUnsafe(core.mailbox, Core.Start())
      return core.waiters.until(() => arrival(after, known, suspicion), within)
    })

  /** What a waiter gets now, if its wait is over. */
  const arrival = (
    after: number,
    known?: ConnectionState.ConnectionState,
    suspicion?: Suspicion
  ): Effect.Effect<Core.Published, ConnectionUnavailable | ConnectionClosed> | undefined => {
    const { published, state } = Ref.getUnsafe(core.snapshot)
    const least = suspicion?.isCleared() === true ? after : after + 1
    if (published !== undefined && published.generation >= least) return Effect.succeed(published)
    if (state._tag === "Closed") return Effect.fail(closed("NotSent"))
    if (state._tag === "Failed" && state !== known) return Effect.fail(unavailable("Failed"))
    return undefined
  }

  const isClosed = (): boolean => Ref.getUnsafe(core.snapshot).state._tag === "Closed"

  const closed = (delivery: Delivery.Delivery) => new ConnectionClosed({ server: core.server, delivery })

  const unavailable = (
    because: ConnectionUnavailable["because"],
    cause?: ConnectionError,
    delivery: Delivery.Delivery = "NotSent"
  ): ConnectionUnavailable => {
    const { state } = Ref.getUnsafe(core.snapshot)
    return new ConnectionUnavailable({
      server: core.server,
      because,
      state: state._tag,
      delivery,
      cause: cause ?? ConnectionState.causeOf(state),
      retryAt: ConnectionState.retryAtOf(state)
    })
  }

  const timedOut = <Method extends string>(call: Call<Method>, ticket: RequestTicket): RequestTimeout =>
    new RequestTimeout({
      server: core.server,
      method: call.method,
      tool: call.tool,
      requestId: ticket.requestId,
      after: call.options.timeout,
      delivery: Delivery.worst(call.delivery, ticket.sent ? "Unknown" : "NotSent")
    })

  return { request, onSession, awaitSession, unavailable, waiting: () => waiting }
}

const notBefore = ({ retryAfter }: ConnectionError, now: number): number =>
  retryAfter === undefined ? now : now + Duration.toMillis(retryAfter)

const makeCall = <Method extends string>(
  method: Method,
  params: ParamsOf<Method> | undefined,
  options: Options,
  tool: string | undefined,
  now: number
): Call<Method> => ({
  method,
  params,
  tool,
  options,
  startedAt: now,
  unsentSince: now,
  replays: 0,
  notBefore: now,
  resumptions: 0,
  sendings: 0,
  delivery: "NotSent",
  mayHaveRun: undefined
})
