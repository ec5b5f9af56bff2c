/** Many connections, and what becomes of them when they shall be others. */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { ConnectionState } from "../../ConnectionState.ts"
import { InvalidOptions } from "../../InvalidOptions.ts"
import type * as McpConnection from "../../McpConnection.ts"
import type { Change, FleetEvent, Options, Server, Servers, Shape } from "../../McpFleet.ts"
import * as Filtered from "../filtered.ts"
import { CountOption, decode, SpanOption } from "../options.ts"
import * as Admission from "./admission.ts"
import * as Broadcast from "./broadcast.ts"
import { FleetNotStarted, UnknownServer } from "./errors.ts"
import * as Member from "./member.ts"
import * as Transitions from "./transitions.ts"

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

export interface Opened<R> {
  readonly fleet: Shape<R>
  /** Begins a `reload`, and answers with what waits for its end. `news` are told when the servers are those, before what becomes of each. */
  readonly begin: (
    servers: Servers<R>,
    news?: ReadonlyArray<FleetEvent>
  ) => Effect.Effect<Effect.Effect<ReadonlyMap<string, Change>>, InvalidOptions>
  readonly tell: (event: FleetEvent) => Effect.Effect<void>
}

export const make = <R = never>(
  servers: Servers<R>,
  options: Options = {}
): Effect.Effect<Shape<R>, InvalidOptions | FleetNotStarted, R | Scope.Scope> =>
  Effect.map(open(servers, options), ({ fleet }) => fleet)

