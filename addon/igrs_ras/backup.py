"""The backup's file: all rows of all tables, the same for SQLite and PostgreSQL, optionally under a passphrase.

    "IGRSRAS" 01 ‖ header length 4 ‖ header (JSON) ‖ chunks

A chunk is length 4 ‖ data; the highest bit of the length marks the last one. With a passphrase each chunk is
AES-256-GCM under a key by scrypt, nonce = prefix 7 ‖ chunk number 4 ‖ last 1, associated data = SHA-256 of all before
the chunks, so nothing can be changed, reordered or cut off. Joined, the chunks are a zlib stream of records, each
length 4 ‖ MessagePack: `[table, columns, rows]`, at the end `["", counts, SHA-256 of the header and all records]`.
"""

import contextlib
import hashlib
import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from sqlalchemy import Connection, MetaData, select

from igrs_ras import __version__
from igrs_ras.storage.migrate import schema_of, sync

MAGIC = b"IGRSRAS\x01"
CHUNK = 64 * 1024
RECORD = 64 * 2**20  # bytes of a record at most
ROWS = 200  # rows of a record
LAST = 1 << 31
PREFIX = 7  # random bytes of a nonce
SHORTEST = 8  # characters of a passphrase
# 64 MiB of memory and a quarter of a second on a small board, for each guess.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**16, 8, 1
MOST_MEMORY = 256 * 2**20  # bytes that a file's header may ask for
VERSION_TABLE = "alembic_version"


class BackupError(Exception):
    """The file is no backup, is damaged, or the passphrase is wrong. The text says which."""


class Encryption(msgspec.Struct, frozen=True):
    """How the key comes from the passphrase."""

    salt: bytes
    prefix: bytes
    n: int
    r: int
    p: int
    kdf: Literal["scrypt"] = "scrypt"


