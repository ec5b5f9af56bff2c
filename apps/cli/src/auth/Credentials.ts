/** What is kept of a login: who we are to the authorization server, and what it gave us. */
import * as Schema from "effect/Schema"

/** The client, as it was registered. The secret of client credentials is not kept: it stays in its environment variable. */
const Client = Schema.Struct({
  client_id: Schema.String,
  client_secret: Schema.optionalKey(Schema.String),
  token_endpoint_auth_method: Schema.optionalKey(Schema.String),
  /** The authorization server that knows it. It is shown to no other one. */
  issuer: Schema.optionalKey(Schema.String)
})

const Tokens = Schema.Struct({
  access_token: Schema.String,
  token_type: Schema.String,
  expires_in: Schema.optionalKey(Schema.Finite),
  scope: Schema.optionalKey(Schema.String),
  refresh_token: Schema.optionalKey(Schema.String),
  issuer: Schema.optionalKey(Schema.String)
})

export const Credentials = Schema.Struct({
  /** The MCP endpoint. */
  server: Schema.String,
  grant: Schema.Union([
    Schema.TaggedStruct("AuthorizationCode", {}),
    Schema.TaggedStruct("ClientCredentials", {
      /** The environment variable with the client's secret. */
      secretEnv: Schema.String
    })
  ]),
  /** What was asked for, where that was said. */
  scope: Schema.optionalKey(Schema.String),
  client: Schema.optionalKey(Client),
  tokens: Schema.optionalKey(Tokens)
})

export type Credentials = typeof Credentials.Type
export type Client = typeof Client.Type
export type Tokens = typeof Tokens.Type

/** What identifies a server here: its origin and path. */
export const serverOf = (url: URL): string => `${url.origin}${url.pathname}`
