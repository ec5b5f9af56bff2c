/** Where the files of clients are. */
import type * as Path from "effect/Path"
import type { Client, Place, Platform } from "../../McpConfig.ts"

interface Options {
  readonly cwd: string
  readonly home: string | undefined
  readonly platform: Platform | undefined
  readonly variable: (name: string) => string | undefined
}

/** The variables that move one of these places. */
export const variables = ["APPDATA", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "COPILOT_HOME", "XDG_CONFIG_HOME"] as const

/** The usual places: those of the project first, then the user's. */
export const places = (path: Path.Path, { cwd, home, platform, variable }: Options): ReadonlyArray<Place> => {
  const project = (client: Client, ...parts: ReadonlyArray<string>): Place => ({
    client,
    scope: "project",
    path: path.join(cwd, ...parts)
  })
  const user = (client: Client, root: string | undefined, ...parts: ReadonlyArray<string>): ReadonlyArray<Place> =>
    root === undefined ? [] : [{ client, scope: "user", path: path.join(root, ...parts) }]
  const inHome = (...parts: ReadonlyArray<string>) => (home === undefined ? undefined : path.join(home, ...parts))
  const settings = settingsFolders(platform, inHome, variable)
  const ofProject = [
    project("Claude Code", ".mcp.json"),
    project("any", "mcp.json"),
    project("Cursor", ".cursor", "mcp.json"),
    project("VS Code", ".vscode", "mcp.json"),
    project("Codex", ".codex", "config.toml"),
    project("Gemini CLI", ".gemini", "settings.json")
  ]
  const ofUser = [
    ...user("Claude Code", variable("CLAUDE_CONFIG_DIR") ?? home, ".claude.json"),
    ...settings.flatMap((folder) => user("Claude Desktop", folder, "Claude", "claude_desktop_config.json")),
    ...user("Cursor", home, ".cursor", "mcp.json"),
    ...settings.flatMap((folder) => user("VS Code", folder, "Code", "User", "mcp.json")),
    ...user("Codex", variable("CODEX_HOME") ?? inHome(".codex"), "config.toml"),
    ...user("Gemini CLI", home, ".gemini", "settings.json"),
    ...user("Windsurf", home, ".codeium", "windsurf", "mcp_config.json"),
    ...user("Windsurf", home, ".codeium", "mcp_config.json"),
    ...user("Copilot CLI", variable("COPILOT_HOME") ?? inHome(".copilot"), "mcp-config.json"),
    ...user("Cline", home, ".cline", "data", "settings", "cline_mcp_settings.json")
  ]
  // In the home itself, what a project would have is the user's own.
  return [...ofProject.filter((place) => !ofUser.some((other) => other.path === place.path)), ...ofUser]
}

/** Where programs with windows keep their settings; without a platform, wherever any would. */
const settingsFolders = (
  platform: Platform | undefined,
  inHome: (...parts: ReadonlyArray<string>) => string | undefined,
  variable: (name: string) => string | undefined
): ReadonlyArray<string | undefined> => {
  const folders = {
    darwin: inHome("Library", "Application Support"),
    linux: variable("XDG_CONFIG_HOME") ?? inHome(".config"),
    win32: variable("APPDATA") ?? (platform === "win32" ? inHome("AppData", "Roaming") : undefined)
  }
  return platform === undefined ? Object.values(folders) : [folders[platform]]
}

/** Whose file it is, by its name. */
export const clientOf = (path: string | undefined): Client | undefined =>
  path === undefined ? undefined : clients.find(([pattern]) => pattern.test(path.replaceAll("\\", "/")))?.[1]

const clients: ReadonlyArray<readonly [RegExp, Client]> = [
  [/(^|\/)\.claude\.json$/, "Claude Code"],
  [/(^|\/)\.mcp\.json$/, "Claude Code"],
  [/(^|\/)claude_desktop_config\.json$/, "Claude Desktop"],
  [/(^|\/)\.cursor\/mcp\.json$/, "Cursor"],
  [/(^|\/)(\.vscode|Code\/User)\/mcp\.json$/, "VS Code"],
  [/(^|\/)\.codex\/config\.toml$/, "Codex"],
  [/(^|\/)\.gemini\/settings\.json$/, "Gemini CLI"],
  [/(^|\/)\.codeium\/(windsurf\/)?mcp_config\.json$/, "Windsurf"],
  [/(^|\/)\.copilot\/mcp-config\.json$/, "Copilot CLI"],
  [/(^|\/)cline_mcp_settings\.json$/, "Cline"]
]

/** Whether there is more than servers in a file of that name. */
export const isShared = (path: string | undefined): boolean =>
  path !== undefined && /(^|[\\/])(\.claude\.json|claude_desktop_config\.json|settings\.json|[^\\/]*\.toml)$/.test(path)

/** The folder that a project's file belongs to: not `.vscode`, but the one that it is in. */
export const projectOf = (path: Path.Path, file: string): string => {
  const folder = path.dirname(file)
  return /^\.(cursor|vscode|codex|gemini)$/.test(path.basename(folder)) ? path.dirname(folder) : folder
}
