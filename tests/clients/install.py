"""Installs a package, and waits until its run has ended: install.py REQUEST_ID SERVER NAME"""

import sys

import grpc
from connect import channel
from generated import V1
from refusal import refusal


def install(v1, request_id, server, name):
    # The same id with the same content is done once, however often it is asked for.
    request = v1.InstallRequest(
        request_id=request_id, server=server, package="greeting", name=name, parameters={"whom": name}
    )
    run = v1.Resources.Install(request).run
    for told in v1.Runs.Follow(v1.FollowRunRequest(run_id=run.id)):
        if told.HasField("run"):
            run = told.run
    return run


if __name__ == "__main__":
    v1 = V1(channel())
    try:
        run = install(v1, *sys.argv[1:])
    except grpc.RpcError as error:
        # What to do next follows from the reason; with a wait, ask again after it with the same id.
        reason, wait = refusal(error)
        print("refused:", reason, f"wait {wait:g} s" if wait is not None else "")
        sys.exit(1)
    print(run.id, v1.Outcome.Name(run.outcome))
