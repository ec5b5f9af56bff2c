/** The options of a fleet as configuration. */
import * as Config from "effect/Config"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { FileOptions } from "../../McpFleet.ts"

const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

export const config: Config.Config<FileOptions> = Config.all({
  files: Config.map(Config.Array(Schema.String, "FILES"), (files) => files.map((file) => file.trim())),
  start: optional(Config.Literals(["required", "background"], "START")),
  settle: optional(Config.Duration("SETTLE")),
  concurrency: optional(Config.Int("CONCURRENCY")),
  slot: optional(Config.Duration("SLOT")),
  // Who gives one of the two has the other's default.
  budget: Config.all({
    burst: Config.withDefault(Config.Int("BURST"), 20),
    perSecond: Config.withDefault(Config.Int("PER_SECOND"), 10)
  })
}).pipe(Config.nested("MCP_FLEET"))
