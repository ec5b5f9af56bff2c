/** One subject in a process of its own, which does nothing but what it is told over IPC. It ends when that channel does. */
import type { Cost, Outcome, SubjectName, Task } from "./workerHost.ts"
import { quantile } from "./statistics.ts"
import type { Open, Session } from "./subjects/subject.ts"

const opens: Readonly<Record<SubjectName, () => Promise<Open>>> = {
  raw: async () => (await import("./subjects/rawSdk.ts")).open,
  tether: async () => (await import("./subjects/tether.ts")).open,
  runPromise: async () => (await import("./subjects/tether.ts")).openRunPromise
}

const load = opens[process.argv[2] as SubjectName]
let session: Session | undefined

/** What a piece of work cost this process, for each of its calls, in microseconds. */
const cost = async <A>(calls: number, work: () => Promise<A>): Promise<readonly [A, Cost]> => {
  const cpu = process.cpuUsage()
  const begin = performance.now()
  const value = await work()
  const wall = (performance.now() - begin) * 1_000
  const { system, user } = process.cpuUsage(cpu)
  return [value, { wall: wall / calls, cpu: (system + user) / calls }]
}

const perform = async (task: Task): Promise<unknown> => {
  if (task._tag === "Open") {
    session = await (await load())(task.target)
    return
  }
  if (session === undefined) throw new Error("nothing is open")
  const open = session
  switch (task._tag) {
    case "Serial": {
      const [took, total] = await cost(task.calls, () => open.serial(task.calls))
      return { ...total, p50: quantile(took, 0.5), p99: quantile(took, 0.99) }
    }
    case "Flood":
      return (await cost(task.calls, () => open.flood(task.calls, task.inFlight)))[1]
    case "Close":
      await open.close()
      return
  }
}

const answer = (outcome: Outcome): void => void process.send?.(outcome)

process.on("message", (task: Task) => {
  perform(task).then(
    (value) => answer({ _tag: "Done", value }),
    (error: unknown) => answer({ _tag: "Failed", message: error instanceof Error ? error.message : String(error) })
  )
})
process.on("disconnect", () => process.exit())
