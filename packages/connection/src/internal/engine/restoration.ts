/** Brings a session to what is desired before anyone can use it, and keeps it there (DESIGN §7). */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type * as Catalog from "../../Catalog.ts"
import { type ConnectionError, RestorationFailed, TransportClosed } from "../../ConnectionError.ts"
import * as ConnectionEvent from "../../ConnectionEvent.ts"
import type { OnSession, SessionHandle } from "../../McpConnection.ts"
import { RequestTicket, type SessionFailure } from "../../McpSession.ts"
import * as Catalogs from "./catalogs.ts"
import type * as Core from "./core.ts"
import * as Desired from "./desired.ts"

export interface Options<R> {
  /** What a step that fails means for the attempt. */
  readonly restore: "required" | "best-effort"
  readonly onSession: OnSession<R> | undefined
  /** How long each step may take. */
  readonly timeout: Duration.Duration
}

export interface Restoration<R> {
  /** Brings a session that nobody sees yet to what is desired, and reads the lists that were read before. */
  readonly restore: (
    published: Core.Published,
    previous: number | undefined
  ) => Effect.Effect<ReadonlyArray<Catalogs.Reading>, ConnectionError, R>
  /** What a session that is opened now will know from its handshake. */
  readonly appliedAtStart: () => Desired.Applied
  /** Sends what is still missing, when something desired has changed meanwhile. */
  readonly settle: (published: Core.Published) => Effect.Effect<void, ConnectionError>
  readonly isSettled: (published: Core.Published) => boolean
  /**
   * Asks a session of the modern era for the changes that are desired to be told, if it does not tell of them yet; with `anew` also
   * if it did until now. Succeeds with the lists that it tells of from now on.
   */
  readonly listen: (
    published: Core.Published,
    anew?: "anew"
  ) => Effect.Effect<ReadonlyArray<Catalog.Kind>, SessionFailure>
  /** Reads lists anew; one that cannot be read is left out. */
  readonly relist: (
    published: Core.Published,
    kinds: ReadonlyArray<Catalog.Kind>
  ) => Effect.Effect<ReadonlyArray<Catalogs.Reading>, ConnectionError>
}

