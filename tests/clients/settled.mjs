// gRPC-web by `fetch`, as a page sends it, without anything that has to be built. Messages are written and read by the numbers of their fields;
// whoever has a build takes code that is generated from the .proto files instead, and keeps `call`.

const utf8 = new TextEncoder();
const words = new TextDecoder();

/** What stands in a field that holds a text. */
export const text = (bytes) => words.decode(bytes ?? new Uint8Array());

/**
 * A refusal: its code by number, and the sentence for people. For programs: its reason, which docs/errors.md lists, and after how many
 * milliseconds to ask again; `undefined` where asking again changes nothing.
 */
export class Refusal extends Error {
  constructor(code, message, details = "") {
    super(message);
    this.code = code;
    if (code === 14) this.wait = 1000;
    Object.assign(this, toPrograms(details));
  }
}

function varint(value) {
  const bytes = [];
  let left = BigInt(value);
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  return [...bytes, Number(left)];
}

/** A message of fields `[number, value]`: texts, bytes and messages, whole numbers, `true` and `false`. */
export function message(...fields) {
  const parts = [];
  for (const [number, value] of fields) {
    if (typeof value === "string" || value instanceof Uint8Array) {
      const content = typeof value === "string" ? utf8.encode(value) : value;
      parts.push([...varint((number << 3) | 2), ...varint(content.length)], content);
    } else {
      parts.push([...varint(number << 3), ...varint(value)]);
    }
  }
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The fields of a message as they come, each as `[number, value]`. */
function* fields(bytes = new Uint8Array()) {
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(number());
    const kind = key & 7;
    let value;
    if (kind === 0) value = number();
    else {
      const length = kind === 2 ? Number(number()) : kind === 1 ? 8 : 4;
      value = bytes.slice(at, at + length);
      at += length;
    }
    yield [key >> 3, value];
  }
}

/** The fields of a message by their numbers; of those that come several times, the last. */
export const read = (bytes) => Object.fromEntries(fields(bytes));

/** What a google.rpc.Status has for programs in its details: google.rpc.ErrorInfo, and google.rpc.RetryInfo. */
function toPrograms(base64) {
  const told = {};
  for (const [number, detail] of fields(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)))) {
    if (number !== 3) continue;
    const { 1: type, 2: content } = read(detail);
    const { 1: first, 2: second } = read(content);
    if (text(type).endsWith("google.rpc.ErrorInfo") && text(second) === "settled") told.reason = text(first);
    if (text(type).endsWith("google.rpc.RetryInfo")) {
      const { 1: seconds = 0n, 2: nanos = 0n } = read(first);
      told.wait = Number(seconds) * 1000 + Number(nanos) / 1e6;
    }
  }
  return told;
}

function refuse(get) {
  const code = Number(get("grpc-status") ?? 0);
  if (code === 0) return;
  throw new Refusal(code, decodeURIComponent(get("grpc-message") ?? ""), get("grpc-status-details-bin") ?? "");
}

/**
 * The answers to a request, one after the other: `call(here(), "Resources/Install", message(..))`. With `silence`, which is in milliseconds, the
 * connection is given up when nothing comes for so long.
 */
export async function* call({ endpoint, token, headers = {} }, method, request, silence) {
  const line = new AbortController();
  const inTime = (coming) => {
    const timer = silence && setTimeout(() => line.abort(), silence);
    return coming.finally(() => clearTimeout(timer));
  };
  const body = new Uint8Array(5 + request.length);
  new DataView(body.buffer).setUint32(1, request.length);
  body.set(request, 5);
  const content = "application/grpc-web+proto";
  let answer;
  try {
    const bearer = `Bearer ${token}`;
    headers = { "content-type": content, accept: content, "x-grpc-web": "1", authorization: bearer, ...headers };
    const signal = line.signal;
    answer = await inTime(fetch(`${endpoint}/settled.v1.${method}`, { method: "POST", headers, body, signal }));
  } catch (error) {
    throw new Refusal(14, `settled cannot be reached: ${error.cause ?? error}`);
  }
  if (!answer.ok) throw new Refusal(2, `${answer.status}: ${await answer.text()}`);
  refuse((name) => answer.headers.get(name));
  let left = new Uint8Array();
  const reader = answer.body.getReader();
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read()).catch((error) => {
        throw new Refusal(14, `the connection broke: ${error}`);
      });
      if (done) throw new Refusal(14, "the answer ended without a status");
      const before = left;
      left = new Uint8Array(before.length + value.length);
      left.set(before);
      left.set(value, before.length);
      while (left.length >= 5) {
        const end = 5 + new DataView(left.buffer, left.byteOffset).getUint32(1);
        if (left.length < end) break;
        const content = left.subarray(5, end);
        if (left[0] & 128) {
          const lines = text(content).split("\r\n").map((line) => [line.split(":", 1)[0].toLowerCase(), line]);
          const trailers = new Map(lines.map(([name, line]) => [name, line.slice(name.length + 1).trim()]));
          refuse((name) => trailers.get(name));
          return;
        }
        yield content;
        left = left.subarray(end);
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** The one answer to a request. */
export async function ask(settled, method, request) {
  for await (const answer of call(settled, method, request)) return read(answer);
  throw new Refusal(2, "there was no answer");
}

/** Where these examples find settled. A browser sends the origin of its page by itself. */
export const here = () => ({
  endpoint: process.env.SETTLED_ENDPOINT,
  token: process.env.SETTLED_TOKEN,
  headers: { origin: process.env.SETTLED_ORIGIN },
});

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
