/**
 * A port at which connecting hangs, as it does when nothing gets through.
 *
 * Node accepts whatever comes, so the listening socket is one of a thread that does nothing; its short queue is filled, and the kernel
 * ignores who comes then. When it is over, those who try again (TCP does, after 1, 3, 7 … seconds) are let in.
 */
import { connect, type Socket } from "node:net"
import { Worker } from "node:worker_threads"

const program = `
  const { parentPort, workerData: { flag, port } } = require("node:worker_threads")
  const server = require("node:net").createServer((socket) => socket.destroy())
  server.on("error", () => parentPort.postMessage("failed"))
  server.listen({ port, host: "127.0.0.1", backlog: 1, reusePort: true }, () => {
    parentPort.postMessage("listening")
    Atomics.wait(flag, 0, 0)
    server.close()
  })
`

export interface BlackHole {
  /** Fills its queue, when it has the port for itself: from then on connecting hangs. */
  readonly fill: () => Promise<void>
  readonly close: () => Promise<void>
}

/** Beside a listener that shares its port, which closes then. `undefined`: it cannot be done here. */
export const open = async (port: number): Promise<BlackHole | undefined> => {
  const flag = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(program, { eval: true, execArgv: [], workerData: { flag, port } })
  const word = await new Promise<unknown>((resolve) => {
    worker.once("message", resolve)
    worker.once("error", () => resolve("failed"))
  })
  if (word !== "listening") {
    await worker.terminate()
    return undefined
  }
  const fillers: Array<Socket> = []
  return {
    close: async () => {
      for (const filler of fillers) filler.destroy()
      Atomics.store(flag, 0, 1)
      Atomics.notify(flag, 0)
      await worker.terminate()
    },
    fill: async () => {
      // Its queue has room for two or three, whatever it was told.
      while (fillers.length < 8) {
        const filler = connect(port, "127.0.0.1")
        fillers.push(filler)
        if (!(await isIn(filler))) return
      }
    }
  }
}

/** In milliseconds: who is not let in by then is not let in. On loopback it takes none. */
const patience = 50

const isIn = (socket: Socket): Promise<boolean> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), patience)
    const settle = (isIn: boolean) => (): void => {
      clearTimeout(timer)
      resolve(isIn)
    }
    socket.once("connect", settle(true))
    socket.once("error", settle(false))
  })
