/** A port of 127.0.0.1 that is listened to, or hangs, or has nobody; it stays the same. */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import * as BlackHole from "./blackHole.ts"

/** Whether who comes is let in, hangs, or is refused. */
export type Wish = "open" | "silent" | "closed"

/** In milliseconds: how long it asks for its port again when somebody else has taken it meanwhile, and how often. */
const retries = { within: 5_000, every: 20 }

export class Door {
  private readonly onSocket: (socket: Socket) => void
  private readonly wish: () => Wish
  private server: Server | undefined = undefined
  private hole: BlackHole.BlackHole | undefined = undefined
  private turn: Promise<void> = Promise.resolve()
  port = 0

  constructor(onSocket: (socket: Socket) => void, wish: () => Wish) {
    this.onSocket = onSocket
    this.wish = wish
  }

  async open(): Promise<void> {
    this.server = await this.listen()
    this.port = (this.server.address() as AddressInfo).port
  }

  /** Becomes what it is wished to be; one change after the other. */
  settle(): Promise<void> {
    this.turn = this.turn.then(() => this.change()).catch(() => {})
    return this.turn
  }

  private async change(): Promise<void> {
    switch (this.wish()) {
      case "open":
        // Before the other one goes: nobody is refused in between.
        this.server ??= await this.listenAgain()
        await this.leaveHole()
        return
      case "silent":
        if (this.hole !== undefined) return
        this.server ??= await this.listenAgain()
        this.hole = await BlackHole.open(this.port)
        // Where that cannot be, who comes is let in and hears nothing.
        if (this.hole === undefined) return
        this.leaveServer()
        await this.hole.fill()
        return
      case "closed":
        this.leaveServer()
        await this.leaveHole()
    }
  }

  private leaveServer(): void {
    this.server?.close()
    this.server = undefined
  }

  private async leaveHole(): Promise<void> {
    await this.hole?.close()
    this.hole = undefined
  }

  /** The port is free, or soon will be; one that stays somebody else's is given up. */
  private async listenAgain(): Promise<Server | undefined> {
    const end = performance.now() + retries.within
    while (this.wish() !== "closed" && performance.now() < end) {
      try {
        return await this.listen()
      } catch {
        await sleep(retries.every)
      }
    }
    return undefined
  }

  private async listen(): Promise<Server> {
    try {
      return await listening(this.port, true, this.onSocket)
    } catch (error) {
      // Not every system can share a port.
      if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") throw error
      return listening(this.port, false, this.onSocket)
    }
  }
}

const listening = (port: number, reusePort: boolean, onSocket: (socket: Socket) => void): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, onSocket)
    server.once("error", reject)
    server.listen({ port, host: "127.0.0.1", reusePort }, () => {
      server.off("error", reject)
      server.on("error", () => {})
      resolve(server)
    })
  })
