// What every library is made to do.
//
// A server answers a PING after everything that the same connection published was queued to its local
// receivers. So "publisher flushed, then subscriber flushed" means that all messages that will ever come
// have come: counts are exact in both directions, and nothing here waits for time to pass.
//
// A library is given as
//
//     connect(options)                      a connection, with the methods and options of `nats` 2
//     createInbox()
//     headers()                             an empty header block, or null for a library without headers
//     failure(error)                        one word for an error: a NATS status or the library's own code
//     answers(connection, subject, count)   the texts of the first `count` replies to one request
//     watch(connection, told)               calls told("disconnect") and told("reconnect")

import { createHash } from "node:crypto";

import { WAIT_MS, ready, signal, within } from "./harness.mjs";

const MESSAGES = 200;

/** Payloads that a careless parser mistakes for protocol. */
const AWKWARD_PAYLOADS = [
  "",
  "\r\n",
  "PUB a 1\r\nx\r\n",
  "+OK\r\n-ERR 'no'\r\n",
  "Grüße, 世界",
].map((text) => Buffer.from(text)).concat(Buffer.from([0x00, 0xff, 0x0d, 0x0a, 0x80]));

/** The scenarios for one library, by name, ready for `main`; `others` are scenarios that only it has. */
export function scenariosOf(library, others = {}) {
  const runnable = ([name, scenario]) => [
    name,
    async (settings) => {
      const connections = [];
      const open = async (options = {}) => {
        const connection = await library.connect({
          servers: settings.url,
          reconnect: false,
          timeout: WAIT_MS,
          ...settings.credentials,
          ...options,
        });
        connections.push(connection);
        return connection;
      };
      const subject = (tail) => `${settings.prefix}.${tail}`;
      try {
        return await scenario({ library, settings, open, subject });
      } finally {
        await Promise.allSettled(connections.map((connection) => connection.close()));
      }
    },
  ];
  return Object.fromEntries(Object.entries({ ...SCENARIOS, ...others }).map(runnable));
}

/** `length` bytes, all values among them, that do not repeat with a power of two. */
export function pattern(length) {
  const bytes = Buffer.alloc(length);
  for (let offset = 0; offset < length; offset += 1) bytes[offset] = (offset * 31 + (offset >> 8)) & 0xff;
  return bytes;
}

/** Flush in the given order: name publishers before their subscribers. */
export async function settle(...connections) {
  for (const connection of connections) await within(connection.flush(), "PONG");
}

/** Subscribe, and keep what arrives in `messages`. */
function collect(connection, subject, options = {}) {
  const messages = [];
  const subscription = connection.subscribe(subject, {
    ...options,
    callback: (error, message) => {
      if (error) throw error;
      messages.push(message);
    },
  });
  return { messages, subscription };
}

function numbers(from, to) {
  return Array.from({ length: to - from }, (_, index) => `${from + index}`);
}

function text(message) {
  return Buffer.from(message.data).toString();
}

function texts(messages) {
  return messages.map(text);
}

