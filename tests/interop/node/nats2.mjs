// The scenarios with `nats` 2, the client for Node.js before the present one.

import nats from "nats2";

import { main } from "./harness.mjs";
import { answers, watch } from "./promises.mjs";
import { scenariosOf } from "./scenarios.mjs";

const { connect, createInbox, headers } = nats;
const failure = (error) => error.code;

main(scenariosOf({ connect, headers, createInbox, failure, answers, watch }));
