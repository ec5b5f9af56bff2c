/** The rules that can only be judged at a moment (DESIGN §12): 5 and 8. */
import * as Effect from "effect/Effect"
import { storyOf } from "./story.ts"
import type { Violation } from "./violation.ts"
import type { Seen } from "./watched.ts"

/** Lets every fiber that can run now do so, without any passing of time. */
export const calm = Effect.repeat(Effect.yieldNow, { times: 20 })

/** Between two steps of the engine a rule may seem to be broken: what is wrong has to stay so. */
export const look = (seen: Seen): Effect.Effect<ReadonlyArray<Violation>> =>
  Effect.gen(function* () {
    yield* calm
    const first = yield* judge(seen)
    if (first.length === 0) return []
    yield* calm
    const second = yield* judge(seen)
    return second.filter(({ what }) => first.some((violation) => violation.what === what))
  })

const judge = (seen: Seen): Effect.Effect<ReadonlyArray<Violation>> =>
  Effect.gen(function* () {
    const { connection } = seen
    const state = yield* connection.state
    if (state._tag !== "Ready") return []
    const { generation } = state
    const session = seen.server.sessions.findLast((session) => session.generation === generation)
    const endedAt = session?.endedAt()
    const story = () => storyOf(seen, [], seen.now() - 60_000, seen.now())
    if (session === undefined)
      return [{ rule: 8, what: `Ready, but no session ${generation} was opened`, story: story() }]
    if (endedAt !== undefined)
      return [{ rule: 8, what: `Ready, but session ${generation} ended at ${endedAt}`, story: story() }]

    // Rule 5, in a moment in which nothing is on its way.
    if (seen.server.sessions.some((session) => session.inFlight() > 0)) return []
    if (seen.inFlight() > 0 || (yield* connection.health).waiting > 0) return []
    const { level, listsChangedAt, roots, subscriptions, unanswered } = session.book
    const { wishes } = seen
    const modern = session.info.era === "modern"
    const wrong = (what: string, has: unknown, wished: unknown): Violation => ({
      rule: 5,
      what: `${what} of session ${generation}: it has ${JSON.stringify(has)}, desired is ${JSON.stringify(wished)}`,
      story: story()
    })
    const read = [...wishes.readers].flatMap(([uri, readers]) => (readers > 0 ? [uri] : [])).toSorted()
    const subscribed = [...subscriptions].toSorted()
    const setsLevel =
      !modern &&
      session.info.capabilities.logging !== undefined &&
      wishes.levelDoubtfulOn !== generation &&
      !unanswered.has("logging/setLevel")
    const subscribes =
      session.info.capabilities.resources?.subscribe === true &&
      !unanswered.has("resources/unsubscribe") &&
      !unanswered.has("resources/subscribe")
    const { tools } = yield* connection.catalog
    const listed = seen.server.behavior.listed(generation)
    const listsAreRight = tools === undefined || (!tools.stale && same(tools.items, listed))
    seen.listsWrongSince = listsAreRight ? undefined : (seen.listsWrongSince ?? seen.now())
    const asked = seen.server.sent.findLast(
      (sent) => sent.generation === generation && sent.method === "tools/list"
    )?.at
    const quietSince = Math.max(
      listsChangedAt,
      // Where a list that cannot be read does not end the session, it is asked for again later.
      session.isolation === "shared" ? 0 : Math.max(asked ?? 0, seen.listsWrongSince ?? 0) + longestPause
    )
    const lists = !unanswered.has("tools/list") && seen.now() - quietSince >= burst
    return [
      ...(setsLevel && level !== wishes.level ? [wrong("the log level", level, wishes.level)] : []),
      ...(roots !== undefined && !modern && !same(roots, wishes.roots)
        ? [wrong("the roots", roots, wishes.roots)]
        : []),
      ...(subscribes && !same(subscribed, read) ? [wrong("the subscriptions", subscribed, read)] : []),
      ...(lists && tools !== undefined && !listsAreRight
        ? [wrong(tools.stale ? "the catalog is stale:" : "the catalog", tools.items.map(nameOf), listed.map(nameOf))]
        : [])
    ]
  })

const nameOf = ({ name }: { readonly name: string }): string => name

/** In milliseconds: how long a burst of changes is waited for, and the list read anew. */
const burst = 2_500

/** In milliseconds: between two attempts to read lists on a session that is good otherwise. */
const longestPause = 30_000

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
