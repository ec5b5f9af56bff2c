import * as Schema from "effect/Schema"

/**
 * A configuration, or one server in it, that is not what it should be. Values that may be secret are in none of its fields: of what was
 * found it says the type, and the value only where it can be no secret, like that of `type`.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidConfig extends Schema.TaggedError<InvalidConfig>("@mcp-tether/connection/InvalidConfig")(
  "InvalidConfig",
  {
    /** The file, where it is one. */
    file: Schema.optional(Schema.String),
    /** The name of the server, when it is only about one; the others of the file work. */
    server: Schema.optional(Schema.String),
    issues: Schema.NonEmptyArray(
      Schema.Struct({
        /** Where in the file, like `mcpServers.github.headers.Authorization`; empty when it is about the whole file. */
        path: Schema.String,
        /** What belongs there. */
        expected: Schema.String,
        /** What is there. */
        actual: Schema.String,
        /** The environment variable that is missing, where that is what is wrong. */
        variable: Schema.optional(Schema.String),
        /** Counted from 1. Not known of values in TOML, only of its syntax errors. */
        line: Schema.optional(Schema.Int),
        column: Schema.optional(Schema.Int)
      })
    )
  }
) {
  override get message(): string {
    const issues = this.issues.map(({ actual, column, expected, line, path }) => {
      const position = line === undefined || column === undefined ? "" : `line ${line}, column ${column}`
      const where = path === "" ? position : position === "" ? path : `${path} (${position})`
      return `${where === "" ? "" : `${where}: `}expected ${expected}, got ${actual}`
    })
    return `${this.file ?? "the MCP configuration"}: ${issues.join("; ")}`
  }
}

/**
 * One thing that is wrong.
 *
 * @category errors
 * @since 0.1.0
 */
export type Issue = InvalidConfig["issues"][number]
