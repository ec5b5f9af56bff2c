/**
 * What is known of a request that did not get its answer.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Schema of {@link Delivery}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Delivery = Schema.Literals(["NotSent", "Refused", "Unknown"])

/**
 * How far a failed request got:
 *
 * - `NotSent`: no byte of it was handed to the pipe or socket, so the server cannot have run it;
 * - `Refused`: the server answered that it did not process it;
 * - `Unknown`: it was handed over and no answer came back, so it may have run.
 *
 * @category models
 * @since 0.1.0
 */
export type Delivery = typeof Delivery.Type

/**
 * What is known of a call that was sent more than once: one `Unknown` makes the whole call `Unknown`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const worst = (self: Delivery, that: Delivery): Delivery =>
  self === "Unknown" || that === "Unknown"
    ? "Unknown"
    : self === "Refused" || that === "Refused"
      ? "Refused"
      : "NotSent"
