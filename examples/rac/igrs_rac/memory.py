"""What a client must not forget between two runs, in one file that only its owner reads (mode 0600).

The file holds keys that open doors. It is replaced as a whole and written through before anything rests on it: the
join's key before the first request, the box before *done*, a number of changed keys before the keys are used.
"""

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from ilp import IlpError
from ilp.joining import INVITATION_SECRET_SIZE, JOIN_PRIVATE_SIZE, JoinKeyPair

from .errors import (
    BoxError,
    LinkTextError,
    NoSuchLockError,
    NotJoinedError,
    StateFileError,
    printable,
)
from .keys import LOCKS_MAX, NAME_MAX, LockKeys
from .links import check_address
from .wire import Fields, MalformedError, b64, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from .links import InvitationLink

VERSION: Final = 1
ASKING, OPENED, JOINED = "asking", "opened", "joined"
_UPDATE_KEY_SIZE: Final = 32
_TOKEN_MAX: Final = 200
_FILE_MAX: Final = 1024 * 1024


@dataclass(slots=True)
class Memory:
    """A client's memory. `save` writes it; whoever changes a field saves before acting on it.

    `stage` is asking (the join was or will be sent), opened (the box is here, the home does not know yet that it was
    opened) or joined. `floors` are the time and counter of the newest state seen of each lock.
    """

    path: Path
    url: str
    name: str
    invitation: str
    secret: bytes = field(repr=False)
    private: bytes = field(repr=False)
    stage: str = ASKING
    join: str = ""
    token: str = field(default="", repr=False)
    device_token: str = field(default="", repr=False)
    user: str = ""
    site: str = ""
    person: bytes = field(default=b"", repr=False)
    person_name: str = ""
    done: bytes = field(default=b"", repr=False)
    update_key: bytes = field(default=b"", repr=False)
    number: int = 0
    locks: dict[str, LockKeys] = field(default_factory=dict)
    generation: int = 0
    seq: int = 0
    floors: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def begin(cls, path: Path, link: InvitationLink, name: str) -> Self:
        """Return the memory for a link: a new one, or the one in the file if it is this link's.

        Raises StateFileError: the file belongs to another invitation.
        """
        if path.exists():
            known = cls.load(path)
            if known.invitation != link.id:
                raise StateFileError(
                    f"{path.name} belongs to another invitation: name another file"
                )
            return known
        memory = cls(
            path,
            link.server,
            printable(name, NAME_MAX),
            link.id,
            link.secret,
            JoinKeyPair().private,
        )
        memory.save()
        return memory

    @property
    def joined(self) -> bool:
        """Whether the keys are here and the home was told so."""
        return self.stage == JOINED

    def require_keys(self, device: str) -> LockKeys:
        """Return a lock's keys; NotJoinedError, or NoSuchLockError when there are none for it."""
        if self.stage == ASKING:
            raise NotJoinedError
        if (keys := self.locks.get(device)) is None:
            raise NoSuchLockError("the home gives no keys for it now")
        return keys

    def save(self) -> None:
        """Replace the file at once and for good. Raises StateFileError."""
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            part.unlink(missing_ok=True)
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as opened:
                json.dump(self._as_json(), opened, indent=1)
                opened.flush()
                os.fsync(handle)
            part.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateFileError(type(error).__name__) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file. Raises StateFileError also when others may read it."""
        try:
            with path.open("rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                text = opened.read(_FILE_MAX + 1)
        except FileNotFoundError:
            raise StateFileError(f"there is no {path.name}: join first") from None
        except OSError as error:
            raise StateFileError(type(error).__name__) from error
        if mode & 0o077:
            raise StateFileError(
                f"others may read {path.name}: chmod 600 it, or begin anew if they did"
            )
        try:
            return cls._of_json(path, Fields(read_json(text)))
        except (MalformedError, BoxError, LinkTextError, ValueError, IlpError) as error:
            raise StateFileError(f"{path.name} is damaged: {type(error).__name__}") from None

    def _as_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "url": self.url,
            "name": self.name,
            "invitation": self.invitation,
            "secret": self.secret.hex(),
            "private": self.private.hex(),
            "stage": self.stage,
            "join": self.join,
            "token": self.token,
            "device_token": self.device_token,
            "user": self.user,
            "site": self.site,
            "person": self.person.hex(),
            "person_name": self.person_name,
            "done": b64(self.done),
            "update_key": b64(self.update_key),
            "number": self.number,
            "locks": [keys.as_json() for keys in self.locks.values()],
            "generation": self.generation,
            "seq": self.seq,
            "floors": [
                {"device": device, "time": time, "counter": counter}
                for device, (time, counter) in self.floors.items()
            ],
        }

    @classmethod
    def _of_json(cls, path: Path, fields: Fields) -> Self:
        if fields.integer("version") != VERSION:
            raise MalformedError("version")
        stage = fields.text("stage", 10)
        if stage not in (ASKING, OPENED, JOINED):
            raise MalformedError("stage")
        opened, joined = stage != ASKING, stage == JOINED
        # Of no use any more once the home has let this client in: kept no longer than that.
        secret = bytes.fromhex(fields.text("secret"))
        private = bytes.fromhex(fields.text("private"))
        if (len(secret), len(private)) != (
            (0, 0) if joined else (INVITATION_SECRET_SIZE, JOIN_PRIVATE_SIZE)
        ):
            raise MalformedError("secret")
        locks = [LockKeys.read(item) for item in fields.items("locks", LOCKS_MAX)]
        return cls(
            path,
            url=check_address(fields.text("url", 2000)),
            name=fields.text("name"),
            invitation=fields.hex_id("invitation"),
            secret=secret,
            private=private,
            stage=stage,
            join=_known_id(fields, "join", known=opened),
            token=fields.text("token", _TOKEN_MAX),
            device_token=fields.text("device_token", _TOKEN_MAX),
            user=_known_id(fields, "user", known=opened),
            site=_known_id(fields, "site", known=opened),
            person=bytes.fromhex(_known_id(fields, "person", known=opened)),
            person_name=fields.text("person_name"),
            done=fields.binary("done", most=32),
            update_key=fields.binary("update_key", size=_UPDATE_KEY_SIZE if opened else 0),
            number=fields.integer("number"),
            locks={keys.device: keys for keys in locks},
            generation=fields.integer("generation"),
            seq=fields.integer("seq"),
            floors={
                item.device("device"): (
                    item.integer("time", 0, 2**32 - 1),
                    item.integer("counter", 0, 0xFFFFFF),
                )
                for item in fields.items("floors", 2 * LOCKS_MAX)
            },
        )


def _known_id(fields: Fields, name: str, *, known: bool) -> str:
    """Return an identifier, or nothing as long as it is not known."""
    return fields.hex_id(name) if known else fields.text(name, 0)
