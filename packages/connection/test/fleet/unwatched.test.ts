/** A file that the system does not allow to be watched, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import { ChildProcessSpawner } from "effect/process"
import * as Stream from "effect/Stream"
import * as McpFleet from "../../src/McpFleet.ts"
import { advance, settle } from "../support/time.ts"

const problem = (method: string, tag: PlatformError.SystemErrorTag) =>
  PlatformError.systemError({ _tag: tag, module: "FileSystem", method, pathOrDescriptor: "/etc/mcp/mcp.json" })

describe("a file that cannot be watched", () => {
  const ways: Readonly<Record<string, FileSystem.FileSystem["watch"]>> = {
    "is refused": () => Stream.fail(problem("watch", "PermissionDenied")),
    "breaks Node's own way, which throws (ENOSPC)": () => Stream.die(new Error("ENOSPC: no watches are left")),
    "ends by itself": () => Stream.empty
  }
  for (const [way, watch] of Object.entries(ways))
    it.effect(`${way}: it is read every 30 seconds, and that is said once`, () => {
      const logs: Array<string> = []
      let text = `{ "mcpServers": { "a": { "command": "a" } } }`
      let reads = 0
      const services = Layer.mergeAll(
        FileSystem.layerNoop({
          watch,
          exists: () => Effect.succeed(true),
          readLink: () => Effect.fail(problem("readLink", "Unknown")),
          readFileString: () =>
            Effect.sync(() => {
              reads += 1
              return text
            })
        }),
        Path.layer,
        Layer.mock(ChildProcessSpawner.ChildProcessSpawner, {}),
        Logger.layer([
          Logger.make(({ message }) => {
            logs.push(JSON.stringify(message))
          })
        ])
      )
      return Effect.gen(function* () {
        const { transport } = SimulatedServer.makeUnsafe()
        const fleet = yield* McpFleet.fromFiles({ files: "/etc/mcp/mcp.json" }, (server) => ({
          ...server,
          transport,
          heartbeat: "off"
        }))
        yield* advance("29 seconds")
        assert.strictEqual(reads, 1)
        text = `{ "mcpServers": { "b": { "command": "b" } } }`
        yield* advance("2 seconds")
        assert.deepStrictEqual(yield* fleet.names, ["b"])
        yield* advance("5 minutes")
        assert.isAtMost(reads, 13)
        yield* settle
        assert.lengthOf(
          logs.filter((line) => line.includes("cannot be watched")),
          1,
          logs.join("\n")
        )
      }).pipe(Effect.scoped, Effect.provide(services))
    })
})
