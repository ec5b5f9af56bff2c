/**
 * `@mcp-tether/connection`: a self-healing connection to an MCP server, for Effect.
 *
 * @since 0.1.0
 */
export * as Catalog from "./Catalog.ts"
export * as ConnectionError from "./ConnectionError.ts"
export * as ConnectionEvent from "./ConnectionEvent.ts"
export * as ConnectionState from "./ConnectionState.ts"
export * as Delivery from "./Delivery.ts"
export type * as Health from "./Health.ts"
export * as Heartbeat from "./Heartbeat.ts"
export * as InvalidOptions from "./InvalidOptions.ts"
export * as McpConfig from "./McpConfig.ts"
export * as McpConnection from "./McpConnection.ts"
export * as McpFleet from "./McpFleet.ts"
export * as McpSession from "./McpSession.ts"
export * as McpTransport from "./McpTransport.ts"
export * as ReconnectPolicy from "./ReconnectPolicy.ts"
export * as ReplayPolicy from "./ReplayPolicy.ts"
export * as RequestError from "./RequestError.ts"
export * as ToolFilter from "./ToolFilter.ts"
