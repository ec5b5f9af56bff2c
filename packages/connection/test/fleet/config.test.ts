/** Where a fleet's files are, and its options, as configuration. */
import { assert, describe, it } from "@effect/vitest"
import { layer as nodeServices } from "@effect/platform-node/NodeServices"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as McpFleet from "../../src/McpFleet.ts"

/** A file with one server, which is not started. */
const withFile = <A, E, R>(use: (file: string) => Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "mcp-tether-"))),
    (folder) =>
      Effect.suspend(() => {
        const file = join(folder, "mcp.json")
        writeFileSync(file, `{ "mcpServers": { "docs": { "url": "https://\${HOST}/mcp" } } }`)
        return use(file)
      }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )

const lazily: McpFleet.Configure = (server) => ({ ...server, start: "lazy" })
const provider = (env: Readonly<Record<string, string>>) => ConfigProvider.layer(ConfigProvider.fromEnv({ env }))

describe("the configuration of a fleet", () => {
  it.effect("is in the environment, under MCP_FLEET", () =>
    Effect.gen(function* () {
      const parse = (env: Readonly<Record<string, string>>) => McpFleet.config.parse(ConfigProvider.fromEnv({ env }))
      assert.deepStrictEqual(yield* parse({ MCP_FLEET_FILES: "/a/mcp.json" }), {
        files: ["/a/mcp.json"],
        start: undefined,
        settle: undefined,
        concurrency: undefined,
        slot: undefined,
        budget: { burst: 20, perSecond: 10 }
      })
      const all = yield* parse({
        MCP_FLEET_FILES: "/a/mcp.json, /b/mcp.json",
        MCP_FLEET_START: "background",
        MCP_FLEET_SETTLE: "1 second",
        MCP_FLEET_CONCURRENCY: "4",
        MCP_FLEET_SLOT: "2 seconds",
        MCP_FLEET_BURST: "5"
      })
      assert.deepInclude(all, {
        files: ["/a/mcp.json", "/b/mcp.json"],
        start: "background",
        concurrency: 4,
        budget: { burst: 5, perSecond: 10 }
      })
      assert.include((yield* Effect.flip(parse({}))).message, "MCP_FLEET")
      assert.include((yield* Effect.flip(parse({ MCP_FLEET_FILES: "a", MCP_FLEET_START: "later" }))).message, "START")
    })
  )

  it.live("makes a layer, whose files take their variables from the same provider", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const fleet = yield* McpFleet.McpFleet
        assert.deepStrictEqual(yield* fleet.names, ["docs"])
      }).pipe(
        Effect.provide(
          McpFleet.layerConfig(undefined, lazily).pipe(
            Layer.provide([nodeServices, provider({ MCP_FLEET_FILES: file, HOST: "docs.example.com" })])
          )
        )
      )
    )
  )

  it.live("is of any names, and a program that is not written in Effect has it through a ManagedRuntime", () =>
    withFile((file) =>
      Effect.promise(async () => {
        const runtime = ManagedRuntime.make(
          McpFleet.layerConfig({ files: Config.String("MCP_CONFIG"), concurrency: Config.succeed(2) }, lazily).pipe(
            Layer.provide([nodeServices, provider({ MCP_CONFIG: file, HOST: "docs.example.com" })])
          )
        )
        const fleet = await runtime.runPromise(McpFleet.McpFleet)
        assert.deepStrictEqual(await runtime.runPromise(fleet.names), ["docs"])
        await runtime.dispose()
      })
    )
  )

  it.live("that is wrong makes none, and says what is", () =>
    Effect.gen(function* () {
      const build = (options: Parameters<typeof McpFleet.layerConfig>[0]) =>
        Effect.flip(Effect.scoped(Layer.build(McpFleet.layerConfig(options)))).pipe(
          Effect.provide([nodeServices, provider({})])
        )
      assert.strictEqual((yield* build(undefined))._tag, "ConfigError")
      assert.strictEqual((yield* build({ files: Config.succeed("/nowhere/mcp.json") }))._tag, "InvalidConfig")
      for (const files of ["", []]) {
        const none = yield* build({ files: Config.succeed(files) })
        assert.include(none.message, "files: expected the path of a file, or a list of at least one")
      }
      const settle = yield* build({ files: Config.succeed("mcp.json"), settle: Config.succeed(0) })
      assert.include(settle.message, "settle: expected a duration of more than nothing")
    })
  )
})
