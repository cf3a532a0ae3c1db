"""Writes what the steps of a run write, live or afterwards: follow.py RUN"""

import sys
import time

import grpc
from connect import channel
from generated import V1
from refusal import refusal


def follow(v1, run_id, out):
    offset, run = 0, None
    while True:
        try:
            for told in v1.Runs.Follow(v1.FollowRunRequest(run_id=run_id, output_offset=offset)):
                if told.HasField("output"):
                    out.write(told.output.data)
                    offset = told.output.next_offset
                elif told.HasField("run"):
                    run = told.run
            return run
        except grpc.RpcError as error:
            # The connection broke, or the daemon is being replaced, for instance: go on where the output stopped.
            _, wait = refusal(error)
            if wait is None:
                raise
            time.sleep(wait)


if __name__ == "__main__":
    follow(V1(channel()), sys.argv[1], sys.stdout.buffer)
