"""The client fits the project's vectors, and no other values; the runner misses nothing."""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import client_vectors
import form
import pytest
import run

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(run.HERE) / "ilp1.json"
VECTORS = form.load(FILE)
CLIENT = run.IMPLEMENTATIONS[0]
type Place = tuple[str | int, ...]


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list):
            yield from leaves(item, (*place, key))
        else:
            yield (*place, key)


def changed(place: Place) -> dict[str, Any]:
    """Return the vectors with the last character or bit of one value changed."""
    vectors = copy.deepcopy(VECTORS)
    holder: Any = vectors
    for key in place[:-1]:
        holder = holder[key]
    value = holder[place[-1]]
    if isinstance(value, int):
        holder[place[-1]] = value ^ 1
    else:
        holder[place[-1]] = value[:-1] + ("5" if value[-1] != "5" else "6")
    return vectors


def free(place: Place) -> bool:
    """Whether another value at this place is as right as the one there."""
    return (
        place[0] in {"profile", "note", "bad_frames"}
        or (place[-1] == "name" and place[0] in {"frames", "sessions", "refused"})
        or (place[0] == "refused" and place[-1] == "message")
        # At these, one more byte for each write, or another forged tag, is as good.
        or (place[0] == "fragments" and place[-1] == "mtu" and place[1] in {2, 3})
        or place == ("advertisements", "wrong_tag")
    )


PLACES = [place for place in leaves(VECTORS) if not free(place)]


def test_the_client_fits_the_vectors() -> None:
    vectors = client_vectors.Vectors(VECTORS)
    vectors.run()
    report = json.dumps({"passed": sum(vectors.parts.values()), "parts": vectors.parts})
    assert run.check_report(CLIENT, report, VECTORS) == vectors.parts


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_one_value_changed_does_not_fit(place: Place) -> None:
    with pytest.raises(client_vectors.MismatchError):
        client_vectors.Vectors(changed(place)).run()


def test_the_right_tag_is_no_wrong_tag() -> None:
    vectors = copy.deepcopy(VECTORS)
    vectors["advertisements"]["wrong_tag"] = vectors["advertisements"]["paired"][0]["data"]
    with pytest.raises(client_vectors.MismatchError):
        client_vectors.Vectors(vectors).run()


@pytest.mark.parametrize(
    ("index", "plain"), [(0, VECTORS["frames"][4]["plain"]), (1, VECTORS["frames"][0]["plain"])]
)
def test_a_good_frame_is_no_bad_one(index: int, plain: str) -> None:
    vectors = copy.deepcopy(VECTORS)
    vectors["bad_frames"][index]["plain"] = plain
    with pytest.raises(client_vectors.MismatchError):
        client_vectors.Vectors(vectors).run()


def test_a_message_that_is_right_is_not_refused() -> None:
    vectors = copy.deepcopy(VECTORS)
    vectors["refused"][0]["message"] = vectors["sessions"][0]["client_messages"][0]
    with pytest.raises(client_vectors.MismatchError):
        client_vectors.Vectors(vectors).run()


@pytest.mark.parametrize(
    "place", ["lock_messages[1] of sessions[0]", "client_messages[1] of sessions[1]"]
)
def test_a_refused_message_may_stand_for_any_message(place: str) -> None:
    vectors = copy.deepcopy(VECTORS)
    message = vectors["sessions"][0]["lock_messages"][0]
    vectors["refused"] = [{"name": "another", "message": message, "as": place}]
    client_vectors.Vectors(vectors).run()


@pytest.mark.parametrize("place", ["lock_messages[9] of sessions[0]", "something else"])
def test_a_refused_message_for_nothing_does_not_fit(place: str) -> None:
    vectors = copy.deepcopy(VECTORS)
    vectors["refused"][0]["as"] = place
    with pytest.raises(client_vectors.MismatchError):
        client_vectors.Vectors(vectors).run()


@pytest.mark.parametrize("plain", ["6001000000000000000000616ab20dd4", "4804" + "00" * 14])
def test_a_frame_that_no_implementation_knows_does_not_fit(plain: str) -> None:
    data = bytearray.fromhex(plain)
    data[11] = 0
    for byte in bytes(data[:11] + data[12:]):
        data[11] ^= byte
    vectors = copy.deepcopy(VECTORS)
    vectors["frames"].append({"name": "new", "plain": data.hex()})
    with pytest.raises(client_vectors.MismatchError):
        client_vectors.Vectors(vectors).run()


