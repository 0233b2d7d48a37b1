// The scenarios with `@nats-io/transport-node`, the present client for Node.js.

import { NoRespondersError, RequestError, connect, createInbox, headers } from "@nats-io/transport-node";

import { main } from "./harness.mjs";
import { answers, watch } from "./promises.mjs";
import { scenariosOf } from "./scenarios.mjs";

function failure(error) {
  const isNoResponders =
    error instanceof NoRespondersError || (error instanceof RequestError && error.isNoResponders());
  return isNoResponders ? "503" : `${error.name}: ${error.message}`;
}

main(scenariosOf({ connect, headers, createInbox, failure, answers, watch }));
