"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")


def python_story() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return str(code)


def test_the_python_story_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = python_story().replace(
        'LPLConfig.for_data("digits")', 'LPLConfig.for_data("digits", run=RunConfig(epochs=2))'
    )
    exec(
        compile("from ratenets.run import RunConfig\n" + code.replace("train[:40]", "train[:4]"), "README.md", "exec"),
        {},
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["rates", "spikes", "updates"]
    assert 0.1 < float(lines[0].split()[1]) <= 1
    assert "'ceiling'" in lines[2]


@pytest.mark.slow
def test_the_python_story_at_full_length_says_what_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(python_story(), "README.md", "exec"), {})
    rates, spikes, comparison = capsys.readouterr().out.splitlines()
    assert round(float(rates.split()[1]), 2) == 0.94  # as the README says
    assert round(float(spikes.split()[1]), 2) == 0.93
    cosine, shuffled = (float(re.findall(rf"'{key}': (-?[\d.]+)", comparison)[0]) for key in ("cosine", "shuffled"))
    assert cosine > shuffled + 0.3


def test_the_code_of_the_page_on_torch_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "spiking-torch.md").read_text(), flags=re.DOTALL)
    exec(compile(code.replace("20_000", "2_000"), "spiking-torch.md", "exec"), {})
    assert capsys.readouterr().out.startswith("[")


def test_the_code_of_the_page_on_deep_lpl_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "deep-lpl.md").read_text(), flags=re.DOTALL)
    exec(compile(code.replace("epochs=30", "epochs=2"), "deep-lpl.md", "exec"), {})
    names = [line.split(" {")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["LPL", "LPL, predictive off"]


def test_the_code_of_the_page_on_bu_td_networks_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / "butd.md").read_text(), flags=re.DOTALL))
    exec(compile(code, "butd.md", "exec"), {})
    updates, same, names = capsys.readouterr().out.splitlines()
    assert "'core.1.V': (784, 50)" in updates
    assert (same, names) == ("True", "['core', 'core.0', 'core.1', 'core.2', 'head']")


def test_the_networks_page_runs(capsys):
    code = re.findall(r"```python\n(.*?)```", (DOCS / "networks.md").read_text(), flags=re.DOTALL)
    exec(compile("\n".join(code), "networks.md", "exec"), {})
    said = capsys.readouterr().out
    assert "inputs -> exc" in said
    assert 2.7 < float(said.split()[-1]) < 3.3  # what the weights are scaled to, ten times a second


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_files_that_a_page_shows_exist(page: Path) -> None:
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if not t.startswith("http")]
    assert targets
    for target in targets:
        assert (page.parent / target).is_file(), target


def test_every_command_of_the_table_exists() -> None:
    from importlib import import_module

    from click import Context

    from ratespike.cli import COMMANDS

    rows = re.findall(r"^\| `ratespike (\w+) ([\w, -]+?)(?: -| [A-Z]|`)", README, flags=re.MULTILINE)
    assert len(rows) >= 6
    for group, names in rows:
        module = import_module(f"ratespike.{COMMANDS[group][0].partition(':')[0]}")
        known = module.FIGURES if group == "figure" else module.command.list_commands(Context(module.command))
        for name in re.split(r"[, ]+", names.strip()):
            assert name in known, (group, name)


def test_the_code_of_the_page_on_local_rules_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", (DOCS / "local-rules.md").read_text(), flags=re.DOTALL)
    use = "from ratenets.hebbian.network import Network\nfrom ratenets.hebbian.rules.rule import Batch\nimport torch\n"
    use += "network = Network((4, 3, 2), 'tanh', biases=True, seed=0)\nrule = AntiHebbian(network, config, 0)\n"
    use += "images = torch.randn(5, 4)\nbatch = Batch(images, torch.arange(5) % 2)\n"
    use += "rule.teach(network, batch, network.activities(images))\n"
    use += "print(all(parameter.grad is not None for parameter in network.parameters()))\n"
    exec(compile("\n".join([*code, use]), "local-rules.md", "exec"), {})
    first, last = capsys.readouterr().out.splitlines()
    assert float(first.split()[0]) > 0.3
    assert last == "True"


def test_commands_in_the_pages_run_twice() -> None:
    """But for those that take hours, they have --force where they write."""
    long = ("--preset paper --", "spike sweep", "--precision bfloat16")
    found = 0
    for page in (DOCS.parent / "README.md", *DOCS.glob("*.md")):
        text = re.sub(r"\\\n\s+", "", page.read_text(encoding="utf-8"))  # commands of several lines
        for line in re.findall(r"^    ratespike (.*)$", text, flags=re.MULTILINE):
            for command in line.split("&&"):
                if re.search(r"--(out|json) ", command) and not any(part in command for part in long):
                    assert re.search(r"--(force|resume) ", command), (page.name, command)
                    found += 1
    assert found > 30
