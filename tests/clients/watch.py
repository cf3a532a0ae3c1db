"""Prints every change of resources, each once, however often it is started anew: watch.py POSITION_FILE"""

import os
import sys
import time
from threading import Timer

import grpc
from connect import channel
from generated import V1
from refusal import refusal

# A bookmark comes every 3 seconds when nothing else does: the connection is dead where nothing comes for so long.
SILENCE_MAX_S = 15


def until_silent(stream):
    """What comes, until nothing comes any more: then the stream is cancelled."""
    while True:
        silence = Timer(SILENCE_MAX_S, stream.cancel)
        silence.start()
        try:
            told = next(stream)
        except StopIteration:
            return
        finally:
            silence.cancel()
        yield told


def watch(connect, position, apply):
    """Calls `apply(v1, changes, position)` for each commit. Begins after `position`; without one, with all that there is."""
    while True:
        try:
            # Each time by a connection of its own: the last one may be dead.
            with connect() as line:
                v1 = V1(line)
                start = {"since": v1.Position.FromString(position)} if position else {"snapshot": True}
                changes = []
                for told in until_silent(v1.Transitions.Watch(v1.WatchRequest(**start))):
                    if told.HasField("transition"):
                        changes.append(told.transition)
                    # What was changed together is applied together, and then its position is kept.
                    if told.HasField("position") and (told.commit_complete or told.HasField("bookmark")):
                        position = told.position.SerializeToString()
                        apply(v1, changes, position)
                        changes = []
        except grpc.RpcError as error:
            _, wait = refusal(error)
            if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                position = None
            elif wait is not None:
                time.sleep(wait)
            elif error.code() != grpc.StatusCode.CANCELLED:
                raise


if __name__ == "__main__":
    path = sys.argv[1]

    def apply(v1, changes, position):
        for change in changes:
            if change.HasField("resource"):
                resource = change.resource
                print(f"{resource.server}/{resource.package}/{resource.name}", v1.Change.Name(change.change), flush=True)
        with open(f"{path}.new", "wb") as file:
            file.write(position)
        os.replace(f"{path}.new", path)

    known = None
    if os.path.exists(path):
        with open(path, "rb") as file:
            known = file.read()
    watch(channel, known, apply)
