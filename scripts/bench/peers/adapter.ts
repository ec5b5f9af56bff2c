/** What every client is asked to do, and nothing else. */

export type Target =
  | { readonly _tag: "stdio"; readonly command: string; readonly args: ReadonlyArray<string> }
  | { readonly _tag: "http"; readonly url: string }

export interface Connected {
  /** The text of the tool's answer. What the client says instead, it throws. */
  readonly call: (tool: string, args: { readonly n: number }) => Promise<string>
  readonly close: () => Promise<void>
}

export type Load = <A>(name: string) => Promise<A>

export interface Surroundings {
  /** Imports from the installed packages. */
  readonly load: Load
  /** Where they are installed. */
  readonly installed: string
  /** A folder for whatever a client keeps on disk. */
  readonly folder: string
}

export type Connect = (target: Target, surroundings: Surroundings) => Promise<Connected>

/** What MCP answers a call with. */
export interface CallToolResult {
  readonly isError?: boolean | undefined
  readonly content?: ReadonlyArray<{ readonly type: string; readonly text?: string }> | undefined
}

/** A tool that says that it failed is a failure here. */
export const textOf = ({ content, isError }: CallToolResult): string => {
  const text = (content ?? []).map((part) => part.text ?? "").join("")
  if (isError === true) throw new Error(text)
  return text
}
