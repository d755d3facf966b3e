"""What a command that was stopped says: the one that goes on."""

import sys

import pytest

from ratespike.cli import _again


@pytest.mark.parametrize(
    ("given", "goes_on"),
    [
        (["deep", "lpl", "--out", "my run"], "ratespike deep lpl --out 'my run' --resume"),
        (["deep", "lpl", "--out", "r", "--resume"], "ratespike deep lpl --out r --resume"),
        (["deep", "lpl", "--config", "a.toml", "--out", "r"], "ratespike deep lpl --out r --resume"),
        (["deep", "butd", "--preset=mnist", "--out", "r"], "ratespike deep butd --out r --resume"),
        (["spike", "network", "--preset", "paper", "--out", "r.h5"],
         "ratespike spike network --preset paper --out r.h5 --resume"),
        (["deep", "ladder", "--out", "r"], "ratespike deep ladder --out r"),
        (["demo"], "ratespike demo"),
    ],
)  # fmt: skip
def test_the_command_that_goes_on_is_named(given, goes_on, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ratespike", *given])
    assert _again() == goes_on
