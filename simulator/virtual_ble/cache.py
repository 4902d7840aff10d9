"""GATT tables of peripherals, kept over connections as an adapter's host does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class CachedDescriptor:
    """A descriptor: its handle and UUID (36 characters)."""

    handle: int
    uuid: str


@dataclass(frozen=True)
class CachedCharacteristic:
    """A characteristic: value handle, UUID, property bits, descriptors."""

    handle: int
    uuid: str
    properties: int
    descriptors: tuple[CachedDescriptor, ...]


@dataclass(frozen=True)
class CachedService:
    """A primary service."""

    handle: int
    uuid: str
    characteristics: tuple[CachedCharacteristic, ...]


type Table = tuple[CachedService, ...]


class GattCache:
    """Tables by address, shared by all adapters of one Home Assistant."""

    def __init__(self) -> None:
        """Start empty."""
        self._tables: dict[str, Table] = {}

    def get(self, address: str) -> Table | None:
        """The kept table of an address."""
        return self._tables.get(address)

    def put(self, address: str, table: Table) -> None:
        """Keep a table."""
        self._tables[address] = table

    def forget(self, address: str) -> None:
        """Forget a table."""
        self._tables.pop(address, None)


def as_bleak(table: Table, write_size: Callable[[], int]) -> BleakGATTServiceCollection:
    """Make bleak's collection of a table.

    Args:
        table: the services.
        write_size: gives the largest write without response.
    """
    collection = BleakGATTServiceCollection()
    for kept in table:
        service = BleakGATTService(kept, kept.handle, kept.uuid)
        collection.add_service(service)
        for entry in kept.characteristics:
            characteristic = BleakGATTCharacteristic(
                entry,
                entry.handle,
                entry.uuid,
                list(gatt_char_props_to_strs(entry.properties)),
                write_size,
                service,
            )
            collection.add_characteristic(characteristic)
            for item in entry.descriptors:
                collection.add_descriptor(
                    BleakGATTDescriptor(item, item.handle, item.uuid, characteristic)
                )
    return collection
