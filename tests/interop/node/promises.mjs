// What `nats` 2 and `@nats-io/transport-node`, whose API is promises and iterators, do alike.

import { WAIT_MS } from "./harness.mjs";

/** The texts of the first `count` replies to one request. */
export async function answers(connection, subject, count) {
  const options = { strategy: "count", maxMessages: count, maxWait: WAIT_MS };
  const found = [];
  for await (const answer of await connection.requestMany(subject, "", options)) found.push(answer.string());
  return found;
}

/** Call `told` with each disconnect and reconnect. */
export async function watch(connection, told) {
  for await (const { type } of connection.status()) {
    if (type === "disconnect" || type === "reconnect") told(type);
  }
}
