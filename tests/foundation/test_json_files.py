"""JSON files of ours are checked when they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import RatespikeError
from foundation.json_files import read_json


def numbers(content: dict[str, Any]) -> list[float]:
    return [float(value) for value in content["numbers"]]


def test_a_file_of_this_kind_and_version_is_built_from(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"kind": "mine", "format": 2, "numbers": [1, 2.5]}))
    assert read_json(path, "mine", 2, "make it", numbers) == [1, 2.5]
    path.write_text(json.dumps({"kind": "mine", "numbers": [1]}))
    assert read_json(path, "mine", None, "make it", numbers) == [1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"kind": "other", "format": 1, "numbers": []}', "is a file of other, not a file of `make it`"),
        ('{"kind": "mine", "format": 2, "numbers": []}', "not a file of `make it` of this version"),
        ("[]", "is a JSON file of something else, not a file of `make it`"),
        (
            '{"kind": "mine", "format": 1, "numbers": [], "x": ["\\u001b[2J"]}',
            "that cannot be printed, '?[2J'",
        ),
        ("{", "damaged, or not a file of `make it`"),
        ('{"kind": "mine", "format": 1}', "damaged, or not a file of `make it`"),
        ('{"kind": "mine", "format": 1, "numbers": ["x"]}', "could not convert"),
        ('{"kind": "mine", "format": 1, "numbers": 3}', "damaged"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_any_other_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RatespikeError) as caught:
        read_json(path, "mine", 1, "make it", numbers)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(RatespikeError, match="no such file"):
        read_json(tmp_path / "b.json", "mine", 1, "make it", numbers)
