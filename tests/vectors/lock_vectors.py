"""The lock's side of ILP1 against a file of vectors, on CPython and on MicroPython.

    MICROPYPATH=tests/vectors:firmware:.frozen micropython lock_vectors.py FILE

Derives every value from its inputs and compares. Prints one line of JSON with the number of
checks in each part; a mismatch ends it with a sentence and status 1.
"""

import json
import sys

from boards.desk import Board
from bsld import advert, identifiers
from bsld import const as c
from bsld.crypto import mac, x25519
from bsld.fragments import MalformedError, Reassembler, fragment
from bsld.frames import decode
from bsld.session import Session, SessionOpen
from bsld.x25519 import BASE
from lock_frames import FrameError, FrameRound, run_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MTU = 247


class MismatchError(Exception):
    """The implementation and the file differ."""


# Named, because MicroPython wants the brackets that the formatter takes away
_REFUSALS = (FrameError, ValueError)
_FAILURES = (MismatchError, FrameError, MalformedError, ValueError, IndexError)


def same(what: str, got: "Any", want: "Any") -> None:
    if isinstance(got, bytes):
        got = got.hex()
    if got != want:
        raise MismatchError(f"{what}: the lock has {got!r}, the file {want!r}")


def unhex(entry: "dict[str, Any]", key: str) -> bytes:
    return bytes.fromhex(entry[key])


def all_fragments(message: bytes, mtu: int) -> "list[bytes]":
    out = [fragment(message, 0, mtu)]
    while not out[-1][0] & 0x80:
        out.append(fragment(message, len(out), mtu))
    return out


