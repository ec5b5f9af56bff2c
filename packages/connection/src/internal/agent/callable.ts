/** Which tools an agent can call at all. */
import type { Tool } from "@modelcontextprotocol/client"

/** MCP 2025-11-25, Tasks, Tool-Level Negotiation: some tools run only as tasks, and refuse every plain call. */
export const isCallable = ({ execution }: Tool): boolean => execution?.taskSupport !== "required"
