"""Flash as a folder of files: on a board's littlefs, and on a computer for the simulator.

The file system must rename atomically onto an existing file. littlefs (MicroPython's own on
ESP32, RP2 and most others) and every POSIX file system do; FAT does not.
"""

import os

_MISSING = 2  # ENOENT


class FileStorage:
    """Implements `bsld.ports.Storage` in one folder, which must exist and hold nothing else.

    Args:
        folder: its path.
        sync: wait until the bytes are on the medium. Without it a killed process loses nothing,
            a crashed computer may.
    """

    def __init__(self, folder: str, sync: bool = True) -> None:
        """Use a folder."""
        self._folder = folder
        self._sync = sync

    def _path(self, name: str) -> str:
        return self._folder + "/" + name

    def _put(self, name: str, mode: str, data: bytes) -> None:
        with open(self._path(name), mode) as file:
            file.write(data)
            file.flush()
            if self._sync and hasattr(os, "fsync"):
                os.fsync(file.fileno())
        self._settle()

    def _settle(self) -> None:
        """Make the folder itself durable: names that came, went or changed."""
        if not self._sync:
            return
        if hasattr(os, "fsync"):
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        elif hasattr(os, "sync"):
            os.sync()

    def read(self, name: str) -> "bytes | None":
        """Return a file's contents, None if there is none."""
        try:
            with open(self._path(name), "rb") as file:
                return bytes(file.read())
        except OSError as error:
            if error.errno != _MISSING:
                raise
            return None

    def append(self, name: str, data: bytes) -> None:
        """Add data at the end of a file, made if missing."""
        self._put(name, "ab", data)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file's contents; the core only writes names it then renames."""
        self._put(name, "wb", data)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what had it, atomically."""
        os.rename(self._path(old), self._path(new))
        self._settle()

    def remove(self, name: str) -> None:
        """Delete a file; a missing one is no error."""
        try:
            os.remove(self._path(name))
        except OSError as error:
            if error.errno != _MISSING:
                raise
            return
        self._settle()

    def names(self) -> "list[str]":
        """Return the names of all files."""
        return os.listdir(self._folder)
