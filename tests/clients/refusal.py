"""What a refusal says to programs."""

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status


def refusal(error):
    """The reason, which docs/errors.md lists, and after how many seconds to ask again: None where asking again changes nothing."""
    reason, wait = None, 1 if error.code() == grpc.StatusCode.UNAVAILABLE else None
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, retry = ErrorInfo(), RetryInfo()
        if detail.Unpack(info) and info.domain == "settled":
            reason = info.reason
        elif detail.Unpack(retry):
            wait = retry.retry_delay.ToTimedelta().total_seconds()
    return reason, wait
