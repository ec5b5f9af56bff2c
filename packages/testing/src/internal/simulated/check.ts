/** Whether a script can be played by a server: each step that cannot is named. */
import { InvalidOptions } from "@mcp-tether/connection"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Faulty from "../../Fault.ts"
import * as Faults from "../../Faults.ts"
import type { Options } from "../../SimulatedServer.ts"

const Step = Schema.Struct({ when: Faults.Trigger, fault: Faulty.Fault })

/** What a server can do. */
export interface Abilities {
  readonly over: "stdio" | "http"
  readonly releases: ReadonlyArray<string>
  readonly canJump: boolean
}

export const abilitiesOf = ({ over = "stdio", releases = {} }: Options, canJump: boolean): Abilities => ({
  over,
  releases: Object.keys(releases),
  canJump
})

export const checkScript = (
  script: Faults.Script,
  abilities: Abilities,
  of = "SimulatedServer"
): Effect.Effect<void, InvalidOptions.InvalidOptions> => {
  const issues = script.flatMap((step, index) => {
    const decoded = Schema.decodeUnknownResult(Step)(step)
    const wrong = Result.isFailure(decoded)
      ? { expected: "a step of `Faults.at` or `Faults.on`", actual: decoded.failure.message }
      : cannot(step.fault, abilities)
    return wrong === undefined ? [] : [{ option: `faults[${index}]`, ...wrong }]
  })
  return failOn(issues, of)
}

/** Whether a fault can happen to a server. */
export const checkFault = (
  fault: Faulty.Fault,
  abilities: Abilities
): Effect.Effect<void, InvalidOptions.InvalidOptions> => {
  const decoded = Schema.decodeUnknownResult(Faulty.Fault)(fault)
  const wrong = Result.isFailure(decoded)
    ? { expected: "one of `Faults`", actual: decoded.failure.message }
    : cannot(fault, abilities)
  return failOn(wrong === undefined ? [] : [{ option: "fault", ...wrong }])
}

const failOn = (
  issues: ReadonlyArray<InvalidOptions.InvalidOptions["issues"][number]>,
  of = "SimulatedServer"
): Effect.Effect<void, InvalidOptions.InvalidOptions> =>
  Arr.isReadonlyArrayNonEmpty(issues) ? Effect.fail(new InvalidOptions.InvalidOptions({ of, issues })) : Effect.void

const cannot = (
  fault: Faulty.Fault,
  { canJump, over, releases }: Abilities
): { readonly expected: string; readonly actual: string } | undefined => {
  const actual = Faulty.describe(fault)
  switch (fault._tag) {
    case "ExpireSessions":
    case "Unauthorized":
    case "Unavailable":
      return over === "http" ? undefined : { expected: `a fault of stdio, or over: "http"`, actual }
    case "Noise":
      return over === "stdio" ? undefined : { expected: `a fault of HTTP, or over: "stdio"`, actual }
    case "Deploy":
      return releases.includes(fault.release)
        ? undefined
        : { expected: `one of the releases: ${releases.join(", ") || "none is declared"}`, actual }
    case "ClockJump":
      return canJump ? undefined : { expected: "no jump, or a `JumpingClock` around the server", actual }
    default:
      return undefined
  }
}