class Header(msgspec.Struct, frozen=True):
    """What stands readable at the file's begin."""

    schema: str
    made: int
    version: str = __version__
    encryption: Encryption | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a backup holds."""

    header: Header
    rows: dict[str, int]
    size: int


def check_passphrase(passphrase: str | None) -> str | None:
    """Return it. Raises BackupError if it is too short to protect anything."""
    if passphrase is not None and len(passphrase) < SHORTEST:
        raise BackupError(f"the passphrase must have at least {SHORTEST} characters")
    return passphrase


def _cipher(passphrase: str, encryption: Encryption) -> AESGCM:
    if encryption.n * encryption.r > MOST_MEMORY // 128 or encryption.p > 4:
        raise BackupError("the file's header asks for more memory than any backup needs")
    try:
        kdf = Scrypt(
            salt=encryption.salt, length=32, n=encryption.n, r=encryption.r, p=encryption.p
        )
    except ValueError as error:
        raise BackupError("the backup's header is damaged") from error
    if len(encryption.prefix) != PREFIX:
        raise BackupError("the backup's header is damaged")
    return AESGCM(kdf.derive(passphrase.encode()))


class _Chunks:
    """Writes bytes as chunks."""

    def __init__(self, file: BinaryIO, head: bytes, cipher: AESGCM | None, prefix: bytes) -> None:
        self._file = file
        self._bound = hashlib.sha256(head).digest()
        self._cipher = cipher
        self._prefix = prefix
        self._number = 0
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        self._waiting += data
        while len(self._waiting) > CHUNK:
            self._put(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]

    def end(self) -> None:
        self._put(bytes(self._waiting), last=True)

    def _put(self, data: bytes, *, last: bool) -> None:
        if self._cipher is not None:
            data = self._cipher.encrypt(_nonce(self._prefix, self._number, last), data, self._bound)
        self._number += 1
        self._file.write((len(data) | (LAST if last else 0)).to_bytes(4) + data)


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4) + bytes([last])


def write(
    connection: Connection, target: Path, made: int, passphrase: str | None = None
) -> Summary:
    """Write a new file with mode 0600 and read it again; return what it holds.

    The connection is in a transaction that sees one state (on PostgreSQL: REPEATABLE READ). Blocks.
    Raises BackupError, FileExistsError, OSError and what the database says.
    """
    check_passphrase(passphrase)
    schema = schema_of(connection)
    if schema is None:
        raise BackupError("the database is empty: there is nothing to back up")
    encryption = None
    cipher = None
    if passphrase is not None:
        encryption = Encryption(
            secrets.token_bytes(16), secrets.token_bytes(PREFIX), SCRYPT_N, SCRYPT_R, SCRYPT_P
        )
        cipher = _cipher(passphrase, encryption)
    header = Header(schema, made, encryption=encryption)
    with open(target, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        written = msgspec.json.encode(header)
        head = MAGIC + len(written).to_bytes(4) + written
        file.write(head)
        chunks = _Chunks(file, head, cipher, encryption.prefix if encryption else b"")
        _write_records(connection, chunks, hashlib.sha256(head))
        file.flush()
        os.fsync(file.fileno())
    sync(target.parent)
    return check(target, passphrase)


def _write_records(connection: Connection, chunks: _Chunks, digest: Any) -> None:
    pack = msgspec.msgpack.Encoder()
    zipped = zlib.compressobj(6)

    def put(record: list[Any]) -> None:
        data = pack.encode(record)
        framed = len(data).to_bytes(4) + data
        digest.update(framed)
        chunks.write(zipped.compress(framed))

    counts: dict[str, int] = {}
    tables = MetaData()
    tables.reflect(connection)
    for table in tables.sorted_tables:
        if table.name == VERSION_TABLE:
            continue
        # Reflected names are SQLAlchemy's own kind of text, which msgpack does not take.
        name = str(table.name)
        columns = [str(column.name) for column in table.columns]
        counts[name] = 0
        found = connection.execution_options(stream_results=True).execute(
            select(table).order_by(*table.primary_key.columns)
        )
        for rows in found.partitions(ROWS):
            put([name, columns, [list(row) for row in rows]])
            counts[name] += len(rows)
    put(["", counts, digest.digest()])
    chunks.write(zipped.flush())
    chunks.end()


@contextlib.contextmanager
def opened(path: Path, passphrase: str | None = None) -> Iterator[Backup]:
    """Open a backup for reading. Raises BackupError, OSError."""
    with path.open("rb") as file:
        yield Backup(file, passphrase)


def check(path: Path, passphrase: str | None = None) -> Summary:
    """Read a whole backup; return what it holds. Raises BackupError, OSError."""
    with opened(path, passphrase) as backup:
        for _ in backup.records():
            pass
        return Summary(backup.header, backup.counts, path.stat().st_size)


class Backup:
    """A backup that is being read."""

    def __init__(self, file: BinaryIO, passphrase: str | None) -> None:
        start = file.read(len(MAGIC) + 4)
        if start[: len(MAGIC)] != MAGIC or len(start) != len(MAGIC) + 4:
            raise BackupError("the file is no backup of igrs-ras")
        length = int.from_bytes(start[len(MAGIC) :])
        written = file.read(min(length, CHUNK))
        try:
            self.header = msgspec.json.decode(written, type=Header)
        except (msgspec.MsgspecError, ValueError) as error:
            raise BackupError("the backup's header is damaged") from error
        encryption = self.header.encryption
        if encryption is not None and passphrase is None:
            raise BackupError("the backup has a passphrase: give it with --passphrase-file")
        if encryption is None and passphrase is not None:
            raise BackupError("the backup has no passphrase: leave --passphrase-file out")
        self._cipher = (
            _cipher(passphrase, encryption) if encryption is not None and passphrase else None
        )
        self._prefix = encryption.prefix if encryption else b""
        self._file = file
        self._head = start + written
        self.counts: dict[str, int] = {}

    def records(self) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
        """Yield (table, columns, rows), parents before children. Raises BackupError, at the latest at the end."""
        digest = hashlib.sha256(self._head)
        counts: dict[str, int] = {}
        ended = False
        # To the file's last byte, so that nothing in it goes unchecked.
        for data in self._frames():
            try:
                name, second, third = msgspec.msgpack.decode(data, type=tuple[str, Any, Any])
                if name:
                    second = msgspec.convert(second, list[str])
                    third = msgspec.convert(third, list[list[Any]])
                else:
                    second = msgspec.convert(second, dict[str, int])
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                raise BackupError("the backup is damaged") from error
            if ended:
                raise BackupError("something follows the backup's end")
            if name == "":
                if second != {**dict.fromkeys(second, 0), **counts} or third != digest.digest():
                    raise BackupError("the backup is damaged")
                self.counts = second
                ended = True
            else:
                digest.update(len(data).to_bytes(4) + data)
                counts[name] = counts.get(name, 0) + len(third)
                yield name, second, third
        if not ended:
            raise BackupError("the backup is cut off")

    def _frames(self) -> Iterator[bytes]:
        unzip = zlib.decompressobj()
        waiting = bytearray()
        try:
            for chunk in self._chunks():
                rest = chunk
                while rest:
                    waiting += unzip.decompress(rest, RECORD)
                    rest = unzip.unconsumed_tail
                    while len(waiting) >= 4:
                        length = int.from_bytes(waiting[:4])
                        if length > RECORD:
                            raise BackupError("the backup is damaged")
                        if len(waiting) < 4 + length:
                            break
                        yield bytes(waiting[4 : 4 + length])
                        del waiting[: 4 + length]
        except zlib.error as error:
            raise BackupError("the backup is damaged") from error
        if not unzip.eof or unzip.unused_data or waiting:
            raise BackupError("the backup is cut off or damaged")

    def _chunks(self) -> Iterator[bytes]:
        bound = hashlib.sha256(self._head).digest()
        number = 0
        last = False
        while not last:
            start = self._file.read(4)
            length = int.from_bytes(start)
            last = bool(length & LAST)
            length &= LAST - 1
            if len(start) != 4 or length > CHUNK + 16:
                raise BackupError("the backup is cut off or damaged")
            data = self._file.read(length)
            if len(data) != length:
                raise BackupError("the backup is cut off")
            if self._cipher is not None:
                try:
                    data = self._cipher.decrypt(_nonce(self._prefix, number, last), data, bound)
                except InvalidTag as error:
                    raise BackupError(
                        "the passphrase is wrong" if number == 0 else "the backup is damaged"
                    ) from error
            number += 1
            yield data
        if self._file.read(1):
            raise BackupError("something follows the backup's end")


def load(
    connection: Connection, backup: Backup, only: Sequence[str] | None = None
) -> dict[str, int]:
    """Insert a backup's rows into empty tables of the backup's schema, all of them or those of `only`; return counts.

    Inside the caller's transaction, which is rolled back on BackupError.
    """
    tables = MetaData()
    tables.reflect(connection)
    for name, columns, rows in backup.records():
        if only is not None and name not in only:
            continue
        table = tables.tables.get(name)
        if table is None or not set(columns) <= set(table.columns.keys()):
            raise BackupError(f"the backup has a table or column that is not of its schema: {name}")
        if any(len(row) != len(columns) for row in rows):
            raise BackupError("the backup is damaged")
        if rows:
            connection.execute(
                table.insert(), [dict(zip(columns, row, strict=True)) for row in rows]
            )
    return backup.counts
