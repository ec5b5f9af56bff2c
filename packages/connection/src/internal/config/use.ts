/** From a configuration to what the rest of the library takes. */
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import type { McpConfig, ServerConfig, Text } from "../../McpConfig.ts"
import type * as McpConnection from "../../McpConnection.ts"
import type * as McpFleet from "../../McpFleet.ts"
import * as McpTransport from "../../McpTransport.ts"

type Spawner = ChildProcessSpawner.ChildProcessSpawner

/** A secret is cut out of what servers write wherever it occurs, and `true` or `3000` occurs everywhere. */
const minSecret = 6

const revealed = (text: Text): string => (typeof text === "string" ? text : Redacted.value(text))

const concealable = (text: Text): Text => (revealed(text).length < minSecret ? revealed(text) : text)

const concealableAll = (texts: Readonly<Record<string, Text>>): Readonly<Record<string, Text>> =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, concealable(text)]))

export const transport = ({ transport }: ServerConfig): McpTransport.McpTransport<Spawner> => {
  if (transport._tag === "stdio") {
    const { args, command, cwd, env } = transport
    return McpTransport.stdio({
      command: revealed(command),
      args: args.map(concealable),
      env: concealableAll(env),
      cwd: cwd === undefined ? undefined : revealed(cwd)
    })
  }
  const options = { url: Redacted.value(transport.url), headers: concealableAll(transport.headers) }
  switch (transport._tag) {
    case "streamableHttp":
      return McpTransport.streamableHttp<Spawner>(options)
    case "sse":
      return McpTransport.sse<Spawner>(options)
    case "http":
      return McpTransport.http<Spawner>(options)
  }
}

const timeouts = ({ requestTimeout, startupTimeout }: ServerConfig) => ({
  ...(startupTimeout === undefined ? {} : { startupTimeout }),
  ...(requestTimeout === undefined ? {} : { requestTimeout })
})

const filter = ({ disabledTools, enabledTools }: ServerConfig) =>
  enabledTools === undefined && disabledTools === undefined
    ? {}
    : { tools: { only: enabledTools, except: disabledTools } }

export const connection = (server: ServerConfig): McpConnection.Options<Spawner> => ({
  name: server.name,
  transport: transport(server),
  ...timeouts(server),
  ...filter(server)
})

/** A server of a fleet. */
export const member = (server: ServerConfig): McpFleet.Server<Spawner> => ({
  transport: transport(server),
  required: server.required,
  source: server.transport,
  ...timeouts(server),
  ...filter(server)
})

export const fleet = (config: McpConfig): McpFleet.Servers<Spawner> =>
  Object.fromEntries(config.servers.filter((server) => !server.disabled).map((server) => [server.name, member(server)]))
