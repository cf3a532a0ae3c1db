// Does the work of stages that name a queue: work.mjs QUEUE
import { Refusal, ask, call, here, message, pause, read, text } from "./settled.mjs";

async function work(settled, queue, act) {
  for (;;) {
    try {
      // WorkRequest: queue, worker. Task: id, enrollment.
      for await (const told of call(settled, "Lifecycles/Work", message([1, queue], [2, "example"]))) {
        const task = read(told);
        const id = text(task[1]);
        // Both: request_id, task_id, and the payload or the error. A task's own id makes its answer repeatable.
        try {
          const payload = await act(read(task[2]));
          await ask(settled, "Lifecycles/Complete", message([1, id], [2, id], [3, payload]));
        } catch (error) {
          if (error instanceof Refusal) throw error;
          await ask(settled, "Lifecycles/Fail", message([1, id], [2, id], [3, String(error)]));
        }
      }
    } catch (error) {
      if (error.wait === undefined) throw error;
      await pause(error.wait);
    }
  }
}

await work(here(), process.argv[2], async (enrollment) => {
  console.log(`${text(enrollment[3])}/${text(enrollment[4])}`);
  return '{"done": true}';
});
