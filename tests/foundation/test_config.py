"""Configs: frozen dataclasses <-> TOML, strictly."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation import config as configs
from foundation.config import setting
from foundation.errors import RatespikeError, UsageError


@dataclass(frozen=True)
class Inner:
    rate: float = setting(1.0, "in Hz")
    name: str = "a"

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise UsageError(f"inner.rate: must be positive, got {self.rate}")


@dataclass(frozen=True)
class Outer:
    count: int = 3
    on: bool = False
    sizes: tuple[int, ...] = (1, 2)
    limit: float | None = None
    inner: Inner = field(default_factory=Inner)


outers = st.builds(
    Outer,
    count=st.integers(-(2**53), 2**53),
    on=st.booleans(),
    sizes=st.lists(st.integers(0, 10**6), max_size=4).map(tuple),
    limit=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    inner=st.builds(
        Inner,
        rate=st.floats(min_value=1e-300, allow_infinity=False),
        name=st.text(st.characters(blacklist_categories=["Cs"])),
    ),
)


@given(outers)
def test_every_config_survives_toml_bit_for_bit(config):
    assert configs.loads(Outer, configs.dumps(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "file.toml: unknown key 'colour'; known: count, on, sizes, limit, inner"),
        ("[inner]\ncolour = 1", "file.toml: unknown key 'inner.colour'"),
        ("count = 1.5", "file.toml: count: .*integer.*got 1.5"),
        ("count = true", "file.toml: count: .*integer"),
        ("count = '1'", "file.toml: count: .*integer"),
        ("on = 1", "file.toml: on: .*boolean"),
        ("sizes = [1, 'x']", r"file.toml: sizes.1: .*integer"),
        ("sizes = 3", "file.toml: sizes: "),
        ("limit = 'high'", "file.toml: limit: "),
        ("inner = 3", "file.toml: inner: "),
        ("[inner]\nrate = nan", "file.toml: inner.rate: .*finite"),
        ("[inner]\nrate = -1.0", "file.toml: inner.rate: must be positive"),
        ("count = ", "file.toml: not TOML"),
    ],
)
def test_a_wrong_config_is_one_line_that_names_the_key(text, message):
    with pytest.raises(UsageError, match=message) as error:
        configs.loads(Outer, text, "file.toml")
    assert "\n" not in str(error.value)


def test_a_whole_number_is_a_float_as_people_write_it():
    assert configs.loads(Outer, "[inner]\nrate = 2").inner.rate == 2.0


def test_differences_are_named_by_their_dots():
    one = Outer()
    other = replace(one, count=4, inner=Inner(name="b"))
    assert configs.differences(one, other) == ["count", "inner.name"]
    assert configs.differences(one, one) == []


def test_merging_goes_deep():
    assert configs.merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}}) == {"a": 1, "b": {"c": 2, "d": 4}}


def test_an_unreadable_file_is_an_error_of_the_world(tmp_path):
    with pytest.raises(RatespikeError, match="no such file"):
        configs.read_text(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RatespikeError, match="cannot be read"):
        configs.read_text(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 3000,
        "a = " + "[" * 3000 + "]" * 3000,
        "a." * 3000 + "b = 1",
        "a = " + "9" * 5000,
        "a = 0x" + "f" * 5000,
        "a = 1\na.b = 2",
        "a = 1979-99-99",
    ],
)
def test_toml_that_no_config_is_made_of_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^x\.toml: not TOML") as caught:
        configs.parse(text, "x.toml")
    assert str(caught.value).isprintable()