export const make = <R>(
  core: Core.Core,
  desired: Desired.Desired,
  catalogs: Catalogs.Catalogs,
  options: Options<R>
): Restoration<R> => {
  /** One step of a restoration: what it fails with fails the attempt, or is only told. */
  const step = <A, R2>(
    name: string,
    generation: number,
    effect: Effect.Effect<A, SessionFailure | { readonly message: string }, R2>
  ): Effect.Effect<A | undefined, ConnectionError, R2> =>
    effect.pipe(
      Effect.timeoutOrElse({
        duration: options.timeout,
        orElse: () => Effect.fail({ message: `no answer within ${Duration.format(options.timeout)}` })
      }),
      Effect.catchDefect((defect) =>
        Effect.fail({ message: core.defect("onSession", Cause.die(defect)).reason.message })
      ),
      // Not this fiber's interruption, which no handler catches: the step interrupted itself.
      Effect.catchCauseIf(Cause.hasInterruptsOnly, () => Effect.fail({ message: "it interrupted itself" })),
      Effect.catch((failure) => {
        // A session that is lost under the step is lost, whatever the step was good for.
        if ("_tag" in failure && failure._tag === "ConnectionError") return Effect.fail(failure)
        const error = core.error(new RestorationFailed({ step: name, description: failure.message }))
        if (options.restore === "required") return Effect.fail(error)
        return Effect.as(
          core.emit((at) => ConnectionEvent.RestorationSkipped({ at, generation, step: name, error })),
          undefined
        )
      })
    )

  const listen: Restoration<R>["listen"] = (published, anew) =>
    Effect.suspend(() => {
      published.listenTurn ??= Semaphore.makeUnsafe(1)
      return published.listenTurn.withPermit(listenNow(published, anew))
    })

  const listenNow: Restoration<R>["listen"] = (published, anew) =>
    Effect.suspend(() => {
      const { applied, session } = published
      if (anew === "anew") Desired.unlisten(applied)
      const next = Desired.nextStep(desired, applied, session.info, catalogs.listed())
      if (next?.kind !== "listen") return Effect.succeed([])
      const { acknowledged, filter, method, refused } = next
      const told = Desired.newlyTold(filter, applied.listening.filter)
      return session.listen(filter).pipe(
        Effect.timeoutOrElse({
          duration: options.timeout,
          orElse: () => {
            const description = `${method} was not answered within ${Duration.format(options.timeout)}`
            return Effect.fail(core.error(new TransportClosed({ description })))
          }
        }),
        Effect.map(() => {
          acknowledged()
          return told
        }),
        Effect.catch((failure) => {
          // Not every server that has lists tells of their changes; who reads a resource has to know.
          if (failure._tag !== "ServerRejected" || filter.resourceSubscriptions !== undefined)
            return Effect.fail(failure)
          refused()
          return Effect.as(Effect.logDebug("mcp server does not tell of changes", { error: failure.message }), [])
        })
      )
    })

  const settle: Restoration<R>["settle"] = (published) =>
    Effect.suspend(() => {
      const { applied, generation, session } = published
      const next = Desired.nextStep(desired, applied, session.info, catalogs.listed())
      if (next === undefined) return Effect.void
      // A step that was skipped counts as done: it would be tried for ever.
      const done =
        next.kind === "listen"
          ? Effect.map(step(next.method, generation, Effect.as(listen(published), "agreed" as const)), (agreed) => {
              if (agreed === undefined) next.refused()
            })
          : Effect.map(
              step(
                next.method,
                generation,
                next.kind === "request"
                  ? session.request(new RequestTicket<string>(next.method, next.params))
                  : session.notify(next.method, next.params)
              ),
              next.acknowledged
            )
      return Effect.andThen(done, settle(published))
    })

  /** What becomes of an answer to a list that is asked for now. */
  const noting = ({ tools, versions }: Core.Published, kind: Catalog.Kind): ((result: unknown) => Catalogs.Reading) => {
    const epoch = tools.epoch
    const readingOf = Catalogs.reading(versions, kind)
    return (result) => {
      if (kind === "tools") tools.remember(result, epoch)
      return readingOf(result)
    }
  }

  const read = (published: Core.Published, kind: Catalog.Kind): Effect.Effect<Catalogs.Reading, SessionFailure> =>
    Effect.suspend(() =>
      Effect.map(
        published.session.request(new RequestTicket<string>(Catalogs.methods[kind], undefined)),
        noting(published, kind)
      )
    )

  /** Reads lists, each as `one` says. */
  const readEach = (
    published: Core.Published,
    kinds: ReadonlyArray<Catalog.Kind>,
    one: typeof step
  ): Effect.Effect<ReadonlyArray<Catalogs.Reading>, ConnectionError> =>
    Effect.map(
      Effect.forEach(kinds, (kind) => one(Catalogs.methods[kind], published.generation, read(published, kind))),
      (readings) => readings.filter((reading) => reading !== undefined)
    )

  return {
    appliedAtStart: () => Desired.appliedAtStart(desired),
    settle,
    listen,
    isSettled: ({ applied, session }) =>
      Desired.nextStep(desired, applied, session.info, catalogs.listed()) === undefined,
    relist: (published, kinds) =>
      readEach(published, kinds, (method, generation, reading) =>
        Effect.catchIf(
          step(method, generation, reading),
          (error) => error.reason._tag === "RestorationFailed",
          (error) =>
            Effect.as(
              Effect.logWarning("an mcp list could not be read again", { method, error: error.message }),
              undefined
            )
        )
      ),
    restore: (published, previous) =>
      Effect.gen(function* () {
        yield* settle(published)
        const { generation, session } = published
        const { onSession } = options
        /** The lists that `onSession` has read, each as it was last. */
        const seen = new Map<Catalog.Kind, Catalogs.Reading>()
        if (onSession !== undefined) {
          const handle: SessionHandle = {
            info: session.info,
            request: (method, params) =>
              Effect.suspend(() => {
                const answer = session.request(new RequestTicket(method, params))
                const kind = Catalogs.kindOf(method, params)
                if (kind === undefined) return answer
                const note = noting(published, kind)
                return Effect.tap(answer, (result) => Effect.sync(() => seen.set(kind, note(result))))
              }),
            notify: (method, params) => session.notify(method, params)
          }
          yield* step(
            "onSession",
            generation,
            Effect.suspend(() => onSession(handle, { generation, previous }))
          )
        }
        const listed = catalogs.listed()
        const known = listed.flatMap((kind) => {
          const reading = seen.get(kind)
          return reading === undefined || reading.overtaken() ? [] : [reading]
        })
        const unknown = listed.filter((kind) => known.every((reading) => reading.kind !== kind))
        return [...known, ...(yield* readEach(published, unknown, step))]
      })
  }
}
