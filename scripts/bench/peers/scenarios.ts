/** What happens to the servers. Each scenario has a server, a folder and a connection of its own. */
import type { Connected, Target } from "./adapter.ts"
import { effects, plant, read, tooEarly } from "./folder.ts"
import type { Observation } from "./observation.ts"
import { kill } from "./processes.ts"
import {
  ask,
  type Asked,
  closing,
  follow,
  http,
  type HttpServer,
  now,
  serving,
  sleep,
  type Stage,
  stdio
} from "./stage.ts"

export interface Scenario {
  readonly name: string
  readonly transport: "stdio" | "http"
  /** What is done, for the reader of the report. */
  readonly about: string
  /** Whether its first call has an effect. */
  readonly pays: boolean
  readonly play: (stage: Stage) => Promise<Observation>
}

/** Connects, sees that it works, plays, and closes. */
const connected = async (
  stage: Stage,
  target: Target,
  play: (client: Connected) => Promise<Observation>
): Promise<Observation> => {
  const client = await stage.connect(target)
  const works = await ask(client, "look", stage.plan.bound)
  if (works.answer !== "answered") throw new Error(`the first call of all failed: ${works.error}`)
  const observation = await play(client)
  const { error, left } = await closing(stage, client)
  return { ...observation, left, error: observation.error ?? error }
}

const overHttp = async (
  stage: Stage,
  play: (client: Connected, server: HttpServer) => Promise<Observation>
): Promise<Observation> => {
  const server = await http(stage)
  try {
    // The HTTP server is nobody's child here: whether it is left says nothing.
    return { ...(await connected(stage, server.target, (client) => play(client, server))), left: undefined }
  } finally {
    server.end()
  }
}

const effectsOf = ({ folder }: Stage, { n }: Asked): number => effects(read(folder), "pay", n)

const killIdle: Scenario = {
  name: "kill-idle",
  transport: "stdio",
  about: "the server is killed, and 1.5 s later it is called",
  pays: false,
  play: (stage) =>
    connected(stage, stdio(stage), async (client) => {
      kill(serving(stage.folder))
      await sleep(stage.plan.idle)
      const since = now()
      return follow(stage, client, await ask(client, "look", stage.plan.hang), since)
    })
}

/** The call is made before this process can have heard of the kill. */
const killAndCall =
  (tool: "look" | "pay"): Scenario["play"] =>
  async (stage) =>
    connected(stage, stdio(stage), async (client) => {
      const since = now()
      kill(serving(stage.folder))
      const first = await ask(client, tool, stage.plan.hang)
      const observation = await follow(stage, client, first, since)
      return tool === "pay" ? { ...observation, effects: effectsOf(stage, first) } : observation
    })

const killAtOnce: Scenario = {
  name: "kill-and-look",
  transport: "stdio",
  about: "the server is killed, and at once its read-only tool is called",
  pays: false,
  play: killAndCall("look")
}

const killAndPay: Scenario = {
  name: "kill-and-pay",
  transport: "stdio",
  about: "the server is killed, and at once its destructive tool is called",
  pays: true,
  play: killAndCall("pay")
}

const dieDuring = async (stage: Stage, client: Connected, tool: "look" | "pay"): Promise<Observation> => {
  plant(stage.folder, "die", true)
  const since = now()
  const first = await ask(client, tool, stage.plan.hang)
  const observation = await follow(stage, client, first, since)
  return tool === "pay" ? { ...observation, effects: effectsOf(stage, first) } : observation
}

const lookInFlight: Scenario = {
  name: "look-in-flight",
  transport: "stdio",
  about: "the server dies while its read-only tool runs",
  pays: false,
  play: (stage) => connected(stage, stdio(stage), (client) => dieDuring(stage, client, "look"))
}

const payInFlight: Scenario = {
  name: "pay-in-flight",
  transport: "stdio",
  about: "the server pays, and dies before it answers",
  pays: true,
  play: (stage) => connected(stage, stdio(stage), (client) => dieDuring(stage, client, "pay"))
}

