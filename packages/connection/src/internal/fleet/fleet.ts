/** Many connections, and what becomes of them when they shall be others. */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { ConnectionState } from "../../ConnectionState.ts"
import { InvalidOptions } from "../../InvalidOptions.ts"
import type * as McpConnection from "../../McpConnection.ts"
import type { Change, FleetEvent, Options, Server, Servers, Shape } from "../../McpFleet.ts"
import * as SlidingPubSub from "../engine/slidingPubSub.ts"
import { CountOption, decode, SpanOption } from "../options.ts"
import * as Admission from "./admission.ts"
import { FleetNotStarted, UnknownServer } from "./errors.ts"
import * as Member from "./member.ts"

const decodeOptions = decode(
  Schema.Struct({
    concurrency: Schema.optional(CountOption(1)),
    slot: Schema.optional(SpanOption),
    budget: Schema.optional(Schema.Struct({ burst: CountOption(1), perSecond: CountOption(1) }))
  }),
  { of: "McpFleet" }
)

/** What a name may be: whatever people call their servers. */
const names = /^\P{Cc}{1,128}$/u

interface StateOf {
  readonly server: string
  readonly state: ConnectionState
}

export const make = Effect.fnUntraced(function* <R = never>(
  servers: Servers<R>,
  options: Options = {}
): Effect.fn.Return<Shape<R>, InvalidOptions | FleetNotStarted, R | Scope.Scope> {
  const { budget = { burst: 20, perSecond: 10 }, concurrency = 8, slot } = yield* decodeOptions(options)
  yield* check(servers)
  const admission = Admission.make({ ...budget, concurrency, slot: Duration.fromInputUnsafe(slot ?? "1 second") })
  const context = yield* Effect.context<R>()
  const states = yield* SlidingPubSub.make<StateOf>({ capacity: 1024 })
  const events = yield* SlidingPubSub.make<FleetEvent>({ capacity: 1024 })
  const turn = yield* Semaphore.make(1)
  /** In the order in which they were given. */
  let members: ReadonlyMap<string, Member.Member<R>> = new Map()

  // The members' scopes are its children, those on their way in or out too; closed all at once: none waits for another.
  const scope = yield* Scope.fork(yield* Effect.scope, "parallel")

  /** Not interrupted: it waits for nothing, and what it has begun has to be known. */
  const open = (name: string, server: Server<R>) =>
    Effect.tap(Member.open(name, server, admission, scope), (member) =>
      forward(member.connection.events, (event) => PubSub.publish(events, { _tag: "ServerEvent", server: name, event }))
    ).pipe(Effect.provideContext(context), Effect.uninterruptible)

  /** Tells its states from now on, as long as its name is not another one's. */
  const show = (member: Member.Member<R>) =>
    forward(member.connection.changes, (state) => {
      const found = members.get(member.name)
      return found === undefined || found === member
        ? PubSub.publish(states, { server: member.name, state })
        : Effect.void
    })

  /** Opens servers that are new, all or none. */
  const openAll = Effect.fnUntraced(function* (wanted: ReadonlyArray<readonly [string, Server<R>]>) {
    const opened = new Map<string, Member.Member<R>>()
    const close = Effect.suspend(() => Effect.forEach(opened.values(), Member.close, { discard: true }))
    yield* Effect.forEach(
      wanted,
      ([name, server]) => Effect.map(open(name, server), (member) => opened.set(name, member)),
      { discard: true }
    ).pipe(Effect.onError(() => close))
    return opened
  }, Effect.uninterruptible)

  members = yield* openAll(Object.entries(servers))
  yield* Effect.forEach(members.values(), show, { discard: true })
  yield* Effect.onError(untilStarted([...members.values()].filter(({ server }) => server.required === true)), () =>
    Scope.close(scope, Exit.void)
  )

  const told = (server: string, change: Change): Effect.Effect<readonly [string, Change]> =>
    Effect.as(
      change === "unchanged" ? Effect.void : PubSub.publish(events, { _tag: "ServerChanged", server, change }),
      [server, change] as const
    )

  /** Puts a connection in the place of another one when it is there, or cannot be. */
  const replace = (old: Member.Member<R>, next: Server<R>) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const member = yield* open(old.name, next)
        if (next.start !== "lazy") {
          yield* Effect.onInterrupt(restore(Member.settled(member)), () => Member.close(member))
        }
        members = new Map([...members].map(([name, known]) => [name, name === old.name ? member : known]))
        yield* show(member)
        yield* restore(Member.retire(old))
        return "replaced" as const
      })
    )

  const refresh = (member: Member.Member<R>, next: Server<R>) =>
    Effect.suspend(() => {
      member.server = next
      member.way.current = next.transport
      // What has no session takes the new way by itself.
      return Effect.flatMap(member.connection.state, ({ _tag }) =>
        _tag === "Idle"
          ? Effect.succeed("refreshed" as const)
          : Effect.match(Member.refreshed(member), {
              onSuccess: () => "refreshed" as const,
              onFailure: () => "not-refreshed" as const
            })
      )
    })

  const reload: Shape<R>["reload"] = (next) =>
    Effect.gen(function* () {
      yield* check(next)
      const known = members
      const gone = [...known.values()].filter(({ name }) => !Object.hasOwn(next, name))
      yield* Effect.uninterruptible(
        Effect.gen(function* () {
          const added = yield* openAll(Object.entries(next).filter(([name]) => !known.has(name)))
          members = new Map(
            Object.keys(next).flatMap((name) => {
              const member = known.get(name) ?? added.get(name)
              return member === undefined ? [] : [[name, member] as const]
            })
          )
          yield* Effect.forEach(added.values(), show, { discard: true })
        })
      )
      const work = [
        ...gone.map((member) => Effect.as(Member.retire(member), [member.name, "removed"] as const)),
        ...Object.entries(next).map(([name, server]): Effect.Effect<readonly [string, Change], InvalidOptions> => {
          const member = known.get(name)
          if (member === undefined) return Effect.succeed([name, "added"])
          const change = Member.changeOf(member, server)
          return Effect.map(
            change === "unchanged"
              ? Effect.succeed(change)
              : change === "refreshed"
                ? refresh(member, server)
                : replace(member, server),
            (done) => [name, done]
          )
        })
      ]
      const done = yield* Effect.forEach(
        work,
        Effect.flatMap(([name, change]) => told(name, change)),
        {
          concurrency: "unbounded"
        }
      )
      return new Map(done)
    }).pipe(Semaphore.withPermit(turn))

  const current = Effect.sync(() => members)
  return {
    names: Effect.map(current, (members) => [...members.keys()]),
    connection: (name) =>
      Effect.suspend(() => {
        const member = members.get(name)
        return member === undefined
          ? Effect.fail(new UnknownServer({ server: name, known: [...members.keys()] }))
          : Effect.succeed(member.connection)
      }),
    connections: Effect.map(
      current,
      (members): ReadonlyMap<string, McpConnection.Shape> =>
        new Map([...members].map(([name, { connection }]) => [name, connection]))
    ),
    states: Effect.flatMap(current, (members) => statesOf([...members.values()])),
    changes: Stream.unwrap(
      Effect.gen(function* () {
        const changes = yield* PubSub.subscribe(states)
        const now = yield* statesOf([...members.values()])
        const last = new Map(now)
        return Stream.concat(
          Stream.fromIterable([...now].map(([server, state]): StateOf => ({ server, state }))),
          // What was published between the two is in both.
          Stream.filter(Stream.fromSubscription(changes), ({ server, state }) => {
            const isNew = last.get(server) !== state
            last.set(server, state)
            return isNew
          })
        )
      })
    ),
    events: Stream.fromPubSub(events),
    reload
  }
})

