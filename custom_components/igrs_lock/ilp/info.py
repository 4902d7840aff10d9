"""The info characteristic (ILP1 section 3). It is not authenticated: decide nothing by it."""

from dataclasses import dataclass
from typing import Self

from .const import INFO_SIZE, PROFILE_VERSION, Capability
from .errors import MalformedError
from .keys import check_size


@dataclass(frozen=True, slots=True)
class Info:
    """What a lock says of itself: 6-byte device identifier, capabilities, sizes of its stores."""

    device_id: bytes
    capabilities: Capability
    slots: int
    log_size: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read 12 bytes; MalformedError on another length or profile version."""
        check_size(data, INFO_SIZE, "info")
        if data[0] != PROFILE_VERSION:
            raise MalformedError(f"profile version {data[0]} is not known")
        capabilities = Capability(int.from_bytes(data[7:9]))
        return cls(data[1:7], capabilities, data[9], int.from_bytes(data[10:12]))
