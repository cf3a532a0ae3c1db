// Reads an answer of 4 MiB that comes in pieces, by the file that it is given, and prints the length of what came.
import { createServer } from "node:http";

const { ask, message } = await import(process.argv[2]);

function frame(kind, content) {
  const bytes = new Uint8Array(5 + content.length);
  bytes[0] = kind;
  new DataView(bytes.buffer).setUint32(1, content.length);
  bytes.set(content, 5);
  return bytes;
}

const answer = frame(0, message([1, "x".repeat(4 << 20)]));
const server = createServer(async (_, response) => {
  for (let at = 0; at < answer.length; at += 16384) {
    response.write(answer.subarray(at, at + 16384));
    await new Promise((resolve) => setImmediate(resolve));
  }
  response.end(frame(128, new TextEncoder().encode("grpc-status:0\r\n")));
});
server.listen(0, "127.0.0.1", async () => {
  const endpoint = `http://127.0.0.1:${server.address().port}`;
  const { 1: text } = await ask({ endpoint, token: "none" }, "Any/Thing", message());
  console.log(text.length);
  process.exit(0);
});
