// Prints every change of resources, each once, however often it is started anew: watch.mjs POSITION_FILE
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { call, here, message, pause, read, text } from "./settled.mjs";

// A bookmark comes every 3 seconds when nothing else does: the connection is dead where nothing comes for so long.
const SILENCE_MAX_MS = 15_000;

/** Calls `apply(changes, position)` for each commit. Begins after `position`; without one, with all that there is. */
async function watch(settled, position, apply) {
  for (;;) {
    let changes = [];
    try {
      // WatchRequest: since, or snapshot. WatchResponse: position, transition, bookmark, commit_complete.
      const start = position ? [1, position] : [2, true];
      for await (const told of call(settled, "Transitions/Watch", message(start), SILENCE_MAX_MS)) {
        const { 1: at, 2: transition, 3: bookmark, 4: complete } = read(told);
        if (transition) changes.push(read(transition));
        // What was changed together is applied together, and then its position is kept.
        if (at && (complete || bookmark)) {
          position = at;
          apply(changes, position);
          changes = [];
        }
      }
    } catch (error) {
      if (error.code === 11) position = undefined;
      else if (error.wait !== undefined) await pause(error.wait);
      else throw error;
    }
  }
}

// A page would keep it in its storage.
const path = process.argv[2];
const CHANGES = ["CHANGE_UNSPECIFIED", "CHANGE_CREATED", "CHANGE_UPDATED", "CHANGE_GONE", "CHANGE_SNAPSHOT"];
await watch(here(), existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined, (changes, position) => {
  for (const { 4: change, 10: object } of changes) {
    if (!object) continue;
    const resource = read(object);
    console.log(`${text(resource[4])}/${text(resource[5])}/${text(resource[2])}`, CHANGES[change]);
  }
  writeFileSync(`${path}.new`, position);
  renameSync(`${path}.new`, path);
});
