"""Tables for the terminal."""

import pytest

from foundation.tables import aligned


def test_columns_are_as_wide_as_their_widest_cell():
    assert aligned([["rule", "%"], ["oja", "12.5"], ["b", "-"]]) == ["rule     %", "oja   12.5", "b        -"]


def test_rows_have_one_length():
    with pytest.raises(ValueError, match="shorter"):
        aligned([["a", "b"], ["c"]])
