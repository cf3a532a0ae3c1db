// Writes what the steps of a run write, live or afterwards: follow.mjs RUN
import { call, here, message, pause, read } from "./settled.mjs";

async function follow(settled, runId, write) {
  let offset = 0n;
  for (;;) {
    try {
      // FollowRunRequest: run_id, output_offset. FollowRunResponse: output, with data and next_offset.
      for await (const told of call(settled, "Runs/Follow", message([1, runId], [2, offset]))) {
        const { 3: output } = read(told);
        if (!output) continue;
        const { 2: data, 3: next } = read(output);
        if (data) write(data);
        offset = next ?? offset;
      }
      return;
    } catch (error) {
      // The connection broke, or the daemon is being replaced, for instance. Go on where the output stopped.
      if (error.wait === undefined) throw error;
      await pause(error.wait);
    }
  }
}

await follow(here(), process.argv[2], (data) => process.stdout.write(data));
