/** Texts in HTML and SVG. */
const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}

// What a server says of itself is in it: no control characters, which XML cannot hold.
export const text = (value: string): string =>
  value.replaceAll(/[\p{Cc}]/gu, "�").replaceAll(/[&<>"']/g, (char) => entities[char] ?? char)

/** JSON that can stand inside a `script`. */
export const embedded = (value: unknown): string =>
  JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029")
