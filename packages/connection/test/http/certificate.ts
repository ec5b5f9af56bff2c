/** A self-signed certificate for 127.0.0.1, made anew for each test run, so that no key lies in the repository. */
import { generateKeyPairSync, sign } from "node:crypto"

/** A DER value: tag, length, content. */
const der = (tag: number, ...content: ReadonlyArray<Uint8Array>): Buffer => {
  const value = Buffer.concat(content)
  const length =
    value.length < 128
      ? [value.length]
      : value.length < 256
        ? [0x81, value.length]
        : [0x82, value.length >> 8, value.length & 255]
  return Buffer.concat([Buffer.from([tag, ...length]), value])
}

const sequence = (...content: ReadonlyArray<Uint8Array>): Buffer => der(0x30, ...content)
const oid = (...bytes: ReadonlyArray<number>): Buffer => der(0x06, Buffer.from(bytes))
const time = (year: string): Buffer => der(0x17, Buffer.from(`${year}0101000000Z`))

/** PEMs of a P-256 key and of its certificate (RFC 5280), valid from 2020 to 2049. */
export const selfSigned = (): { readonly key: string; readonly cert: string } => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const ecdsaWithSha256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02))
  const commonName = oid(0x55, 0x04, 0x03)
  const name = sequence(der(0x31, sequence(commonName, der(0x0c, Buffer.from("mcp-tether test")))))
  const address = der(0x87, Buffer.from([127, 0, 0, 1]))
  const subjectAltName = sequence(oid(0x55, 0x1d, 0x11), der(0x04, sequence(address)))
  const toBeSigned = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1])),
    ecdsaWithSha256,
    name,
    sequence(time("20"), time("49")),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(subjectAltName))
  )
  const signature = der(0x03, Buffer.from([0]), sign("sha256", toBeSigned, privateKey))
  const base64 = sequence(toBeSigned, ecdsaWithSha256, signature).toString("base64")
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${base64.replaceAll(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`
  }
}
