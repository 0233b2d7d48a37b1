// What every scenario script shares: its arguments, the READY line, its one line of outcome, its bounds.
//
//     node <script> <url> <scenario> [<settings as JSON>]
//
// The last line of output is {"ok": true, "details": ...} or {"ok": false, "error": ...}; the exit
// code is 0 or 1. A scenario that needs the test to act first prints READY and goes on by itself
// once it sees the consequence.

const SCENARIO_MS = 8000; // above every single wait, below the patience of the test
export const WAIT_MS = 4000;

/** Run the scenario that the command line names, print its outcome, and exit. */
export function main(scenarios) {
  const [url, name, settings = "{}"] = process.argv.slice(2);
  setTimeout(() => finish({ ok: false, error: { message: `${name} still runs after ${SCENARIO_MS} ms` } }), SCENARIO_MS);
  process.on("uncaughtException", (error) => finish({ ok: false, error: describe(error) }));
  perform(scenarios, url, name, settings).then(
    (details) => finish({ ok: true, details }),
    (error) => finish({ ok: false, error: describe(error) }),
  );
}

async function perform(scenarios, url, name, settings) {
  if (!Object.hasOwn(scenarios, name)) {
    throw new Error(`there is no scenario ${name}; there are ${Object.keys(scenarios).join(", ")}`);
  }
  return scenarios[name]({ url, ...JSON.parse(settings) });
}

function finish(outcome) {
  // Exit inside the callback: until then the pipe may hold only a part of the line.
  process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(outcome.ok ? 0 : 1));
}

function describe(error) {
  const cause = error.cause instanceof Error ? describe(error.cause) : undefined;
  return { name: error.name, code: error.code, message: error.message, cause };
}

/** Tell the test that its turn has come. */
export function ready() {
  process.stdout.write("READY\n");
}

/** The result of `promise`, or an error that says what did not come in time. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${WAIT_MS} ms`)), WAIT_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A promise and the function that resolves it. */
export function signal() {
  let resolve;
  const promise = new Promise((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
