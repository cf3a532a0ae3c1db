"""Does the work of stages that name a queue: work.py QUEUE"""

import sys
import time

import grpc
from connect import channel
from generated import V1
from refusal import refusal


def work(v1, queue, do):
    while True:
        try:
            for task in v1.Lifecycles.Work(v1.WorkRequest(queue=queue, worker="example")):
                # A task whose answer gets lost is told of again: its own id makes the answer repeatable.
                try:
                    payload = do(task)
                except Exception as error:
                    v1.Lifecycles.Fail(
                        v1.FailTaskRequest(request_id=task.id, task_id=task.id, error=str(error) or repr(error))
                    )
                else:
                    v1.Lifecycles.Complete(
                        v1.CompleteTaskRequest(request_id=task.id, task_id=task.id, payload=payload)
                    )
        except grpc.RpcError as error:
            _, wait = refusal(error)
            if wait is None:
                raise
            time.sleep(wait)


if __name__ == "__main__":

    def do(task):
        print(f"{task.enrollment.subject_type}/{task.enrollment.subject_id}", flush=True)
        return '{"done": true}'

    work(V1(channel()), sys.argv[1], do)