function hex(message) {
  return Buffer.from(message.data).toString("hex");
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

function headersOf(message) {
  if (!message.headers) return null;
  return Object.fromEntries(message.headers.keys().map((key) => [key, message.headers.values(key)]));
}

/** A header block of `entries`; undefined for a library that has none. */
function headerBlock(library, entries) {
  const block = library.headers() ?? undefined;
  for (const [key, value] of Object.entries(entries)) block?.set(key, value);
  return block;
}

async function failureOf(library, act) {
  try {
    await act();
    return null;
  } catch (error) {
    return library.failure(error);
  }
}

const SCENARIOS = {
  async publish_subscribe({ open, subject }) {
    const [publisher, subscriber] = [await open(), await open()];
    const numbered = collect(subscriber, subject("numbered"));
    const awkward = collect(subscriber, subject("awkward"));
    await settle(subscriber);

    for (const number of numbers(0, MESSAGES)) publisher.publish(subject("numbered"), number);
    for (const payload of AWKWARD_PAYLOADS) publisher.publish(subject("awkward"), payload);
    await settle(publisher, subscriber);

    return { numbered: texts(numbered.messages), awkward: awkward.messages.map(hex) };
  },

  async queue_groups({ open, subject }) {
    const publisher = await open();
    const connections = [await open(), await open(), await open(), await open(), await open()];
    const workers = [
      collect(connections[0], subject("jobs"), { queue: "workers" }),
      collect(connections[1], subject("jobs"), { queue: "workers" }),
      collect(connections[2], subject("*"), { queue: "workers" }), // one group, whatever its patterns are
    ];
    const audit = collect(connections[3], subject("jobs"), { queue: "audit" });
    const plain = collect(connections[4], subject("jobs"));
    await settle(...connections);

    for (const number of numbers(0, MESSAGES)) publisher.publish(subject("jobs"), number);
    await settle(publisher, ...connections);

    return {
      workers: workers.map((worker) => worker.messages.length),
      workers_distinct: new Set(workers.flatMap((worker) => texts(worker.messages))).size,
      audit: audit.messages.length,
      plain: plain.messages.length,
    };
  },

  async request_reply({ library, open, subject }) {
    const [requester, first, second] = [await open(), await open(), await open()];
    for (const [name, responder] of Object.entries({ first, second })) {
      responder.subscribe(subject("upper"), {
        queue: "responders",
        callback: (_, message) => message.respond(text(message).toUpperCase()),
      });
      responder.subscribe(subject("everyone"), { callback: (_, message) => message.respond(name) });
    }
    await settle(first, second);

    const request = (payload, options) =>
      requester.request(subject("upper"), payload, { timeout: WAIT_MS, ...options });
    const replies = await Promise.all(numbers(0, 20).map((number) => request(`word-${number}`)));
    const ownInbox = await request("own inbox", { noMux: true }); // SUB, UNSUB 1 and PUB for this request alone
    const everyone = await within(library.answers(requester, subject("everyone"), 2), "second answer");

    return { replies: texts(replies), own_inbox: text(ownInbox), everyone: everyone.sort() };
  },

  async no_responders({ library, open, settings, subject }) {
    const requester = await open();
    const inbox = library.createInbox();
    const status = collect(requester, inbox);
    const request = (options) => requester.request(subject("nobody"), "?", { timeout: settings.patience_ms, ...options });

    const failure = await failureOf(library, () => request({}));
    const failureOwnInbox = await failureOf(library, () => request({ noMux: true }));
    requester.publish(subject("nobody"), "?", { reply: inbox });
    await settle(requester);

    return {
      failure,
      failure_own_inbox: failureOwnInbox,
      statuses: status.messages.map((message) => ({
        code: message.headers?.code,
        payload: hex(message),
        headers: headersOf(message),
      })),
    };
  },

  async headers({ library, open, subject }) {
    const [publisher, subscriber] = [await open(), await open()];
    const received = collect(subscriber, subject("headers"));
    subscriber.subscribe(subject("echo"), {
      callback: (_, message) => message.respond(message.data, { headers: message.headers }),
    });
    await settle(subscriber);

    const headers = headerBlock(library, { "X-One": "1", "mixed-Case": "a: b:c", "X-Text": "Grüße" });
    headers.append("X-Many", "first");
    headers.append("X-Many", "second");
    publisher.publish(subject("headers"), "with payload", { headers });
    publisher.publish(subject("headers"), "", { headers });
    publisher.publish(subject("headers"), "no headers");
    await settle(publisher, subscriber);
    const reply = await publisher.request(subject("echo"), "echo", { timeout: WAIT_MS, headers });

    return {
      received: received.messages.map((message) => ({ headers: headersOf(message), text: text(message) })),
      reply: { headers: headersOf(reply), text: text(reply) },
    };
  },

  async drain({ open, subject }) {
    const [publisher, leaving, staying] = [await open(), await open(), await open()];
    const left = collect(leaving, subject("work"), { queue: "q" });
    const stayed = collect(staying, subject("work"), { queue: "q" });
    const single = collect(staying, subject("single"));
    await settle(leaving, staying);
    const publish = async (from, to) => {
      for (const number of numbers(from, to)) publisher.publish(subject("work"), number);
      await settle(publisher);
    };

    await publish(0, MESSAGES);
    const drained = leaving.drain();
    await publish(MESSAGES, 2 * MESSAGES); // what the leaving one no longer takes, the other gets
    await within(drained, "end of the drain");
    const leftAtEnd = left.messages.length;
    await publish(2 * MESSAGES, 3 * MESSAGES);
    publisher.publish(subject("single"), "before");
    await settle(publisher);
    await within(single.subscription.drain(), "end of the subscription's drain");
    publisher.publish(subject("single"), "after");
    await settle(publisher, staying);

    const everything = texts([...left.messages, ...stayed.messages]);
    return {
      closed: leaving.isClosed(),
      received: everything.length,
      distinct: new Set(everything).size,
      left_while_draining: leftAtEnd,
      left_afterwards: left.messages.length - leftAtEnd,
      single: texts(single.messages),
    };
  },

  async auto_unsubscribe({ library, open, settings, subject }) {
    const [publisher, subscriber] = [await open(), await open()];
    const atOnce = collect(subscriber, subject("limited"), { max: 3 });
    const later = collect(subscriber, subject("limited"));
    const gone = collect(subscriber, subject("limited"));
    await settle(subscriber);
    const publish = async (count) => {
      for (const number of numbers(0, count)) publisher.publish(subject("limited"), number);
      await settle(publisher, subscriber);
    };

    await publish(2);
    later.subscription.unsubscribe(5); // counts the two that came before
    gone.subscription.unsubscribe();
    await settle(subscriber);
    await publish(10);
    const request = () => publisher.request(subject("limited"), "", { timeout: settings.patience_ms });

    return {
      at_once: texts(atOnce.messages),
      later: texts(later.messages),
      gone: texts(gone.messages),
      request_afterwards: await failureOf(library, request),
    };
  },

  async wildcards({ open, subject }) {
    const [publisher, subscriber] = [await open(), await open()];
    const patterns = ["orders.created", "orders.*", "*.created", "orders.>", ">", "*.*.*"];
    const received = Object.fromEntries(patterns.map((tail) => [tail, collect(subscriber, subject(tail)).messages]));
    await settle(subscriber);

    for (const tail of ["orders.created", "orders.deleted", "users.created", "orders", "orders.eu.created"]) {
      publisher.publish(subject(tail), "");
    }
    await settle(publisher, subscriber);

    const tailOf = (message) => message.subject.slice(subject("").length);
    return Object.fromEntries(patterns.map((tail) => [tail, received[tail].map(tailOf)]));
  },

  async large_payload({ open, subject }) {
    const [publisher, subscriber] = [await open(), await open()];
    const received = collect(subscriber, subject("large"));
    await settle(subscriber);

    const payload = pattern(publisher.info.max_payload);
    const isIntact = ({ data }) => sha256(data) === sha256(payload.subarray(0, data.length));
    for (const size of [payload.length, 70_000, payload.length]) {
      publisher.publish(subject("large"), payload.subarray(0, size));
    }
    await settle(publisher, subscriber);

    return {
      sizes: received.messages.map((message) => message.data.length),
      intact: received.messages.every(isIntact),
    };
  },

  async echo({ open, subject }) {
    const [silent, other] = [await open({ noEcho: true }), await open()];
    const own = collect(silent, subject("echo"));
    const others = collect(other, subject("echo"));
    await settle(silent, other);

    silent.publish(subject("echo"), "from silent");
    other.publish(subject("echo"), "from other");
    await settle(silent, other, silent);

    return { silent: texts(own.messages), other: texts(others.messages).sort() };
  },

  async verbose_and_pedantic({ open, subject }) {
    const connection = await open({ verbose: true, pedantic: true });
    const received = collect(connection, subject("verbose"), { max: 2 });

    for (const word of ["one", "two", "three"]) connection.publish(subject("verbose"), word);
    await settle(connection);

    return { received: texts(received.messages), closed: connection.isClosed() };
  },

  async reconnect({ library, open, subject }) {
    const connection = await open({
      reconnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 20,
      reconnectJitter: 0,
    });
    const counts = { disconnect: 0, reconnect: 0 };
    const reconnected = signal();
    library.watch(connection, (type) => {
      counts[type] += 1;
      if (type === "reconnect") reconnected.resolve();
    });
    const all = collect(connection, subject("all"));
    const queued = collect(connection, subject("all"), { queue: "q" });
    const limited = collect(connection, subject("all"), { max: 3 });
    connection.publish(subject("all"), "before");
    await settle(connection);
    const before = connection.info;

    ready();
    await within(reconnected.promise, "reconnection");
    for (const word of ["after 1", "after 2", "after 3"]) connection.publish(subject("all"), word);
    await settle(connection);

    return {
      all: texts(all.messages),
      queued: texts(queued.messages),
      limited: texts(limited.messages),
      ...counts,
      ports: [before.port, connection.info.port],
      same_server: before.server_id === connection.info.server_id,
    };
  },

  async server_info({ open }) {
    const connection = await open();
    await settle(connection); // what the server says after the first PONG has come
    return connection.info;
  },

  async authenticated({ open, subject }) {
    const connection = await open();
    const received = collect(connection, subject("private"));
    connection.publish(subject("private"), "secret");
    await settle(connection);
    return { received: texts(received.messages), auth_required: connection.info.auth_required };
  },

  async refused({ library, open }) {
    return { failure: await failureOf(library, open) };
  },

  // One half of a scenario whose other half is another library.

  async collect_until_end({ open, settings, subject }) {
    const connection = await open();
    const ended = signal();
    const received = collect(connection, subject("mixed"), settings.queue ? { queue: settings.queue } : {});
    connection.subscribe(subject("end"), { callback: ended.resolve });
    await settle(connection);

    ready();
    await within(ended.promise, "end");

    return received.messages.map((message) => ({ headers: headersOf(message), payload: hex(message) }));
  },

  async publish({ library, open, settings, subject }) {
    const connection = await open();
    const headers = headerBlock(library, settings.headers);
    for (const number of numbers(0, settings.count)) connection.publish(subject("mixed"), number, { headers });
    await settle(connection);
    return { published: settings.count };
  },

  async respond({ open, subject }) {
    const connection = await open();
    const ended = signal();
    let requests = 0;
    connection.subscribe(subject("upper"), {
      callback: (_, message) => {
        requests += 1;
        message.respond(text(message).toUpperCase(), { headers: message.headers });
      },
    });
    connection.subscribe(subject("end"), { callback: ended.resolve });
    await settle(connection);

    ready();
    await within(ended.promise, "end");

    return { requests };
  },

  async request({ library, open, settings, subject }) {
    const connection = await open();
    const headers = headerBlock(library, settings.headers);
    const reply = await connection.request(subject("upper"), "question", { timeout: WAIT_MS, headers });
    return { headers: headersOf(reply), text: text(reply) };
  },
};
