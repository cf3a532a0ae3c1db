// Installs a package, and waits until its run has ended: install.mjs REQUEST_ID SERVER NAME
import { Refusal, ask, call, here, message, read, text } from "./settled.mjs";

async function install(settled, requestId, server, name) {
  // InstallRequest: request_id, server, package, name, parameters. The same id with the same content is done once.
  const whom = message([1, "whom"], [2, name]);
  const request = message([1, requestId], [2, server], [3, "greeting"], [4, name], [5, whom]);
  let run = read((await ask(settled, "Resources/Install", request))[2]);
  // FollowRunRequest: run_id. FollowRunResponse: run.
  for await (const told of call(settled, "Runs/Follow", message([1, run[1]]))) {
    const { 1: newer } = read(told);
    if (newer) run = read(newer);
  }
  return run;
}

const OUTCOMES = ["OUTCOME_UNSPECIFIED", "OUTCOME_SUCCEEDED", "OUTCOME_FAILED", "OUTCOME_CANCELLED", "OUTCOME_BLOCKED"];
try {
  const run = await install(here(), ...process.argv.slice(2));
  console.log(text(run[1]), OUTCOMES[run[11] ?? 0]);
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  // What to do next follows from the reason; with a wait, ask again after it with the same id.
  console.log("refused:", error.reason, error.wait === undefined ? "" : `wait ${error.wait / 1000} s`);
  process.exitCode = 1;
}
