"""Prints every change of resources, each once, however often it is started anew: watch.py POSITION_FILE"""

import os
import sys
import time

import grpc
from connect import channel
from generated import V1


def watch(v1, position, apply):
    """Calls `apply(changes, position)` for each commit. Begins after `position`; without one, with all that there is."""
    while True:
        start = {"since": position} if position else {"snapshot": True}
        try:
            changes = []
            for told in v1.Transitions.Watch(v1.WatchRequest(**start)):
                if told.HasField("transition"):
                    changes.append(told.transition)
                # What was changed together is applied together, and then its position is kept.
                if told.HasField("position") and (told.commit_complete or told.HasField("bookmark")):
                    position = told.position
                    apply(changes, position)
                    changes = []
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                position = None
            elif error.code() == grpc.StatusCode.UNAVAILABLE:
                time.sleep(1)
            else:
                raise


if __name__ == "__main__":
    v1, path = V1(channel()), sys.argv[1]

    def apply(changes, position):
        for change in changes:
            if change.HasField("resource"):
                resource = change.resource
                print(f"{resource.server}/{resource.package}/{resource.name}", v1.Change.Name(change.change), flush=True)
        with open(f"{path}.new", "wb") as file:
            file.write(position.SerializeToString())
        os.replace(f"{path}.new", path)

    known = None
    if os.path.exists(path):
        with open(path, "rb") as file:
            known = v1.Position.FromString(file.read())
    watch(v1, known, apply)
