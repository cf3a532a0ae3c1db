"""The API by code that was generated from the .proto files."""

from importlib import import_module

FILES = ["types", "servers", "packages", "resources", "runs", "lifecycles", "transitions", "admin", "schedules"]


class V1:
    """Messages and enums of settled.v1, and its services on a channel: `v1.InstallRequest`, `v1.Resources.Install`."""

    def __init__(self, channel):
        for file in FILES:
            vars(self).update(vars(import_module(f"settled.v1.{file}_pb2")))
            stubs = import_module(f"settled.v1.{file}_pb2_grpc")
            for name in [name for name in vars(stubs) if name.endswith("Stub")]:
                setattr(self, name.removesuffix("Stub"), getattr(stubs, name)(channel))