const statesOf = <R>(members: ReadonlyArray<Member.Member<R>>): Effect.Effect<ReadonlyMap<string, ConnectionState>> =>
  Effect.map(
    Effect.forEach(members, ({ connection, name }) => Effect.map(connection.state, (state) => [name, state] as const)),
    (states) => new Map(states)
  )

/** Hands on what a connection tells, until it is closed: its last word is that it is. */
const forward = <A>(stream: Stream.Stream<A>, publish: (a: A) => Effect.Effect<unknown>) =>
  stream.pipe(Stream.runForEach(publish), Effect.forkDetach({ startImmediately: true }))

const untilStarted = <R>(required: ReadonlyArray<Member.Member<R>>): Effect.Effect<void, FleetNotStarted> =>
  Effect.gen(function* () {
    const started = yield* Effect.forEach(required, (member) => Effect.result(Member.started(member)), {
      concurrency: "unbounded"
    })
    const failures = started.flatMap((result, index) => {
      const server = required[index]?.name ?? "?"
      return Result.isFailure(result) ? [{ server, error: result.failure }] : []
    })
    if (Arr.isArrayNonEmpty(failures)) return yield* Effect.fail(new FleetNotStarted({ failures }))
  })

/** All of them before any is opened or changed. */
const check = <R>(servers: Servers<R>): Effect.Effect<void, InvalidOptions> => {
  const issues = Object.keys(servers)
    .filter((name) => !names.test(name))
    .map((name) => ({
      option: JSON.stringify(name),
      expected: "a name of 1 to 128 characters, without control characters",
      actual: `${name.length} characters`
    }))
  return Arr.isArrayNonEmpty(issues)
    ? Effect.fail(new InvalidOptions({ of: "McpFleet", issues }))
    : Effect.forEach(Object.entries(servers), ([name, server]) => Member.check(name, server), { discard: true })
}
