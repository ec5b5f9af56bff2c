/** The clients that are compared. */
import type { Connect } from "./adapter.ts"

export interface Client {
  readonly name: string
  /** The package whose version is told. */
  readonly package: string
  /** Where it is: among the peers that npm installs, or in this workspace. */
  readonly from: "npm" | "workspace"
  readonly transports: ReadonlyArray<"stdio" | "http">
  readonly adapter: () => Promise<{ readonly connect: Connect }>
  /** What is switched on, for the reader of the report. The adapter says where that is documented. */
  readonly option: string
}

const both = ["stdio", "http"] as const

export const clients: ReadonlyArray<Client> = [
  {
    name: "mcp-tether",
    package: "@mcp-tether/connection",
    from: "workspace",
    transports: both,
    adapter: () => import("./adapters/tether.ts"),
    option: "its defaults"
  },
  {
    name: "sdk-v1",
    package: "@modelcontextprotocol/sdk",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/sdkV1.ts"),
    option: "reconnectionOptions (HTTP)"
  },
  {
    name: "sdk-v2",
    package: "@modelcontextprotocol/client",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/sdkV2.ts"),
    option: "reconnectionOptions (HTTP)"
  },
  {
    name: "effect",
    package: "effect",
    from: "workspace",
    transports: both,
    adapter: () => import("./adapters/effect.ts"),
    option: "none there"
  },
  {
    name: "ai-sdk",
    package: "@ai-sdk/mcp",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/aiSdk.ts"),
    option: "maxRetries: 2"
  },
  {
    name: "mastra",
    package: "@mastra/mcp",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/mastra.ts"),
    option: "always on"
  },
  {
    name: "langchain",
    package: "@langchain/mcp-adapters",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/langchain.ts"),
    option: "restart, reconnect; getTools() before each call"
  },
  {
    name: "langchain-held",
    package: "@langchain/mcp-adapters",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/langchainHeld.ts"),
    option: "restart, reconnect; tools held by the agent"
  },
  {
    name: "openai-agents",
    package: "@openai/agents",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/openaiAgents.ts"),
    option: "reconnectionOptions (HTTP)"
  },
  {
    name: "mcporter",
    package: "mcporter",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/mcporter.ts"),
    option: "always on (runtime, no daemon)"
  },
  {
    name: "mcp-use",
    package: "mcp-use",
    from: "npm",
    transports: both,
    adapter: () => import("./adapters/mcpUse.ts"),
    option: "reconnectionOptions (HTTP)"
  },
  {
    name: "mcp-remote",
    package: "mcp-remote",
    from: "npm",
    transports: ["http"],
    adapter: () => import("./adapters/mcpRemote.ts"),
    option: "none there (a proxy, behind SDK v1)"
  }
]