def written(folder: Path, vectors: Any) -> Path:
    path = folder / "vectors.json"
    path.write_text(json.dumps(vectors))
    return path


def test_a_file_with_something_missing_added_or_emptied_has_not_the_form(tmp_path: Path) -> None:
    for place in [(key,) for key in VECTORS] + PLACES:
        for change in ("missing", "added"):
            vectors: Any = copy.deepcopy(VECTORS)
            holder = vectors
            for key in place[:-1]:
                holder = holder[key]
            if change == "missing" and isinstance(holder, dict):
                del holder[place[-1]]
            elif isinstance(holder, dict):
                holder["new"] = "00"
            else:
                continue
            with pytest.raises(form.FormError):
                form.load(written(tmp_path, vectors))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile", "ILP2"),
        ("profile", 1),
        ("frames", []),
        ("frames", {}),
        ("keys", []),
        ("device_id", {"bytes": "7EBF64669818", "text": "7EBF64669818"}),
        ("device_id", {"bytes": "7", "text": "7EBF64669818"}),
        ("digest", [{"slots": [[1, 2]], "digest": "00"}]),
        ("fragments", [{"mtu": "23", "message": "00", "writes": ["00"]}]),
    ],
)
def test_a_value_of_another_sort_has_not_the_form(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(form.FormError):
        form.load(written(tmp_path, VECTORS | {key: value}))


@pytest.mark.parametrize("text", ["", "[]", '{"profile": "ILP1", "profile": "ILP1"}', "\udcff"])
def test_what_is_no_file_of_vectors_has_not_the_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vectors.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(form.FormError):
        form.load(path)
    with pytest.raises(form.FormError):
        form.load(tmp_path / "none.json")


COMPLETE = {part: form.entries(VECTORS, part) for part in sorted(CLIENT.expected)}


@pytest.mark.parametrize("part", sorted(CLIENT.expected))
def test_a_part_left_out_by_an_implementation_fails(part: str) -> None:
    fewer = COMPLETE | {part: COMPLETE[part] - 1}
    none = {key: count for key, count in COMPLETE.items() if key != part}
    for parts in (fewer, none):
        report = json.dumps({"passed": sum(parts.values()), "parts": parts})
        with pytest.raises(run.FailedError):
            run.check_report(CLIENT, report, VECTORS)


@pytest.mark.parametrize(
    "report",
    [
        "",
        "[]",
        "fine",
        json.dumps({"passed": 1, "parts": COMPLETE}),
        json.dumps({"passed": sum(COMPLETE.values()) + 1, "parts": COMPLETE | {"taste": 1}}),
    ],
)
def test_a_report_that_cannot_be_right_fails(report: str) -> None:
    with pytest.raises(run.FailedError):
        run.check_report(CLIENT, report, VECTORS)


def test_every_implementation_fits_the_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(FILE)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "client",
        "lock on CPython",
        "lock on MicroPython",
    ]


# The first value of each part that a lock covers: every run is a process.
FIRST = {
    place[:1]: place for place in reversed(PLACES) if place[0] in run.IMPLEMENTATIONS[1].expected
}.values()


@pytest.mark.parametrize("lock", run.IMPLEMENTATIONS[1:], ids=lambda lock: lock.name)
@pytest.mark.parametrize("place", FIRST, ids=lambda place: ".".join(map(str, place)))
def test_one_value_changed_does_not_fit_the_lock(
    tmp_path: Path, lock: run.Implementation, place: Place
) -> None:
    vectors = changed(place)
    with pytest.raises(run.FailedError):
        run.run(lock, written(tmp_path, vectors), vectors)


def test_the_command_fails_for_a_mismatch_and_names_the_implementation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "IMPLEMENTATIONS", (CLIENT,))
    assert run.main([str(FILE)]) == 0
    assert "client: 102 passed (setup_code 3," in capsys.readouterr().out
    path = written(tmp_path, changed(("keys", "controller")))
    assert run.main([str(path)]) == 1
    assert "client: FAILED: keys: controller" in capsys.readouterr().out


def test_the_command_fails_for_a_wrong_file_and_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([str(written(tmp_path, VECTORS | {"new": 1}))]) == 1
    assert "'new', which no implementation knows" in capsys.readouterr().out
    assert run.main([]) == 2


def test_an_implementation_that_does_not_run_fails() -> None:
    missing = run.Implementation("x", Path("/nonexistent"), "x.py", {}, frozenset())
    with pytest.raises(run.FailedError, match="did not run"):
        run.run(missing, FILE, VECTORS)
