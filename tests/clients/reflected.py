"""The API as the daemon describes it itself: nothing is generated, and nothing of settled has to be there."""

from types import SimpleNamespace

from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class V1:
    """Messages and enums of settled.v1, and its services on a channel: `v1.InstallRequest`, `v1.Resources.Install`."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def __getattr__(self, name):
        try:
            file = self.pool.FindFileContainingSymbol(f"settled.v1.{name}")
        except KeyError:
            raise AttributeError(f"settled.v1 has no {name}") from None
        if name in file.message_types_by_name:
            found = message_factory.GetMessageClass(file.message_types_by_name[name])
        elif name in file.services_by_name:
            found = self.service(file.services_by_name[name])
        else:
            found = EnumTypeWrapper(file.enum_types_by_name[name])
        setattr(self, name, found)
        return found

    def service(self, service):
        return SimpleNamespace(**{method.name: self.method(service, method) for method in service.methods})

    def method(self, service, method):
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        answer = message_factory.GetMessageClass(method.output_type)
        return kind(
            f"/{service.full_name}/{method.name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=answer.FromString,
        )
