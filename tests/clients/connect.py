"""How to reach settled: its unix socket, where the kernel says who asks, or TCP with TLS and a token."""

import os

import grpc


def channel():
    endpoint = os.environ.get("SETTLED_ENDPOINT", "unix:/run/settled/settled.sock")
    if endpoint.startswith("unix:"):
        # Without a name of its own the path would be sent as the name of a host, which it cannot be.
        return grpc.insecure_channel(endpoint, options=[("grpc.default_authority", "localhost")])
    with open(os.environ["SETTLED_CA"], "rb") as ca, open(os.environ["SETTLED_TOKEN_FILE"]) as token:
        tls = grpc.ssl_channel_credentials(ca.read())
        bearer = grpc.access_token_call_credentials(token.read().strip())
    return grpc.secure_channel(endpoint, grpc.composite_channel_credentials(tls, bearer))
