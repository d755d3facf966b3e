"""The notebooks: their code at small size, and, slowly, as they are; the executed copies are of the same text."""

import re
import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

from tests.notebooks.execute import NOTEBOOKS, executed

TEXTS = sorted(NOTEBOOKS.glob("*.py"))
SMALL = (
    "seconds, realisations, epochs, images = 20.0, 8, 100, 12",
    "seconds, realisations, epochs, images = 2.0, 2, 1, 2",
)


def test_there_are_notebooks() -> None:
    assert [text.stem for text in TEXTS] == ["rate_and_spike_plasticity"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_a_notebooks_code_runs_at_small_size(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = text.read_text()
    assert SMALL[0] in code
    (tmp_path / "small.py").write_text(code.replace(*SMALL))
    with mpl.rc_context({"backend": "agg"}):
        runpy.run_path(str(tmp_path / "small.py"))
    said = capsys.readouterr().out
    assert "cosine of the two levels' weight changes" in said
    assert len(re.findall(r"r = +-?\d", said)) == 14  # six rungs of two terms, and two of the images


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_the_executed_copy_is_of_the_same_text_and_without_errors(text: Path) -> None:
    jupytext = pytest.importorskip("jupytext")
    source, copy = (jupytext.read(path) for path in (text, text.with_suffix(".ipynb")))
    assert [cell.source for cell in source.cells] == [cell.source for cell in copy.cells]
    outputs = [output for cell in copy.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_a_notebook_runs_as_it_is(text: Path) -> None:
    pytest.importorskip("nbclient")
    outputs = [output for cell in executed(text).cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
