/** A client's socket as its server sees it through the weather: bytes are late, wait, or go nowhere. */
import type { Socket } from "node:net"
import { Duplex } from "node:stream"
import type { Air } from "./air.ts"
import { Lane } from "./lane.ts"

/** In milliseconds: what a client sent before it left is read first. A server of Node drops what it has not read by then. */
const afterglow = 25

export class Link extends Duplex {
  private readonly air: Air
  private readonly socket: Socket
  private readonly inward: Lane
  private readonly outward: Lane
  private onRead: (() => void) | undefined = undefined
  /** Whether its bytes go nowhere, either way. */
  isSevered = false
  isReset = false

  constructor(socket: Socket, air: Air) {
    super({ allowHalfOpen: true })
    this.socket = socket
    this.air = air
    this.inward = new Lane(air, (piece, done) => {
      if (piece === undefined) air.later(afterglow, () => this.push(null))
      else if (this.push(piece)) done()
      else this.onRead = done
    })
    this.outward = new Lane(air, (piece, done) => {
      // It calls back with an error when the client has left.
      if (piece === undefined) this.socket.end(done)
      else this.socket.write(piece, () => done())
    })
    // Whoever resets it means it.
    this.on("error", () => {})
    socket.on("error", () => {})
    socket.on("data", (chunk: Buffer) => {
      if (this.isSevered) return
      this.inward.push(chunk)
      this.flow()
    })
    socket.on("end", () => {
      if (this.isSevered) socket.destroy()
      else this.inward.push(undefined)
    })
    socket.on("close", () => {
      // Nobody tells the other end of a path that is gone.
      if (!this.isSevered) this.destroy()
    })
    this.flow()
  }

  /** Reads from the client only while anything moves: so its leaving is not noticed before either. */
  flow(): void {
    const stillness = this.air.stillness()
    if (this.socket.destroyed) return
    if (stillness > 0) {
      this.socket.pause()
      this.air.later(stillness, () => this.flow())
    } else if (this.inward.isFull()) {
      this.socket.pause()
      this.inward.onRoom(() => this.flow())
    } else this.socket.resume()
  }

  /** Acts when everything that was written has been handed to the client's side. */
  flushed(act: () => void): void {
    this.outward.onEmpty(act)
  }

  /** RST. */
  reset(): void {
    this.isReset = true
    // Node loses a socket for good that is reset while its FIN is on its way: uv_tcp_close_reset answers EINVAL.
    if (this.socket.writableEnded) this.socket.destroy()
    else this.socket.resetAndDestroy()
    this.destroy()
  }

  override _read(): void {
    const { onRead } = this
    this.onRead = undefined
    onRead?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.isSevered) return done()
    this.outward.push(chunk)
    this.outward.onRoom(done)
  }

  override _final(done: () => void): void {
    if (!this.isSevered) this.outward.push(undefined)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // What has been written is still on its way; `reset` has not waited for it.
    if (this.isSevered) this.socket.destroy()
    else this.flushed(() => this.socket.destroy())
    done(error)
  }
}
