/**
 * The MCP server of `demo` and of `chaos`: tools with an effect that must not happen twice.
 *
 * Over stdio, or with a second argument `http` on the port in `PORT`. `charge` writes a line to the ledger file (the first argument)
 * and then never answers, so that whoever kills this process kills it after the effect and before the reply. `pay` works, writes the
 * line, works on, and answers; `look` has no effect, and answers what it was asked. A third argument is how long it lives, in milliseconds.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import { createServer } from "node:http"

/** Who dies leaves this server no longer than this. */
const lifetime = Duration.millis(Number(process.argv[4] ?? 120_000))

const ledger = process.argv[2] ?? "ledger.txt"

const Charge = Tool.make("charge", {
  description: "Charges an account. Every call has an effect.",
  parameters: Schema.Struct({ amount: Schema.Finite }),
  success: Schema.String
})
  .annotate(Tool.Readonly, false)
  .annotate(Tool.Destructive, true)
  .annotate(Tool.Idempotent, false)

const millis = Schema.Finite

const Pay = Tool.make("pay", {
  description: "Pays an order. Every call has an effect.",
  parameters: Schema.Struct({ order: Schema.String, before: millis, after: millis }),
  success: Schema.String
})
  .annotate(Tool.Readonly, false)
  .annotate(Tool.Destructive, true)
  .annotate(Tool.Idempotent, false)

const Look = Tool.make("look", {
  description: "Looks at an order.",
  parameters: Schema.Struct({ order: Schema.String, millis }),
  success: Schema.String
}).annotate(Tool.Readonly, true)

const tools = Toolkit.make(Charge, Pay, Look)

const handlers = tools.toLayer(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const write = (line: string) => Effect.orDie(fs.writeFileString(ledger, `${line}\n`, { flag: "a" }))
    return {
      charge: ({ amount }) => Effect.andThen(write(`charged ${amount}`), Effect.never),
      pay: ({ after, before, order }) =>
        Effect.sleep(before).pipe(
          Effect.andThen(write(order)),
          Effect.andThen(Effect.sleep(after)),
          Effect.as(`paid ${order}`)
        ),
      look: ({ millis, order }) => Effect.as(Effect.sleep(millis), `seen ${order}`)
    }
  })
)

const options = {
  name: "ledger",
  version: "1.0.0",
  protocols: [McpProtocol.v2025_11_25],
  registrations: McpServer.toolkit(tools).pipe(Layer.provide(handlers), Layer.provide(NodeServices.layer))
} as const

const overHttp = HttpRouter.serve(McpServer.layerHttp({ ...options, path: "/mcp" }), {
  disableListenLog: true
}).pipe(Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: Number(process.env["PORT"]) })))

const served = process.argv[3] === "http" ? overHttp : McpServer.layerStdio(options)

served.pipe(
  // stdout belongs to the protocol.
  Layer.provide(Logger.layer([])),
  Layer.provide(NodeServices.layer),
  Layer.launch,
  Effect.timeoutOption(lifetime),
  NodeRuntime.runMain
)
