import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as McpTransport from "../../src/McpTransport.ts"
import { scenario } from "../driver/rig.ts"
import { connect, matrix } from "./matrix.ts"
import { servers } from "./servers.ts"

const overHttp = servers.filter(({ kind }) => kind !== "stdio")

overHttp.forEach(matrix)

describe("McpTransport.http, not told what it will find", () => {
  for (const server of overHttp.filter(({ name }) => name.startsWith("everything") || name.startsWith("Effect")))
    scenario(`finds ${server.name}, and finds it again after a restart`, (rig) =>
      Effect.gen(function* () {
        const { call, connection, restart } = yield* connect(rig, server, McpTransport.http)
        assert.strictEqual(yield* call(server.echo), server.echo.answer)
        yield* restart
        assert.strictEqual(yield* call(server.echo), server.echo.answer)
        assert.strictEqual((yield* connection.awaitReady).server.era, server.speaks[0])
      })
    )
})
