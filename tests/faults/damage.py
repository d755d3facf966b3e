"""Damaged files: what a reader may do with them."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from foundation.errors import RatespikeError

Edit = tuple[str, int, bytes]

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "overwrite", "flip", "insert", "delete", "cut"]),
        st.integers(0, 2**20),
        st.one_of(
            st.binary(min_size=1, max_size=8), st.sampled_from([b"\0" * 8, b"\xff" * 8, (2**40).to_bytes(8, "little")])
        ),
    ),
    min_size=1,
    max_size=4,
)
"""Changes to a file: what is done, where (modulo its length), with which bytes."""


def edited(content: bytes, edits: list[Edit]) -> bytes:
    changed = bytearray(content)
    for what, where, piece in edits:
        k = where % (len(changed) + 1)
        if what == "overwrite":
            changed[k : k + len(piece)] = piece
        elif what == "flip" and k < len(changed):
            changed[k] ^= 1 << piece[0] % 8
        elif what == "insert":
            changed[k:k] = piece
        elif what == "delete":
            del changed[k : k + len(piece)]
        elif what == "cut":
            del changed[k:]
    return bytes(changed)


def refused(read: Callable[[Path], object], path: Path) -> str | None:
    """What the reader says of the file, without its name; None where it takes it. Any other error goes through."""
    try:
        read(path)
    except RatespikeError as caught:
        error = caught
    else:
        return None
    text = str(error)
    assert text.isprintable()  # one line, then, and nothing that a terminal would act on
    assert text.startswith(f"{path}: ")
    assert error.exit_status == 1
    return text.removeprefix(f"{path}: ")
