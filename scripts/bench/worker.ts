/** One subject in a process of its own, which does nothing but what it is told over IPC. It ends when that channel does. */
import type { Cost, Outcome, SubjectName, Task } from "./workerHost.ts"
import type { Open, Session } from "./subjects/subject.ts"

const opens: Readonly<Record<SubjectName, () => Promise<Open>>> = {
  raw: async () => (await import("./subjects/rawSdk.ts")).open,
  control: async () => (await import("./subjects/rawSdk.ts")).open,
  bare: async () => (await import("./subjects/bare.ts")).open,
  tether: async () => (await import("./subjects/tether.ts")).open,
  runPromise: async () => (await import("./subjects/tether.ts")).openRunPromise
}

const load = opens[process.argv[2] as SubjectName]
let session: Session | undefined

/** What a piece of work cost this process, for each of its calls, in microseconds. */
const cost = async <A>(calls: number, work: () => Promise<A>): Promise<readonly [Cost, A]> => {
  const cpu = process.cpuUsage()
  const begin = performance.now()
  const value = await work()
  const wall = (performance.now() - begin) * 1_000
  const { system, user } = process.cpuUsage(cpu)
  return [{ wall: wall / calls, cpu: (system + user) / calls }, value]
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
      const [total, took] = await cost(task.calls, () => open.serial(task.calls))
      return { ...total, took: Array.from(took, (micros) => Math.round(10 * micros) / 10) }
    }
    case "Flood":
      return (await cost(task.calls, () => open.flood(task.calls, task.inFlight)))[0]
    case "Receive":
      return (await cost(task.times, () => open.receive(task.bytes, task.times)))[0]
    case "Send":
      return (await cost(task.times, () => open.send(task.bytes, task.times)))[0]
    case "Again":
      return open.again()
    case "Close":
      return open.close()
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
