/** What servers are becoming. A server is becoming one thing at a time: what is wanted of it last. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Change, Server } from "../../McpFleet.ts"

interface Transition<R> {
  readonly goal: Server<R>
  readonly fiber: Fiber.Fiber<Change>
}

export interface Transitions<R> {
  /** The transition that is under way to the same server, if there is one; one to another server is given up. */
  readonly joined: (name: string, goal: Server<R> | undefined) => Effect.Effect<Fiber.Fiber<Change> | undefined>
  /** Begins one; it goes on whoever leaves, at most as long as the fleet lives. */
  readonly begin: (name: string, goal: Server<R>, work: Effect.Effect<Change>) => Effect.Effect<Fiber.Fiber<Change>>
}

export const make = <R>(scope: Scope.Scope): Transitions<R> => {
  const running = new Map<string, Transition<R>>()
  return {
    joined: Effect.fnUntraced(function* (name, goal) {
      const transition = running.get(name)
      if (transition === undefined) return undefined
      if (goal !== undefined && isSame(transition.goal, goal)) return transition.fiber
      yield* Fiber.interrupt(transition.fiber)
      return undefined
    }),
    begin: (name, goal, work) =>
      Effect.suspend(() => {
        let ended = false
        return work.pipe(
          Effect.ensuring(
            Effect.sync(() => {
              ended = true
              running.delete(name)
            })
          ),
          Effect.forkIn(scope, { startImmediately: true }),
          Effect.tap((fiber) =>
            Effect.sync(() => {
              if (!ended) running.set(name, { goal, fiber })
            })
          )
        )
      })
  }
}

export interface Begun {
  /** By server: what became of it, or what is becoming of it. */
  readonly begun: ReadonlyMap<string, Change | Fiber.Fiber<Change>>
  /** What was under way already. */
  readonly joined: ReadonlyMap<string, Fiber.Fiber<Change>>
}

/** Waits for what was begun, and for what was under way to the same end. Who gives that up gives up what was begun. */
export const outcomes = ({ begun, joined }: Begun): Effect.Effect<ReadonlyMap<string, Change>> =>
  Effect.forEach(
    [...begun, ...joined],
    ([name, change]) =>
      Effect.map(
        typeof change === "string" ? Effect.succeed(change) : outcome(change),
        (change) => [name, change] as const
      ),
    { concurrency: "unbounded" }
  ).pipe(
    Effect.map((changes) => new Map(changes)),
    Effect.onInterrupt(() =>
      Effect.forEach(begun.values(), (change) => (typeof change === "string" ? Effect.void : Fiber.interrupt(change)), {
        concurrency: "unbounded",
        discard: true
      })
    )
  )

const outcome = (fiber: Fiber.Fiber<Change>): Effect.Effect<Change> =>
  Effect.flatMap(Fiber.await(fiber), (exit) =>
    Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? Effect.succeed("abandoned" as const) : exit
  )

/** Of its transport, the source: a file that is read again makes a new transport. */
const isSame = <R>(a: Server<R>, b: Server<R>): boolean => {
  const { source: aSource, transport: aWay, ...aRest } = a
  const { source: bSource, transport: bWay, ...bRest } = b
  return Equal.equals(aRest, bRest) && Equal.equals(aSource ?? aWay, bSource ?? bWay)
}
