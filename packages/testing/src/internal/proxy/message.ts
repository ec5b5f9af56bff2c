/** JSON-RPC messages, as far as triggers care. Without imports of a library: the process in between loads it at each start. */

/** The text as JSON; `undefined` when it is none. */
export const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A request or notification. */
export interface Requested {
  readonly method: string
  readonly tool: string | undefined
  /** `undefined`: it is a notification. */
  readonly id: string | number | undefined
}

export const requestIn = (value: unknown): Requested | undefined => {
  const method = at(value, "method")
  if (typeof method !== "string") return undefined
  const name = method === "tools/call" ? at(at(value, "params"), "name") : undefined
  const id = at(value, "id")
  return {
    method,
    tool: typeof name === "string" ? name : undefined,
    id: typeof id === "string" || typeof id === "number" ? id : undefined
  }
}

const at = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined

/** What a message is the answer to. */
export const replyIdIn = (value: unknown): string | number | undefined => {
  const id = at(value, "id")
  return at(value, "method") === undefined && (typeof id === "string" || typeof id === "number") ? id : undefined
}
