/** JSON, with the comments and trailing commas that VS Code allows, and where each value stands. */
import { type Node, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser"
import type { Keys, Parsed, Position } from "./document.ts"

export const parse = (text: string): Parsed => {
  const position = positions(text)
  const errors: Array<ParseError> = []
  const tree = text.trim() === "" ? undefined : parseTree(text, errors, { allowTrailingComma: true })
  const [error] = errors
  if (error !== undefined) {
    return {
      _tag: "Unreadable",
      issue: {
        path: "",
        expected: expectations[printParseErrorCode(error.error)] ?? "JSON",
        actual: tokenAt(text, error.offset),
        ...position(error.offset)
      }
    }
  }
  if (tree === undefined)
    return { _tag: "Unreadable", issue: { path: "", expected: "a JSON object", actual: "an empty file" } }
  const twice: Array<Keys> = []
  return {
    _tag: "Document",
    document: {
      root: valueOf(tree, [], twice),
      locate: (keys) => {
        const node = keys.reduce<Node | undefined>(childOf, tree)
        return node === undefined ? undefined : position(node.offset)
      },
      twice
    }
  }
}

/** By the names of jsonc-parser's codes. */
const expectations: Readonly<Record<string, string>> = {
  InvalidSymbol: "a value: a text in double quotes, a number, true, false, null, [ or {",
  InvalidNumberFormat: "a number, like 30 or 0.5",
  PropertyNameExpected: "a key in double quotes",
  ValueExpected: "a value",
  ColonExpected: "a colon between a key and its value",
  CommaExpected: "a comma before this",
  CloseBraceExpected: "a closing }",
  CloseBracketExpected: "a closing ]",
  EndOfFileExpected: "nothing after the end of the object",
  UnexpectedEndOfComment: "a comment that is closed with */",
  UnexpectedEndOfString: "a text that is closed with a double quote on the same line",
  InvalidUnicode: "four hexadecimal digits after \\u",
  InvalidEscapeCharacter: 'an escape like \\n, \\" or \\\\ (a backslash is written twice)',
  InvalidCharacter: "a text without line breaks, tabs and other control characters"
}

/** What stands there, in words: a word without quotes may be a secret. */
const tokenAt = (text: string, offset: number): string => {
  const character = text[offset]
  if (character === undefined) return "the end of the file"
  if (character === '"') return "a text"
  if (character === "'") return "a single quote"
  return "{}[]:,".includes(character) ? character : "something else"
}

const positions = (text: string): ((offset: number) => Position) => {
  const starts = [0]
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1)
  return (offset) => {
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 }
  }
}

/** The value under a key; of a key that is there twice, the last one, as `JSON.parse` has it. */
const childOf = (node: Node | undefined, key: string | number): Node | undefined =>
  typeof key === "number"
    ? node?.children?.[key]
    : node?.children?.findLast((property) => property.children?.[0]?.value === key)?.children?.[1]

const valueOf = (node: Node, keys: Keys, twice: Array<Keys>): unknown => {
  const children = node.children ?? []
  switch (node.type) {
    case "array":
      return children.map((child, index) => valueOf(child, [...keys, index], twice))
    case "object": {
      const seen = new Set<string>()
      // `fromEntries` defines its keys, so that a server may be named `__proto__`.
      return Object.fromEntries(
        children.flatMap(({ children: [key, value] = [] }) => {
          if (key === undefined || value === undefined) return []
          const name = String(key.value)
          if (seen.has(name)) twice.push([...keys, name])
          seen.add(name)
          return [[name, valueOf(value, [...keys, name], twice)] as const]
        })
      )
    }
    default:
      return node.value
  }
}