const close: Scenario = {
  name: "close",
  transport: "stdio",
  about: "the client is closed; its server stands behind a shell, as behind npx, and does not end with its stdin",
  pays: false,
  play: (stage) => {
    const script = `printf '{"_tag":"process","pid":%s}\\n' $$ >> "$0/ledger"; "$1" "$2" "$0" stdio deaf; exit 0`
    const target: Target = {
      _tag: "stdio",
      command: "sh",
      args: ["-c", script, stage.folder, process.execPath, stage.server]
    }
    return connected(stage, target, async () => ({ first: "answered", later: true, calls: 1, lost: 0 }))
  }
}

const restart: Scenario = {
  name: "restart",
  transport: "http",
  about:
    "the server is killed, at once its read-only tool is called, and half a second later it is back, without its sessions",
  pays: false,
  play: (stage) =>
    overHttp(stage, async (client, server) => {
      const since = server.restart(stage.plan.down)
      return follow(stage, client, await ask(client, "look", stage.plan.hang), since)
    })
}

const restartIdle: Scenario = {
  name: "restart-idle",
  transport: "http",
  about: "the server is killed and back half a second later, without its sessions, and 1.5 s later it is called",
  pays: false,
  play: (stage) =>
    overHttp(stage, async (client, server) => {
      await server.restart(stage.plan.down)
      await sleep(stage.plan.idle)
      const since = now()
      return follow(stage, client, await ask(client, "look", stage.plan.hang), since)
    })
}

const forget =
  (status: 404 | 400): Scenario["play"] =>
  (stage) =>
    overHttp(stage, async (client) => {
      plant(stage.folder, "forget", status)
      const since = now()
      const first = await ask(client, "pay", stage.plan.hang)
      return { ...(await follow(stage, client, first, since)), effects: effectsOf(stage, first) }
    })

const lost404: Scenario = {
  name: "lost-404",
  transport: "http",
  about: "the server has forgotten the session, refuses the destructive call with 404, and knows nothing of it",
  pays: true,
  play: forget(404)
}

const lost400: Scenario = {
  name: "lost-400",
  transport: "http",
  about: "the same with 400, as the examples of the official SDK do it",
  pays: true,
  play: forget(400)
}

const busy: Scenario = {
  name: "busy-503",
  transport: "http",
  about: "the server refuses everything with 503 and `Retry-After: 1` for a second, first of all a destructive call",
  pays: true,
  play: (stage) =>
    overHttp(stage, async (client) => {
      plant(stage.folder, "busy", 1)
      const first = await ask(client, "pay", stage.plan.hang)
      // The calls that follow are the caller's, and no haste of the client.
      const early = tooEarly(read(stage.folder))
      const refused = read(stage.folder).find((entry) => entry._tag === "refused")
      const observation = await follow(stage, client, first, refused?.until ?? now())
      return { ...observation, effects: effectsOf(stage, first), early }
    })
}

const httpPayInFlight: Scenario = {
  name: "http-pay-in-flight",
  transport: "http",
  about: "the server pays, dies before it answers, and is back half a second later",
  pays: true,
  play: (stage) =>
    overHttp(stage, async (client, server) => {
      plant(stage.folder, "die", true)
      const first = ask(client, "pay", stage.plan.hang)
      const since = died(stage).then(() => server.restart(stage.plan.down))
      const observation = await follow(stage, client, await first, since)
      return { ...observation, effects: effectsOf(stage, await first) }
    })
}

/** When the effect is on disk, the server is as good as dead. */
const died = async ({ folder }: Stage): Promise<void> => {
  const paid = () => read(folder).some((entry) => entry._tag === "effect" && entry.tool === "pay")
  for (const begin = now(); !paid() && now() - begin < 5_000;) await sleep(5)
}

export const scenarios: ReadonlyArray<Scenario> = [
  killIdle,
  killAtOnce,
  lookInFlight,
  killAndPay,
  payInFlight,
  close,
  restartIdle,
  restart,
  lost404,
  lost400,
  busy,
  httpPayInFlight
]
