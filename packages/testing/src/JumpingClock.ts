/**
 * A clock that can jump while no timer runs, as a machine's does when it sleeps.
 *
 * It is built on the `Clock` it finds, `TestClock` and `VirtualClock` included, and everything else stays that clock's: `TestClock.adjust`
 * and `VirtualClock.runFor` go on working under it. Its layer has to be built on the other one's, with `Layer.provideMerge`; beside it,
 * with `Layer.merge`, it is built on the real clock, and jumps that one.
 *
 * @example
 * ```ts
 * import { JumpingClock, VirtualClock } from "@mcp-tether/testing"
 * import { Clock, Effect, Layer } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   yield* JumpingClock.jump("8 hours")
 *   yield* VirtualClock.runFor("1 second")
 *   return yield* Clock.currentTimeMillis
 * })
 *
 * const sleepyMachine = Layer.provideMerge(JumpingClock.layer, VirtualClock.layer())
 * await Effect.runPromise(Effect.provide(program, sleepyMachine)) // => 28_801_000
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/**
 * What a clock that can jump offers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Shape {
  /** The `Clock`, to be provided where {@link layer} does not fit. */
  readonly clock: Clock.Clock
  /** The wall clock jumps, forward unless said otherwise. No sleep ends sooner or later for it. */
  readonly jump: (duration: Duration.Input, direction?: "forward" | "back") => Effect.Effect<void>
}

/**
 * The service of a clock that can jump.
 *
 * @category services
 * @since 0.1.0
 */
export class JumpingClock extends Context.Service<JumpingClock, Shape>()("@mcp-tether/testing/JumpingClock") {}

/**
 * Makes a clock that can jump out of the one that it finds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<Shape> = Effect.map(Clock.Clock, (clock) => {
  let offset = 0
  const currentTimeMillisUnsafe = () => clock.currentTimeMillisUnsafe() + offset
  const currentTimeNanosUnsafe = () => clock.currentTimeNanosUnsafe() + BigInt(Math.round(offset * 1_000)) * 1_000n
  return {
    // All else is the other clock's, the way to advance it too.
    clock: Object.assign(Object.create(clock), {
      currentTimeMillisUnsafe,
      currentTimeMillis: Effect.sync(currentTimeMillisUnsafe),
      currentTimeNanosUnsafe,
      currentTimeNanos: Effect.sync(currentTimeNanosUnsafe)
    }),
    jump: (duration, direction = "forward") =>
      Effect.sync(() => {
        offset += (direction === "forward" ? 1 : -1) * Duration.toMillis(Duration.fromInputUnsafe(duration))
      })
  }
})

/**
 * The clock of all that runs under it can jump.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<JumpingClock> = Layer.effectContext(
  Effect.map(make, (jumping) => Context.make(JumpingClock, jumping).pipe(Context.add(Clock.Clock, jumping.clock)))
)

/**
 * The wall clock jumps, forward unless said otherwise, while no timer runs.
 *
 * @category time
 * @since 0.1.0
 */
export const jump = (
  duration: Duration.Input,
  direction?: "forward" | "back"
): Effect.Effect<void, never, JumpingClock> => JumpingClock.use(({ jump }) => jump(duration, direction))
