"""What `bench.ras` measures on: a server in its own process, and a database with homes, members, sessions, audit."""

import asyncio
import contextlib
import datetime as dt
import functools
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import psutil
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from igrs_ras import codes
from igrs_ras.accounts.sessions import token_hash
from igrs_ras.clock import SystemClock
from igrs_ras.storage import tables
from igrs_ras.storage.engine import open_engine
from igrs_ras.storage.store import Store, Transaction

from bench.ras_client import Place
from simulator.demo.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 60.0
SERVE = (sys.executable, "-m", "igrs_ras", "serve")
_HOUR_MS = 3600_000
_LIMITS = {"relays_per_minute": 10**6, "messages_per_second": 10**5, "sockets": 10**5}


class ServerError(Exception):
    """The server did not start, or ended; the text is what it wrote last."""


class ServerProcess:
    """`python -m igrs_ras serve` on a data folder, as a context manager."""

    def __init__(self, folder: Path, database_url: str = "", *, tls: Path | None = None) -> None:
        self.folder = folder
        self.cafile = str(tls / "cert.pem") if tls else ""
        self.port = free_port()
        given = {
            "data": folder,
            "database_url": database_url,
            "listen": f"127.0.0.1:{self.port}",
            "metrics_listen": f"127.0.0.1:{free_port()}",
            **({"certfile": tls / "cert.pem", "keyfile": tls / "key.pem"} if tls else {}),
            **_LIMITS,
        }
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "addon"),
            **{f"IGRS_RAS_{name.upper()}": str(value) for name, value in given.items()},
        }
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> tuple[float, float]:
        """Start it; return the seconds until it was ready, and those of processor time. Raises ServerError."""
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                SERVE,
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # The metrics' listener tells it too, without TLS.
        url = f"http://{self._environment['IGRS_RAS_METRICS_LISTEN']}/readyz"
        while not _is_ready(url):
            if self._process.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                self.kill()
                raise ServerError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.005)
        return time.perf_counter() - began, self.busy()

    @property
    def process(self) -> psutil.Process:
        """The running process."""
        if self._process is None or self._process.poll() is not None:
            raise ServerError(self._log.read_text(errors="replace")[-2000:])
        return psutil.Process(self._process.pid)

    def rss(self) -> int:
        """Bytes of memory that are in use."""
        return int(self.process.memory_info().rss)

    def pss(self) -> int:
        """The same, but of pages that other processes use too only its share."""
        return int(self.process.memory_full_info().pss)

    def busy(self) -> float:
        """Seconds of processor time so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def complaints(self) -> list[str]:
        """Return what it logged that is worse than information."""
        found = []
        for line in self._log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("level", "").lower() in (
                    "error",
                    "critical",
                ):
                    found.append(line)
        return found


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of this machine
            return bool(answer.status == 200)
    except urllib.error.URLError, OSError:
        return False


@dataclass
class World:
    """A database with homes in it."""

    folder: Path
    database_url: str
    file: Path
    places: list[Place] = field(default_factory=list)
    owner_codes: list[str] = field(default_factory=list)

    def server(self, tls: Path | None = None) -> ServerProcess:
        """A server for it, not started."""
        return ServerProcess(self.folder, self.database_url, tls=tls)


def make(
    folder: Path, database_url: str, *, homes: int = 0, owners: int = 0, audit: int = 0
) -> World:
    """Make a database by the server's own means, then put homes and audit entries in."""
    folder.mkdir(mode=0o700)
    world = World(folder, database_url, folder / "world.json")
    # The first start makes the tables, the server's key, and the nonce against restored copies.
    with world.server():
        pass
    if homes:
        asyncio.run(_fill(world, homes, owners, audit))
    world.file.write_bytes(msgspec.json.encode(world.places))
    return world


async def _fill(world: World, homes: int, owners: int, audit: int) -> None:
    url = world.database_url or f"sqlite:///{world.folder / 'ras.sqlite3'}"
    store = Store(open_engine(url), SystemClock())
    await store.start()
    while len(world.places) < homes:
        few = min(100, homes - len(world.places))
        world.places += await store.write(functools.partial(_add_homes, number=few))
    world.owner_codes = await store.write(
        functools.partial(_add_owner_codes, site=world.places[0].site, number=owners)
    )
    for turn, start in enumerate(range(0, audit, 500)):
        place = world.places[turn % homes]
        await store.write(
            functools.partial(_add_audit, place=place, number=min(500, audit - start))
        )
    await store.stop()


def _add_homes(tx: Transaction, number: int) -> list[Place]:
    places = []
    rows: dict[Any, list[dict[str, Any]]] = {}
    for _ in range(number):
        key = Ed25519PrivateKey.generate()
        place = Place(
            site=secrets.token_hex(16),
            gateway=secrets.token_hex(16),
            key=key.private_bytes_raw(),
            device=secrets.token_hex(6).upper(),
            user=secrets.token_hex(16),
            token=f"u_{secrets.token_urlsafe(32)}",
        )
        places.append(place)
        site, user, device = place.site, place.user, place.device
        new: list[tuple[Any, dict[str, Any]]] = [
            (tables.sites, {"id": site, "name": "Home", "generation": tx.now, "suspended": False}),
            (tables.gateways, {"id": place.gateway, "site": site, "local": False, "n": 0}),
            (tables.users, {"id": user, "name": "Alma"}),
            (tables.members, {"site": site, "user": user, "role": "member", "state": "active"}),
            (tables.locks, {"site": site, "device": device, "capabilities": 0x2D}),
            (tables.grants, {"site": site, "user": user, "device": device}),
            (tables.sessions, {"id": secrets.token_hex(16), "user": user, "kind": "bearer"}),
        ]
        for table, row in new:
            if "created" in table.c:
                row["created"] = tx.now
            rows.setdefault(table, []).append(row)
        rows[tables.gateways][-1]["public_key"] = key.public_key().public_bytes_raw()
        rows[tables.sessions][-1] |= {
            "hash": token_hash(place.token),
            "full": True,
            "used": tx.now,
            "expires": tx.now + 24 * _HOUR_MS,
        }
    for table, values in rows.items():
        tx.execute(table.insert(), values)
    return places


def _add_owner_codes(tx: Transaction, site: str, number: int) -> list[str]:
    made = [codes.new() for _ in range(number)]  # as bytes and as text
    rows = [
        {
            "id": secrets.token_hex(16),
            "site": site,
            "kind": "owner",
            "code": hashlib.sha256(raw).digest(),
            "state": "open",
            "created": tx.now,
            "expires": tx.now + _HOUR_MS,
        }
        for raw, _ in made
    ]
    if rows:
        tx.execute(tables.invitations.insert(), rows)
    return [text for _, text in made]


def _add_audit(tx: Transaction, place: Place, number: int) -> None:
    for _ in range(number):
        tx.audit(place.site, "relay.accepted", user=place.user, device=place.device, key="0" * 26)


def make_certificate(folder: Path) -> Path:
    """Make a certificate for localhost, of P-256 as certificate authorities give them; return the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return folder


class LoadProcess:
    """The load in its own process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.ras_load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Give a command and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise ServerError("the load ended; see above")
        return json.loads(line)

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def load() -> Iterator[LoadProcess]:
    """Have a load process for a `with` block."""
    process = LoadProcess()
    try:
        yield process
    finally:
        process.end()
