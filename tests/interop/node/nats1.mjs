// The scenarios with `nats` 1, a client from before NATS 2.0: callbacks, no headers, no status messages.
//
// It checks neither subject nor size before it sends, and it closes on any -ERR but a permissions
// violation, so what a server says to a client that errs is seen here through a real library.

import NATS from "nats1";

import { WAIT_MS, main, within } from "./harness.mjs";
import { pattern, scenariosOf, settle } from "./scenarios.mjs";

/** A callback of the form `(error) => ...` as a promise. */
function called(start) {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()));
  });
}

/** The old client behind the methods that the scenarios use. */
class Connection {
  constructor(client, options) {
    this.client = client;
    this.options = options;
    this.errors = [];
    this.sids = [];
    client.on("error", (error) => this.errors.push(error.message));
    this.closing = new Promise((resolve) => {
      client.once("close", resolve);
    });
  }

  get info() {
    return this.client.info;
  }

  publish(subject, payload, { reply } = {}) {
    this.client.publish(subject, payload, reply);
  }

  subscribe(subject, { callback, ...options }) {
    const sid = this.client.subscribe(subject, options, (data, reply, from) =>
      callback(null, { data, subject: from, respond: (payload) => this.client.publish(reply, payload) }),
    );
    this.sids.push(sid);
    return {
      unsubscribe: (max) => this.client.unsubscribe(sid, max),
      drain: () => called((done) => this.client.drainSubscription(sid, done)),
    };
  }

  flush() {
    return called((done) => this.client.flush(done));
  }

  async request(subject, payload, { timeout, noMux = false }) {
    const client = noMux ? await connectClient({ ...this.options, useOldRequestStyle: true }) : this.client;
    try {
      return await new Promise((resolve, reject) => {
        client.requestOne(subject, payload, {}, timeout, (answer) =>
          answer instanceof NATS.NatsError ? reject(answer) : resolve({ data: answer }),
        );
      });
    } finally {
      if (noMux) client.close();
    }
  }

  async drain() {
    // One by one first: this library's own drain of a connection sends no UNSUB, because it finds the
    // connection "draining" already, and so drops what still arrives.
    await Promise.all(this.sids.map((sid) => called((done) => this.client.drainSubscription(sid, done))));
    await called((done) => this.client.drain(done));
  }

  isClosed() {
    return this.client.closed === true;
  }

  close() {
    this.client.close();
  }
}

/** A client after its first PONG. */
function connectClient({ servers, ...options }) {
  return new Promise((resolve, reject) => {
    const client = NATS.connect({ url: servers, preserveBuffers: true, ...options });
    client.once("connect", () => {
      client.removeListener("error", reject);
      resolve(client);
    });
    client.once("error", reject);
  });
}

const library = {
  connect: async (options) => new Connection(await connectClient(options), options),
  createInbox: NATS.createInbox,
  headers: () => null,
  failure: (error) => (error.code === "NATS_PROTOCOL_ERR" ? error.message : error.code),

  answers: (connection, subject, count) =>
    new Promise((resolve) => {
      const found = [];
      connection.client.request(subject, "", { max: count, timeout: WAIT_MS }, (answer) => {
        found.push(`${answer}`);
        if (found.length === count) resolve(found);
      });
    }),

  watch: (connection, told) => {
    for (const type of ["disconnect", "reconnect"]) connection.client.on(type, () => told(type));
  },
};

/** What the server says when `act` has sent something wrong; the library closes on it. */
async function refusal(connection, act) {
  act(connection.client);
  await within(connection.closing, "close");
  return connection.errors;
}

async function violations({ open, subject }) {
  const lenient = await open();
  let delivered = 0;
  lenient.subscribe(subject("large"), { callback: () => (delivered += 1) });
  lenient.publish(subject("a.*"), "x");
  await settle(lenient);
  const payload = await refusal(await open(), (client) =>
    client.publish(subject("large"), pattern(client.info.max_payload + 1)),
  );
  await settle(lenient);

  return {
    payload,
    payload_delivered: delivered,
    subscription: await refusal(await open(), (client) => client.subscribe(subject("a..b"), () => {})),
    pedantic: await refusal(await open({ pedantic: true }), (client) => client.publish(subject("a.*"), "x")),
    lenient: lenient.errors,
  };
}

main(scenariosOf(library, { violations }));
