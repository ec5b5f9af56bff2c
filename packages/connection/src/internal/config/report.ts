/** What is to be said of an entry, with the place where it stands. */
import type { Client, Format, Note } from "../../McpConfig.ts"
import { type Document, format, type Keys } from "./document.ts"
import type { Issue } from "./errors.ts"
import type * as Expansion from "./expansion.ts"

export interface Context {
  readonly document: Document
  readonly format: Format
  readonly client: Client | undefined
  readonly scope: Expansion.Scope
}

/** Takes down what is to be said of an entry, with the place where it stands. */
export const report = (document: Document, root: Keys) => {
  const issues: Array<Issue> = []
  const notes: Array<Note> = []
  const at = (keys: Keys) => {
    const path = [...root, ...keys]
    return { path: format(path), ...document.locate(path) }
  }
  return {
    issues,
    notes,
    issue: (keys: Keys, issue: { readonly expected: string; readonly actual: string; readonly variable?: string }) => {
      issues.push({ ...at(keys), ...issue })
    },
    note: (keys: Keys, kind: Note["kind"], message: string) => {
      notes.push({ kind, ...at(keys), message })
    }
  }
}

export type Report = ReturnType<typeof report>
