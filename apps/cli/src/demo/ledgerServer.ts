/**
 * The demo's own MCP server: one tool with an effect that must not happen twice.
 *
 * Over stdio, or with a second argument `http` on the port in `PORT`. `charge` writes a line to the ledger file (the first argument) and then never answers, so that whoever kills this process
 * kills it after the effect and before the reply.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
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

/** A demo that dies leaves this server no longer than this. */
const lifetime = "2 minutes"

const ledger = process.argv[2] ?? "ledger.txt"

const Charge = Tool.make("charge", {
  description: "Charges an account. Every call has an effect.",
  parameters: Schema.Struct({ amount: Schema.Finite }),
  success: Schema.String
})
  .annotate(Tool.Readonly, false)
  .annotate(Tool.Destructive, true)
  .annotate(Tool.Idempotent, false)

const tools = Toolkit.make(Charge)

const handlers = tools.toLayer(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    return {
      charge: ({ amount }) =>
        Effect.andThen(Effect.orDie(fs.writeFileString(ledger, `charged ${amount}\n`, { flag: "a" })), Effect.never)
    }
  })
)

const options = {
  name: "ledger",
  version: "1.0.0",
  protocols: [McpProtocol.v2025_11_25],
  registrations: McpServer.toolkit(tools).pipe(Layer.provide(handlers), Layer.provide(NodeServices.layer))
} as const

const overHttp = HttpRouter.serve(McpServer.layerHttp({ ...options, path: "/mcp" }), { disableListenLog: true }).pipe(
  Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: Number(process.env["PORT"]) }))
)

const served = process.argv[3] === "http" ? overHttp : McpServer.layerStdio(options)

served.pipe(
  // stdout belongs to the protocol.
  Layer.provide(Logger.layer([])),
  Layer.provide(NodeServices.layer),
  Layer.launch,
  Effect.timeoutOption(lifetime),
  NodeRuntime.runMain
)
