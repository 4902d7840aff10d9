"""A lock's flash whose power can be cut in the middle of a write."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bsld.ports import Storage


class PowerCutError(Exception):
    """The power went while something was being stored; the lock core is dead from here on."""


class CuttableStorage:
    """Passes everything on to a storage, until the power is cut after so many bytes."""

    def __init__(self, inner: Storage) -> None:
        """Wrap a storage."""
        self._inner = inner
        self._bytes_left: int | None = None
        self.cut = False

    def cut_after(self, count: int) -> None:
        """Cut the power once `count` more bytes were stored; what is underway is cut short."""
        self._bytes_left = count

    def read(self, name: str) -> bytes | None:
        """See `bsld.ports.Storage`."""
        self._check()
        return self._inner.read(name)

    def append(self, name: str, data: bytes) -> None:
        """See `bsld.ports.Storage`; may leave a part and raise `PowerCutError`."""
        self._inner.append(name, self._before_cut(data))
        self._check()

    def write(self, name: str, data: bytes) -> None:
        """See `bsld.ports.Storage`; may leave a part and raise `PowerCutError`."""
        self._inner.write(name, self._before_cut(data))
        self._check()

    def rename(self, old: str, new: str) -> None:
        """See `bsld.ports.Storage`."""
        self._check()
        self._inner.rename(old, new)

    def remove(self, name: str) -> None:
        """See `bsld.ports.Storage`."""
        self._check()
        self._inner.remove(name)

    def names(self) -> list[str]:
        """See `bsld.ports.Storage`."""
        self._check()
        return self._inner.names()

    def _before_cut(self, data: bytes) -> bytes:
        self._check()
        if self._bytes_left is None:
            return data
        if len(data) >= self._bytes_left:
            self.cut = True
            return data[: self._bytes_left]
        self._bytes_left -= len(data)
        return data

    def _check(self) -> None:
        if self.cut:
            raise PowerCutError
