"""The home's list in messages: nothing is lost, nothing stands twice, and none is too long."""

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from remote_pure import pure

listing = pure("listing")
wire = pure("wire")

DEVICE = st.integers(0, 2**48 - 1).map(lambda number: f"{number:012X}")
ID = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")
# A few items, each of which may be as long as one can be.
LISTS = st.fixed_dictionaries(
    {
        "locks": st.lists(
            st.fixed_dictionaries({"device": DEVICE, "capabilities": st.integers(0, 0xFFFF)}),
            max_size=500,
        ),
        "members": st.lists(
            st.fixed_dictionaries(
                {
                    "user": ID,
                    "role": st.sampled_from(["owner", "member"]),
                    "locks": st.builds(
                        lambda one, count: [one] * count, DEVICE, st.integers(0, 500)
                    ),
                }
            ),
            max_size=20,
        ),
        "invitations": st.lists(
            st.fixed_dictionaries(
                {"id": ID, "kind": st.just("guest"), "expires": st.integers(0, wire.MILLIS_MAX)}
            ),
            max_size=50,
        ),
    }
)


@given(LISTS)
def test_parts_are_the_list(whole: dict[str, list[Any]]) -> None:
    parts = list(listing.parts_of(whole))
    together: dict[str, list[Any]] = {"locks": [], "members": [], "invitations": []}
    for number, part in enumerate(parts):
        assert (part["part"], part["more"]) == (number, number < len(parts) - 1)
        message = wire.Message(id="0" * 26, type="site.sync", body=part)
        assert len(message.as_text()) < wire.MESSAGE_MAX
        assert len(parts) == 1 or part.keys() - {"part", "more"}
        for kind, items in together.items():
            items.extend(part.get(kind, []))
    assert together == whole


@given(LISTS)
def test_the_digest_is_that_of_the_canonical_text(whole: dict[str, list[Any]]) -> None:
    turned = dict(reversed([*whole.items()]))
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    expected = hashlib.sha256(text.encode("ascii")).digest()
    assert listing.digest_of(whole) == listing.digest_of(turned) == expected
