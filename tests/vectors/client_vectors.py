"""The client's side of ILP1 against a file of vectors.

    python client_vectors.py FILE

Derives every value from its inputs and compares. Prints one line of JSON with the number of
checks in each part; a mismatch ends it with a sentence and status 1.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import client_path  # noqa: F401  # makes the next imports possible
from client_frames import FrameRound
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from ilp import (
    CONTROLLER_SLOT,
    SERVICE_UUID,
    Account,
    Advertisement,
    AuthenticationError,
    ClientSession,
    Command,
    ErrorCode,
    Exchange,
    Frame,
    Header,
    IlpError,
    JoinKeyPair,
    MalformedError,
    NonceSource,
    PairingClient,
    Reassembler,
    Right,
    SessionVerifier,
    Weekday,
    account_digest,
    account_key,
    address_from_device_id,
    advertisement_key,
    challenge_request,
    client_join_keys,
    controller_key,
    device_id_from_address,
    done_proof,
    format_account_id,
    format_device_id,
    format_setup_code,
    home_join_keys,
    is_done_proof,
    is_join_proof,
    join_proof,
    local_name,
    open_advertisement,
    open_box,
    open_keys,
    open_unpaired,
    parse_account_id,
    parse_challenge,
    parse_device_id,
    parse_error,
    parse_setup_code,
    seal_box,
    seal_keys,
    seen_proof,
    split,
)
from ilp.pairing import pairing_prk
from ilp.session import SessionKeys


class MismatchError(Exception):
    """The implementation and the file differ."""


class Vectors:
    """One file of vectors and how many checks passed in each part."""

    def __init__(self, vectors: dict[str, Any]) -> None:
        self._vectors = vectors
        self._device_id = bytes.fromhex(vectors["device_id"]["bytes"])
        self._lock_key = bytes.fromhex(vectors["keys"]["lock_key"])
        self.parts: dict[str, int] = {}

    def run(self) -> None:
        """Run every part of the file that the client covers."""
        for part in (
            self.setup_code,
            self.device_id,
            self.pairing,
            self.keys,
            self.advertisements,
            self.seen,
            self.digest,
            self.join,
            self.messages,
            self.frames,
            self.bad_frames,
            self.sessions,
            self.refused,
            self.fragments,
        ):
            name = part.__name__
            try:
                self.parts[name] = part()
            except MismatchError as mismatch:
                raise MismatchError(f"{name}: {mismatch}") from None
            except IlpError as error:
                raise MismatchError(f"{name}: {error}") from error

    def setup_code(self) -> int:
        for entry in self._vectors["setup_code"]:
            code = parse_setup_code(entry["text"])
            same("bytes", code, entry["bytes"])
            same("bytes of the formatted code", parse_setup_code(format_setup_code(code)), code)
        return len(self._vectors["setup_code"])

    def device_id(self) -> int:
        text = self._vectors["device_id"]["text"]
        same("bytes", parse_device_id(text), self._device_id)
        same("text", format_device_id(self._device_id), text)
        address = address_from_device_id(self._device_id)
        same("bytes of the address", device_id_from_address(address), self._device_id)
        return 1

    def pairing(self) -> int:
        pairing = self._vectors["pairing"]
        private, lock_private = unhex(pairing, "client_private"), unhex(pairing, "lock_private")
        lock_key_pair = X25519PrivateKey.from_private_bytes(lock_private)
        lock_public = lock_key_pair.public_key().public_bytes_raw()
        same("lock_public", lock_public, pairing["lock_public"])
        client_public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        same("client_public", client_public, pairing["client_public"])
        shared = lock_key_pair.exchange(X25519PublicKey.from_public_bytes(client_public))
        same("shared", shared, pairing["shared"])
        code = parse_setup_code(self._vectors["setup_code"][0]["text"])
        prk = pairing_prk(code, self._device_id, client_public, lock_public, shared)
        same("prk", prk, pairing["prk"])
        request, reply, confirm, done = (bytes.fromhex(text) for text in pairing["messages"])
        client = PairingClient(code, self._device_id, private)
        same("messages[0]", client.request(), request)
        same("messages[1]", b"\x02" + lock_public + unhex(pairing, "lock_confirm"), reply)
        same("messages[2]", client.on_reply(reply), confirm)
        same("client_confirm", confirm[1:], pairing["client_confirm"])
        same("lock_key", client.lock_key, pairing["lock_key"])
        client.on_done(done)
        return 10

    def keys(self) -> int:
        keys = self._vectors["keys"]
        same("lock_key", self._lock_key, self._vectors["pairing"]["lock_key"])
        same("controller", controller_key(self._lock_key), keys["controller"])
        for entry in keys["advert"]:
            key = advertisement_key(self._lock_key, entry["epoch"])
            same(f"key of epoch {entry['epoch']}", key, entry["key"])
        for entry in keys["accounts"]:
            account_id = unhex(entry, "id")
            same("key of an account", account_key(self._lock_key, account_id), entry["key"])
            same("text of an account", format_account_id(account_id), entry["text"])
            same("id of an account", parse_account_id(entry["text"]), account_id)
        return 2 + len(keys["advert"]) + len(keys["accounts"])

    def advertisements(self) -> int:
        part = self._vectors["advertisements"]
        for entry in part["paired"]:
            key = advertisement_key(self._lock_key, entry["epoch"])
            data = unhex(entry, "data")
            advertisement = open_advertisement(key, self._device_id, data)
            same("header", _of_header(Header.parse(data)), _header_of(advertisement))
            same("flags", _flags(advertisement), entry["flags"])
            same("state", _state(advertisement), entry["state"])
            same("battery", _battery(advertisement), entry["battery"])
            same("counter", advertisement.counter, entry["counter"])
            same("lock_nonce", advertisement.nonce, entry["lock_nonce"])
        unpaired = open_unpaired(unhex(part, "setup_mode"))
        same("setup mode", unpaired.setup_mode, True)
        plain = bytes((0x10 | _flags(unpaired), _state(unpaired), _battery(unpaired)))
        rebuilt = plain + unpaired.counter.to_bytes(3) + bytes(4)
        same("setup_mode", rebuilt, part["setup_mode"])
        self._wrong_tag(unhex(part, "wrong_tag"))
        same("name", local_name(self._device_id), part["name"])
        uuid = bytes.fromhex(SERVICE_UUID.replace("-", ""))[::-1]
        data = unhex(part, "advertising_payload")[-10:]
        if data.hex() not in [entry["data"] for entry in part["paired"]]:
            raise MismatchError("the payload carries none of the advertisements")
        payload = _structure(0x01, b"\x06") + _structure(0x21, uuid + data)
        same("advertising_payload", payload, part["advertising_payload"])
        response = _structure(0x07, uuid) + _structure(0x09, part["name"].encode())
        same("scan_response", response, part["scan_response"])
        return len(part["paired"]) + 5

    def _wrong_tag(self, data: bytes) -> None:
        # The same bytes with the right tag are in the file: only the tag may be wrong.
        if not any(
            data != unhex(entry, "data") and data[:6] == unhex(entry, "data")[:6]
            for entry in self._vectors["advertisements"]["paired"]
        ):
            raise MismatchError("wrong_tag: differs by more than its tag")
        for entry in self._vectors["keys"]["advert"]:
            key = advertisement_key(self._lock_key, entry["epoch"])
            refused("wrong_tag", lambda key=key: open_advertisement(key, self._device_id, data))

    def seen(self) -> int:
        entry = self._vectors["advertisements"]["seen"]
        key = advertisement_key(self._lock_key, entry["epoch"])
        data = unhex(entry, "data")
        open_advertisement(key, self._device_id, data)
        proof = seen_proof(key, self._device_id, data, entry["time"])
        same("seen", proof, entry["seen"])
        return 1

    def digest(self) -> int:
        for entry in self._vectors["digest"]:
            accounts = [_account(slot) for slot in entry["slots"]]
            same("digest", account_digest(accounts), entry["digest"])
            same("digest in any order", account_digest(reversed(accounts)), entry["digest"])
        return len(self._vectors["digest"])

    def join(self) -> int:
        join = self._vectors["join"]
        id_, secret = unhex(join, "id"), unhex(join, "secret")
        client = JoinKeyPair(unhex(join, "client_private"))
        home = JoinKeyPair(unhex(join, "home_private"))
        same("client_private", client.private, join["client_private"])
        same("client_public", client.public, join["client_public"])
        same("home_public", home.public, join["home_public"])
        same("proof", join_proof(secret, id_, client.public), join["proof"])
        same(
            "proof is right", is_join_proof(secret, id_, client.public, unhex(join, "proof")), True
        )
        same("shared", client.shared(home.public), join["shared"])
        same("shared at the home", home.shared(client.public), join["shared"])
        keys = home_join_keys(home, client.public, secret, id_)
        same("the client's keys", client_join_keys(client, home.public, secret, id_), keys)
        same("key", keys.box, join["key"])
        same("done_key", keys.done, join["done_key"])
        same("update_key", keys.update, join["update_key"])
        box, sealed = join["box"].encode(), unhex(join, "sealed")
        same("sealed", seal_box(keys, id_, box), join["sealed"])
        same("box", open_box(keys, id_, sealed), box)
        same("done", done_proof(keys.done), join["done"])
        same("done is right", is_done_proof(keys.done, unhex(join, "done")), True)
        person, number = unhex(join, "update_person"), int(join["update_number"], 16)
        update = unhex(join, "update_sealed")
        changed = open_keys(keys.update, person, number, update)
        same("update_sealed", seal_keys(keys.update, person, number, changed), update)
        return 11

    def messages(self) -> int:
        part = self._vectors["messages"]
        same("challenge_request", challenge_request(), part["challenge_request"])
        nonces = [
            session["lock_nonce"]
            for session in self._vectors["sessions"]
            if session["nonce_source"] == NonceSource.CHALLENGE
        ]
        nonce = parse_challenge(unhex(part, "challenge"))
        code, error_nonce = parse_error(unhex(part, "error_retry"))
        if nonce.hex() not in nonces or error_nonce.hex() not in nonces:
            raise MismatchError("a nonce that no session uses")
        same("code of error_retry", code, ErrorCode.TRY_AGAIN)
        return 3

    def frames(self) -> int:
        frame_round = FrameRound(self._lock_key)
        for entry in self._vectors["frames"]:
            same(entry["name"], frame_round.again(unhex(entry, "plain")), entry["plain"])
        return len(self._vectors["frames"])

    def bad_frames(self) -> int:
        for entry in self._vectors["bad_frames"]:
            refused(entry["name"], lambda entry=entry: Frame.decode(unhex(entry, "plain")))
        return len(self._vectors["bad_frames"])

    def sessions(self) -> int:
        return sum(self._session(entry) for entry in self._vectors["sessions"])

    def _session(self, entry: dict[str, Any]) -> int:
        client_plain, lock_plain = entry["client_frames"], entry["lock_frames"]
        same("account_key", self._key_of(entry), entry["account_key"])
        nonces = unhex(entry, "lock_nonce"), unhex(entry, "client_nonce")
        opening = unhex(entry, "account_key"), self._device_id, entry["slot"]
        keys = SessionKeys.derive(*opening, entry["nonce_source"], *nonces)
        same("enc_key", keys.aes, entry["enc_key"])
        same("mac_key", keys.tag, entry["mac_key"])
        source = NonceSource.parse(entry["nonce_source"])
        session = ClientSession(*opening, source, *nonces)
        verifier = SessionVerifier(*opening, source, nonces[0])
        frame_round = FrameRound(self._lock_key)
        exchange = Exchange()
        same("number of client_messages", len(client_plain), len(entry["client_messages"]))
        same("number of lock_messages", len(lock_plain), len(entry["lock_messages"]))
        for number, texts in enumerate(client_plain):
            frames = [Frame.decode(frame_round.again(bytes.fromhex(text))) for text in texts]
            message = session.seal(frames) if number else session.open(frames)
            same(f"client_messages[{number}]", message, entry["client_messages"][number])
            verified = verifier.receive(message) if number else verifier.open(message)
            same(f"client_frames[{number}]", verified, frames)
            same(f"client_frames[{number}]", [frame.encode().hex() for frame in frames], texts)
            exchange.sent(frames)
        for number, texts in enumerate(lock_plain):
            frames = session.receive(bytes.fromhex(entry["lock_messages"][number]))
            plain = [frame.encode() for frame in frames]
            same(f"lock_frames[{number}]", [frame.hex() for frame in plain], texts)
            for frame in plain:
                same(f"lock_frames[{number}]", frame_round.again(frame), frame)
            exchange.received(frames)
        same("requests left without an answer", exchange.waiting, 0)
        return len(client_plain) + len(lock_plain) + 3

    def _key_of(self, entry: dict[str, Any]) -> bytes:
        if entry["slot"] == CONTROLLER_SLOT:
            return controller_key(self._lock_key)
        first = Frame.decode(bytes.fromhex(entry["client_frames"][0][0]))
        if first.command != Command.AUTHENTICATE:
            raise MismatchError("a person's session starts with command 02")
        return account_key(self._lock_key, first.value)

    def refused(self) -> int:
        for entry in self._vectors["refused"]:
            self._refused(entry["name"], unhex(entry, "message"), entry["as"])
        return len(self._vectors["refused"])

    def _refused(self, name: str, message: bytes, place: str) -> None:
        found = re.fullmatch(r"(client|lock)_messages\[(\d+)\] of sessions\[(\d+)\]", place)
        if not found:
            raise MismatchError(f"{name}: {place!r} is not understood")
        number, session_number = int(found[2]), int(found[3])
        try:
            entry = self._vectors["sessions"][session_number]
            messages = [bytes.fromhex(text) for text in entry[f"{found[1]}_messages"]]
            right = messages[number]
        except IndexError:
            raise MismatchError(f"{name}: there is no {place}") from None
        opening = unhex(entry, "account_key"), self._device_id, entry["slot"]
        source, nonce = NonceSource.parse(entry["nonce_source"]), unhex(entry, "lock_nonce")
        if found[1] == "lock":
            receive = ClientSession(*opening, source, nonce, unhex(entry, "client_nonce")).receive
            first = receive
        else:
            verifier = SessionVerifier(*opening, source, nonce)
            receive, first = verifier.receive, verifier.open
        for earlier, text in enumerate(messages[:number]):
            (receive if earlier else first)(text)
        take = receive if number else first
        refused(name, lambda: take(message))
        take(right)

    def fragments(self) -> int:
        for number, entry in enumerate(self._vectors["fragments"]):
            message = unhex(entry, "message")
            writes = split(message, entry["mtu"])
            same(f"writes of [{number}]", [write.hex() for write in writes], entry["writes"])
            reassembler = Reassembler()
            taken = [reassembler.feed(write, 0.0) for write in writes]
            same(f"message of [{number}]", taken, [None] * (len(writes) - 1) + [message])
        return len(self._vectors["fragments"])


def same(what: str, got: Any, want: Any) -> None:
    if isinstance(got, bytes) and isinstance(want, str):
        got = got.hex()
    if got != want:
        raise MismatchError(f"{what}: the client has {got!r}, the file {want!r}")


def refused(what: str, call: Any) -> None:
    try:
        call()
    except AuthenticationError, MalformedError:
        return
    raise MismatchError(f"{what}: taken, though it is wrong")


def unhex(entry: dict[str, Any], key: str) -> bytes:
    return bytes.fromhex(entry[key])


def _of_header(header: Header) -> tuple[bool, bool, int, int]:
    return header.setup_mode, header.clock_trusted, header.log_bits, header.counter


def _header_of(a: Advertisement) -> tuple[bool, bool, int, int]:
    return a.setup_mode, a.clock_trusted, a.log_bits, a.counter


def _flags(a: Advertisement) -> int:
    return a.setup_mode | a.clock_trusted << 1 | a.log_bits << 2


def _state(a: Advertisement) -> int:
    return a.bolt | a.door << 3 | a.low_battery << 5 | a.tamper << 6


def _battery(a: Advertisement) -> int:
    return 255 if a.battery is None else a.battery


def _structure(kind: int, content: bytes) -> bytes:
    return bytes((len(content) + 1, kind)) + content


def _account(fields: list[Any]) -> Account:
    slot, account_id, rights, not_before, not_after, weekdays, first, last, pin_set = fields
    return Account(
        slot=slot,
        account_id=bytes.fromhex(account_id),
        rights=Right(rights),
        uses=255,
        not_before=not_before,
        not_after=not_after,
        weekdays=Weekday(weekdays),
        first_minute=first,
        last_minute=last,
        pin_set=bool(pin_set),
    )


def main(path: str) -> int:
    vectors = Vectors(json.loads(Path(path).read_text("utf-8")))
    try:
        vectors.run()
    except MismatchError as mismatch:
        print(mismatch)
        return 1
    print(json.dumps({"passed": sum(vectors.parts.values()), "parts": vectors.parts}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
