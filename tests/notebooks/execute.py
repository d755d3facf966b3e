"""Execute the notebooks and write their copies: `python -m tests.notebooks.execute`; needs the extra "notebooks"."""

from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def executed(text: Path) -> Any:
    """The notebook of a text, with its outputs but for what went to standard error: progress bars, mostly."""
    import jupytext
    import nbclient

    notebook = jupytext.read(text)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            cell.metadata.pop("execution", None)  # times of day
    return notebook


if __name__ == "__main__":
    import jupytext

    for path in sorted(NOTEBOOKS.glob("*.py")):
        jupytext.write(executed(path), path.with_suffix(".ipynb"))
        print(path.with_suffix(".ipynb"))
