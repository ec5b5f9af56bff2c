/**
 * The client of Effect itself, in the version that this workspace pins: "Interactive server requests, subscriptions, OAuth and retries are
 * not included" (McpClient.ts), so there is no option.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as McpClient from "effect/ai/McpClient"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as ChildProcess from "effect/process/ChildProcess"
import { type Connect, textOf } from "../adapter.ts"

export const connect: Connect = async (target) => {
  const options = { name: "peers", version: "1.0.0", protocol: McpProtocol.v2025_11_25 }
  const layer =
    target._tag === "stdio"
      ? McpClient.layerStdio({
          ...options,
          command: ChildProcess.make(target.command, target.args, { extendEnv: true, stderr: "ignore" })
        }).pipe(Layer.provide(NodeServices.layer))
      : McpClient.layerHttp({ ...options, url: target.url }).pipe(Layer.provide(FetchHttpClient.layer))
  const runtime = ManagedRuntime.make(layer)
  const client = await runtime.runPromise(McpClient.McpClient)
  const tools = await runtime.runPromise(client.listTools())
  return {
    call: async (name, args) => {
      const tool = tools.find((tool) => tool.name === name)
      if (tool === undefined) throw new Error(`no tool ${name}`)
      return textOf(
        await runtime.runPromise(
          Effect.map(client.callTool({ tool, arguments: args }), ({ content, isError }) => ({ content, isError }))
        )
      )
    },
    close: () => runtime.dispose()
  }
}