export const open = Effect.fnUntraced(function* <R = never>(
  servers: Servers<R>,
  options: Options = {}
): Effect.fn.Return<Opened<R>, InvalidOptions | FleetNotStarted, R | Scope.Scope> {
  const { budget = { burst: 20, perSecond: 10 }, concurrency = 8, slot } = yield* decodeOptions(options)
  yield* check(servers)
  const admission = Admission.make({ ...budget, concurrency, slot: Duration.fromInputUnsafe(slot ?? "1 second") })
  const context = yield* Effect.context<R>()
  const states = yield* Broadcast.make<StateOf>(1024)
  const events = yield* Broadcast.make<FleetEvent>(1024)
  const turn = yield* Semaphore.make(1)
  const ordinals = new Map<string, number>()
  const forwarding = new Set<Fiber.Fiber<void>>()
  /** In the order in which they were given. */
  let members: ReadonlyMap<string, Member.Member<R>> = new Map()

  // After the members are closed, and all that they had to say is said.
  yield* Effect.addFinalizer(() =>
    Effect.forEach([...forwarding], Fiber.await, { discard: true }).pipe(
      Effect.andThen(states.end),
      Effect.andThen(events.end)
    )
  )
  // The members' scopes are its children, those on their way in or out too; closed all at once: none waits for another.
  const scope = yield* Scope.fork(yield* Effect.scope, "parallel")
  const transitions = Transitions.make<R>(scope)

  /** Hands on what a connection tells, until it is closed: its last word is that it is. */
  const forward = <A>(stream: Stream.Stream<A>, publish: (a: A) => Effect.Effect<void>) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkDetach(Stream.runForEach(stream, publish), { startImmediately: true })
      forwarding.add(fiber)
      fiber.addObserver(() => forwarding.delete(fiber))
    })

  /** Not interrupted: it waits for nothing, and what it has begun has to be known. */
  const openOne = Effect.fnUntraced(
    function* (server: string, options: Server<R>) {
      const ordinal = (ordinals.get(server) ?? 0) + 1
      ordinals.set(server, ordinal)
      const unknownTools = (tools: ReadonlyArray<string>) =>
        Effect.andThen(events.publish({ _tag: "UnknownTools", server, tools }), Filtered.warn(server, tools))
      const member = yield* Member.open(server, options, { ordinal, admission, unknownTools }, scope)
      yield* forward(member.connection.events, (event) =>
        Effect.andThen(
          events.publish({ _tag: "ServerEvent", server, connection: ordinal, event }),
          event._tag === "SessionReady" || event._tag === "CatalogChanged" ? member.look : Effect.void
        )
      )
      return member
    },
    Effect.provideContext(context),
    Effect.uninterruptible
  )

  /** Tells its states from now on, as long as its name is not another one's. */
  const show = (member: Member.Member<R>) =>
    forward(member.connection.changes, (state) => {
      const found = members.get(member.name)
      return found === undefined || found === member ? states.publish({ server: member.name, state }) : Effect.void
    })

  /** Opens servers that are new, all or none. */
  const openAll = Effect.fnUntraced(function* (wanted: ReadonlyArray<readonly [string, Server<R>]>) {
    const opened = new Map<string, Member.Member<R>>()
    const close = Effect.suspend(() => Effect.forEach(opened.values(), Member.close, { discard: true }))
    yield* Effect.forEach(
      wanted,
      ([name, server]) => Effect.map(openOne(name, server), (member) => opened.set(name, member)),
      { discard: true }
    ).pipe(Effect.onError(() => close))
    return opened
  }, Effect.uninterruptible)

  members = yield* openAll(Object.entries(servers))
  yield* Effect.forEach(members.values(), show, { discard: true })
  yield* Effect.onError(untilStarted([...members.values()].filter(({ server }) => server.required === true)), () =>
    Scope.close(scope, Exit.void)
  )

  const told = (server: string, work: Effect.Effect<Change>): Effect.Effect<Change> =>
    Effect.tap(work, (change) => events.publish({ _tag: "ServerChanged", server, change }))

  /** In the background, so that whoever wants something else of the server meanwhile does not cut off what is in flight on it. */
  const retire = (member: Member.Member<R>) => Effect.forkIn(Member.retire(member), scope, { startImmediately: true })

  /** Puts a connection in the place of another one when it is there, or cannot be. */
  const replace = (old: Member.Member<R>, next: Server<R>): Effect.Effect<Change> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const member = yield* openOne(old.name, next)
        if (next.start !== "lazy") {
          const close = Effect.forkIn(Member.close(member), scope, { startImmediately: true, uninterruptible: true })
          yield* Effect.onInterrupt(restore(Member.settled(member)), () => close)
        }
        members = new Map([...members].map(([name, known]) => [name, known === old ? member : known]))
        yield* show(member)
        yield* restore(Fiber.await(yield* retire(old)))
        return "replaced" as const
      })
    ).pipe(Effect.orDie)

  /** What is to be done to a server that is there. */
  const changed = Effect.fnUntraced(function* (member: Member.Member<R>, next: Server<R>) {
    const change = yield* Member.changeOf(member, next)
    switch (change) {
      case "unchanged":
        return change
      case "filtered":
        return yield* told(member.name, Effect.as(Member.filtered(member, next), change))
      case "refreshed":
        return yield* transitions.begin(member.name, next, told(member.name, Member.refreshed(member, next)))
      case "replaced":
        return yield* transitions.begin(member.name, next, told(member.name, replace(member, next)))
    }
  })

  const change = Effect.fnUntraced(function* (next: Servers<R>, news: ReadonlyArray<FleetEvent>) {
    /** What is under way already, to the same end. */
    const joined = new Map<string, Fiber.Fiber<Change>>()
    for (const name of members.keys()) {
      const fiber = yield* transitions.joined(name, Object.hasOwn(next, name) ? next[name] : undefined)
      if (fiber !== undefined) joined.set(name, fiber)
    }
    const known = members
    const added = yield* openAll(Object.entries(next).filter(([name]) => !known.has(name)))
    members = new Map(
      Object.keys(next).flatMap((name) => {
        const member = known.get(name) ?? added.get(name)
        return member === undefined ? [] : [[name, member] as const]
      })
    )
    yield* Effect.forEach(news, events.publish, { discard: true })
    yield* Effect.forEach(added.values(), show, { discard: true })
    const begun = new Map<string, Change | Fiber.Fiber<Change>>()
    for (const member of known.values()) {
      if (members.has(member.name)) continue
      const removed = told(member.name, Effect.as(Member.retire(member), "removed"))
      begun.set(member.name, yield* Effect.forkIn(removed, scope, { startImmediately: true }))
    }
    for (const [name, server] of Object.entries(next)) {
      const member = known.get(name)
      if (member === undefined) begun.set(name, yield* told(name, Effect.succeed("added")))
      else if (!joined.has(name)) begun.set(name, yield* changed(member, server))
    }
    return { begun, joined }
  }, Effect.uninterruptible)

  const begin: Opened<R>["begin"] = (next, news = []) =>
    Effect.andThen(
      check(next),
      Effect.suspend(() => change(next, news))
    ).pipe(Semaphore.withPermit(turn), Effect.map(Transitions.outcomes))

  const current = Effect.sync(() => members)
  const fleet: Shape<R> = {
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
        const changes = yield* states.subscribe
        const now = yield* statesOf([...members.values()])
        const last = new Map(now)
        return Stream.concat(
          Stream.fromIterable([...now].map(([server, state]): StateOf => ({ server, state }))),
          // What was published between the two is in both.
          Stream.filter(changes, ({ server, state }) => {
            const isNew = last.get(server) !== state
            last.set(server, state)
            return isNew
          })
        )
      })
    ),
    events: Stream.unwrap(events.subscribe),
    files: Effect.succeed([]),
    reload: (servers) => Effect.flatten(begin(servers))
  }
  return { fleet, begin, tell: events.publish }
})

const statesOf = <R>(members: ReadonlyArray<Member.Member<R>>): Effect.Effect<ReadonlyMap<string, ConnectionState>> =>
  Effect.map(
    Effect.forEach(members, ({ connection, name }) => Effect.map(connection.state, (state) => [name, state] as const)),
    (states) => new Map(states)
  )

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
