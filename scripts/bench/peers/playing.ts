/**
 * One client's process: plays the scenarios that it is told to, one after the other. What the client does to its own process, like an
 * unhandled rejection, happens here.
 *
 *     node player.ts client installed server folder plan
 */
import { setMaxListeners } from "node:events"
import type { Bare } from "./bare.ts"
import { clients } from "./clients.ts"
import { isInstalled, loaderOf } from "./install.ts"
import type { Message, Observation, Order, Outcome } from "./observation.ts"
import type { Plan } from "./plan.ts"
import { scenarios } from "./scenarios.ts"
import { messageOf, type Stage } from "./stage.ts"

const [name = "", installed = "", server = "", bareFolder = "", planned = "{}"] = process.argv.slice(2)
const plan: Plan = JSON.parse(planned)
const client = clients.find((client) => client.name === name)
const say = (message: Message) => process.send?.(message)
setMaxListeners(0)

/** Made for the first scenario in which there is something to compare. */
let bare: Bare | undefined
const bareCost = async (transport: "stdio" | "http"): Promise<number> => {
  if (bare === undefined) {
    const { make } = await import("./bare.ts")
    bare = await make({ folder: bareFolder, server })
  }
  return bare[transport]()
}

process.once("disconnect", () => {
  bare?.end()
  process.exit()
})
process.on("message", (order: Order) => {
  void play(order).then((outcome) => say({ _tag: "outcome", outcome }))
})
say({ _tag: "ready" })

async function play({ folder, scenario }: Order): Promise<Outcome> {
  const found = scenarios.find(({ name }) => name === scenario)
  if (client === undefined || found === undefined)
    return { _tag: "unfit", error: "there is no such client or scenario" }
  let isConnected = false
  const stage: Stage = {
    folder,
    server,
    plan,
    connect: async (target) => {
      const { connect } = await client.adapter()
      const load = isInstalled(installed)
        ? await loaderOf(installed)
        : () => Promise.reject(new Error("it is not installed"))
      const connected = await connect(target, { folder, installed, load })
      isConnected = true
      return connected
    }
  }
  try {
    const observation: Observation = await found.play(stage)
    // What has not recovered is compared with nothing.
    const cost = observation.recovery === undefined ? undefined : await bareCost(found.transport)
    return { _tag: "observed", observation: { ...observation, bare: cost } }
  } catch (error) {
    return { _tag: isConnected ? "crashed" : "unconnected", error: messageOf(error) }
  }
}