class Vectors:
    """One file of vectors."""

    def __init__(self, vectors: "dict[str, Any]") -> None:
        self.v = vectors
        self.identity = unhex(vectors["device_id"], "bytes")
        self.lock_key = unhex(vectors["keys"], "lock_key")
        self.ids = [unhex(entry, "id") for entry in vectors["keys"]["accounts"]]

    def board(self) -> Board:
        """A lock of the file's identity, with a connection that listens."""
        board = Board()
        board.device_id = self.identity
        board.setup_code = identifiers.parse_setup_code(self.v["setup_code"][0]["text"])
        board.boot()
        board.lock.connected("peer")
        board.lock.mtu_changed("peer", _MTU)
        board.lock.subscribed("peer", True)
        return board

    def tell(self, board: Board, message: bytes) -> bytes:
        """Write a message; returns the lock's answer."""
        for part in all_fragments(message, _MTU):
            board.lock.written("peer", part)
        data = board.radio.sent.pop()[1]
        if data[0] != 0x80:
            raise MismatchError("the lock's answer is in pieces")
        return data[1:]

    def setup_code(self) -> int:
        for entry in self.v["setup_code"]:
            code = identifiers.parse_setup_code(entry["text"])
            same("bytes", code, entry["bytes"])
            plain = entry["text"].upper().replace("O", "0").replace("I", "1").replace("L", "1")
            plain = plain.replace("-", "").replace(" ", "")
            same("text", identifiers.format_setup_code(code).replace("-", ""), plain)
        return len(self.v["setup_code"])

    def device_id(self) -> int:
        text = identifiers.format_device_id(self.identity)
        same("text", text, self.v["device_id"]["text"])
        return 1

    def pairing(self) -> int:
        p = self.v["pairing"]
        board = self.board()
        client_private = unhex(p, "client_private")
        client_public = x25519(client_private, BASE)
        same("client_public", client_public, p["client_public"])
        request = bytes((c.PAIR_REQUEST,)) + client_public
        same("messages[0]", request, p["messages"][0])
        board.queued_random = [unhex(p, "lock_private")]
        reply = self.tell(board, request)
        same("messages[1]", reply, p["messages"][1])
        lock_public = reply[1:33]
        same("lock_public", lock_public, p["lock_public"])
        same("lock_confirm", reply[33:], p["lock_confirm"])
        shared = x25519(client_private, lock_public)
        same("shared", shared, p["shared"])
        prk = mac(board.setup_code, b"ILP1 pair", self.identity, client_public, lock_public, shared)
        same("prk", prk, p["prk"])
        confirm = mac(prk, b"client confirm")[:16]
        same("client_confirm", confirm, p["client_confirm"])
        message = bytes((c.PAIR_CONFIRM,)) + confirm
        same("messages[2]", message, p["messages"][2])
        same("messages[3]", self.tell(board, message), p["messages"][3])
        same("lock_key", board.lock.owner.lock_key, p["lock_key"])
        return 11

    def keys(self) -> int:
        keys = self.v["keys"]
        same("lock_key", self.lock_key, self.v["pairing"]["lock_key"])
        same("controller", identifiers.controller_key(self.lock_key), keys["controller"])
        for entry in keys["advert"]:
            key = identifiers.advertisement_key(self.lock_key, entry["epoch"])
            same("key of an epoch", key, entry["key"])
        for entry in keys["accounts"]:
            account_id = unhex(entry, "id")
            key = identifiers.account_key(self.lock_key, account_id)
            same("key of an account", key, entry["key"])
            same("text of an account", identifiers.format_account_id(account_id), entry["text"])
        return 2 + len(keys["advert"]) + len(keys["accounts"])

    def advertisements(self) -> int:
        part = self.v["advertisements"]
        made = []
        for entry in part["paired"]:
            key = identifiers.advertisement_key(self.lock_key, entry["epoch"])
            flags = c.VERSION << 4 | entry["flags"]
            plain = bytes((flags, entry["state"], entry["battery"]))
            data = advert.seal(key, self.identity, plain, entry["counter"])
            same("data", data, entry["data"])
            same("lock_nonce", advert.nonce(data), entry["lock_nonce"])
            made.append(data)
        # An unpaired lock: flags, state and battery as they are, no tag
        data = unhex(part, "setup_mode")
        plain = bytes((c.VERSION << 4 | data[0] & 0x0F | advert.FLAG_SETUP, data[1], data[2]))
        counter = int.from_bytes(data[3:6], "big")
        same("setup_mode", advert.seal(None, self.identity, plain, counter), part["setup_mode"])
        wrong = unhex(part, "wrong_tag")
        if wrong in made or not any(wrong[:6] == right[:6] for right in made):
            raise MismatchError("wrong_tag: differs by something else than its tag")
        same("name", identifiers.local_name(self.identity), part["name"])
        if not any(advert.payload(data).hex() == part["advertising_payload"] for data in made):
            raise MismatchError("advertising_payload: the lock makes another")
        same("scan_response", advert.scan_response(self.identity), part["scan_response"])
        return len(part["paired"]) + 5

    def digest(self) -> int:
        for entry in self.v["digest"]:
            board = Board()
            lock = board.make()
            for slot, account_id, rights, before, after, days, first, last, pin in entry["slots"]:
                raw = bytes.fromhex(account_id) + bytes((rights, c.USES_UNLIMITED))
                raw += before.to_bytes(4, "big") + after.to_bytes(4, "big") + bytes((days,))
                raw += first.to_bytes(2, "big") + last.to_bytes(2, "big") + bytes(24 * pin)
                lock.store.commit((64 + slot, raw))
            same("digest", lock.accounts.digest(), entry["digest"])
        return len(self.v["digest"])

    def messages(self) -> int:
        part = self.v["messages"]
        board = self.board()
        nonces = [s["lock_nonce"] for s in self.v["sessions"] if s["nonce_source"] == 1]
        nonce = part["challenge"][2:]
        if nonce not in nonces:
            raise MismatchError("challenge: no session of the file uses its nonce")
        same("challenge_request", bytes((c.CHALLENGE_REQUEST,)), part["challenge_request"])
        board.queued_random = [bytes.fromhex(nonce)]
        same("challenge", self.tell(board, bytes((c.CHALLENGE_REQUEST,))), part["challenge"])
        # An unpaired lock knows no session: whatever is advertised, try again with this nonce
        board.queued_random = [bytes.fromhex(nonce)]
        opening = bytes((c.SESSION_OPEN, 4, c.NONCE_ADVERTISED)) + bytes(8 + c.SEALED_SIZE)
        same("error_retry", self.tell(board, opening), part["error_retry"])
        return 3

    def frames(self) -> int:
        frame_round = FrameRound(self.lock_key, self.ids)
        for entry in self.v["frames"]:
            plain = unhex(entry, "plain")
            same(entry["name"], frame_round.again(plain), entry["plain"])
            if plain[1] == c.REQUEST:
                run_request(plain)
        return len(self.v["frames"])

    def bad_frames(self) -> int:
        frame_round = FrameRound(self.lock_key, self.ids)
        for entry in self.v["bad_frames"]:
            try:
                frame_round.again(unhex(entry, "plain"))
            except _REFUSALS:
                continue
            raise MismatchError(entry["name"] + ": taken, though it is wrong")
        return len(self.v["bad_frames"])

    def _session(self, entry: "dict[str, Any]", slot: int, source: int, nonce: bytes) -> Session:
        """A session as the lock would have it, with the key it finds for the slot."""
        if slot == c.SLOT_CONTROLLER:
            key = identifiers.controller_key(self.lock_key)
        else:
            first = decode(bytes.fromhex(entry["client_frames"][0][0]))
            if first[0] != c.AUTHENTICATE:
                raise MismatchError("a person's session starts with command 02")
            key = identifiers.account_key(self.lock_key, first[2])
        if slot == entry["slot"]:
            same("account_key", key, entry["account_key"])
        return Session(key, self.identity, slot, source, unhex(entry, "lock_nonce"), nonce)

    def sessions(self) -> int:
        checks = 0
        for entry in self.v["sessions"]:
            opening = SessionOpen(bytes.fromhex(entry["client_messages"][0]))
            same("slot", opening.slot, entry["slot"])
            same("nonce_source", opening.source, entry["nonce_source"])
            same("client_nonce", opening.client_nonce, entry["client_nonce"])
            session = self._session(entry, opening.slot, opening.source, opening.client_nonce)
            same("enc_key", session.aes_key, entry["enc_key"])
            same("mac_key", session.tag_key, entry["mac_key"])
            frame_round = FrameRound(self.lock_key, self.ids)
            same("client_messages", len(entry["client_messages"]), len(entry["client_frames"]))
            same("lock_messages", len(entry["lock_messages"]), len(entry["lock_frames"]))
            for number, text in enumerate(entry["client_messages"]):
                message = bytes.fromhex(text)
                if number and message[0] != c.SEALED:
                    raise MismatchError("client_messages: another kind")
                frames = session.open(message[1:] if number else opening.sealed)
                if frames is None:
                    raise MismatchError(f"client_messages[{number}]: refused")
                texts = [frame_round.again(frame).hex() for frame in frames]
                same(f"client_frames[{number}]", texts, entry["client_frames"][number])
            for number, texts in enumerate(entry["lock_frames"]):
                plain = [frame_round.again(bytes.fromhex(text)) for text in texts]
                message = bytes((c.SEALED,)) + session.seal(plain)
                same(f"lock_messages[{number}]", message, entry["lock_messages"][number])
            checks += len(entry["client_messages"]) + len(entry["lock_messages"]) + 6
        return checks

    def refused(self) -> int:
        for entry in self.v["refused"]:
            place = entry["as"].replace("]", "[").split("[")
            if place[0] != "client_messages" or len(place) < 4:
                raise MismatchError(entry["name"] + ": as " + entry["as"] + " is not understood")
            number = int(place[1])
            session_of = self.v["sessions"][int(place[3])]
            messages = [bytes.fromhex(text) for text in session_of["client_messages"]]
            del messages[number + 1 :]
            if not self._takes(session_of, messages):
                raise MismatchError(entry["name"] + ": what it was made of is refused")
            messages[number] = unhex(entry, "message")
            if self._takes(session_of, messages):
                raise MismatchError(entry["name"] + ": taken, though it is wrong")
        return len(self.v["refused"])

    def _takes(self, entry: "dict[str, Any]", messages: "list[bytes]") -> bool:
        """Whether the lock takes the last of these messages."""
        try:
            opening = SessionOpen(messages[0])
        except ValueError:
            return False
        session = self._session(entry, opening.slot, opening.source, opening.client_nonce)
        taken = session.open(opening.sealed)
        for message in messages[1:]:
            sealed = message[1:]
            if not sealed or len(sealed) % c.SEALED_SIZE or message[0] != c.SEALED:
                return False
            taken = session.open(sealed)
        return taken is not None

    def fragments(self) -> int:
        for entry in self.v["fragments"]:
            message = unhex(entry, "message")
            writes = all_fragments(message, entry["mtu"])
            same("writes", [write.hex() for write in writes], entry["writes"])
            reassembler = Reassembler()
            taken = [reassembler.feed(bytes.fromhex(write), 0) for write in entry["writes"]]
            same("message", taken.pop(), entry["message"])
            same("message before its last write", taken, [None] * len(taken))
        return len(self.v["fragments"])


def main(path: str) -> int:
    with open(path) as file:
        vectors = Vectors(json.load(file))
    parts = {}
    for name in (
        "setup_code",
        "device_id",
        "pairing",
        "keys",
        "advertisements",
        "digest",
        "messages",
        "frames",
        "bad_frames",
        "sessions",
        "refused",
        "fragments",
    ):
        try:
            parts[name] = getattr(vectors, name)()
        except _FAILURES as error:
            print(name + ": " + str(error))
            return 1
    print(json.dumps({"passed": sum(parts.values()), "parts": parts}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
