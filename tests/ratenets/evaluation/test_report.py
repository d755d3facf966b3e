"""The report of a readout: its file, read back and checked, and its table."""

import json
from dataclasses import replace

import pytest

from foundation.errors import RatespikeError, UsageError
from ratenets.evaluation.report import LayerReport, Origin, RunReport, read_reports, table, write_report

ORIGIN = Origin("runs/a", "LPL", "cifar10", 3, 60, False, 10, 10_000, 10_000, {"run": {"seed": 3}, "hidden": [1, 2]})
PIXELS = LayerReport("pixels", 3072, 0.357, 0.83)
FIRST = LayerReport(
    "layer 1",
    16,
    0.25,
    0.75,
    folds=(0.2, 0.3),
    unpooled_units=1024,
    unpooled_accuracy=0.5,
    unpooled_top5=0.875,
    unpooled_folds=(0.4, 0.4),
    mean_activity=0.5,
    participation_ratio=2.5,
    participation_ratio_batches=2.25,
    mean_class_dim=1.75,
    metrics={"cosine_push": 0.125, "cosine_within": None},
)
SECOND = LayerReport("layer 2", 32, 0.1, 0.5, mean_activity=0.0)
REPORT = RunReport(ORIGIN, (PIXELS, FIRST, SECOND))


def test_a_report_comes_back_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    write_report(path, REPORT)
    assert read_reports(path) == [REPORT]
    content = json.loads(path.read_text())
    assert (content["kind"], content["protocol"], content["name"]) == ("ratespike readout", "paper", "LPL")
    assert content["rows"][1]["metrics"]["cosine_within"] is None
    assert content["rows"][2]["participation_ratio"] is None


def test_layers_and_pixels_are_apart():
    assert (REPORT.pixels, REPORT.layers) == (PIXELS, [FIRST, SECOND])
    assert replace(REPORT, rows=(FIRST,)).pixels is None


def edited(change):
    """A file with a change."""

    def content(path):
        write_report(path, REPORT)
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return content


DAMAGED = {
    "no JSON": (lambda path: path.write_text("rows"), "damaged"),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe"), "damaged"),
    "a list": (lambda path: path.write_text("[1]"), "is a JSON file of something else, not a file of `ratespike deep"),
    "another kind": (edited(lambda v: v.update(kind="ratespike toy")), "not a file of"),
    "another version": (edited(lambda v: v.update(format=2)), "of this version"),
    "no rows": (edited(lambda v: v.pop("rows")), "damaged.*rows"),
    "rows of nothing": (edited(lambda v: v.update(rows=[])), "one row for each layer"),
    "only pixels": (edited(lambda v: v.update(rows=v["rows"][:1])), "one row for each layer"),
    "a layer twice": (edited(lambda v: v["rows"].append(v["rows"][1])), "one row for each layer"),
    "rows that are none": (edited(lambda v: v.update(rows=7)), "damaged"),
    "a missing origin": (edited(lambda v: v.pop("seed")), "damaged.*seed"),
    "a text for a number": (edited(lambda v: v["rows"][1].update(accuracy="0.5")), "row 2: accuracy"),
    "an accuracy of per cents": (edited(lambda v: v["rows"][1].update(accuracy=50.0)), "row 2: accuracy: is a share"),
    "a fold of per cents": (edited(lambda v: v["rows"][1].update(folds=[0.5, 50.0])), "row 2: folds: is a share"),
    "an unknown entry": (edited(lambda v: v["rows"][1].update(acuracy=0.5)), "row 2: unknown key 'acuracy'"),
    "NaN": (edited(lambda v: v["rows"][1].update(mean_activity=float("nan"))), "row 2: mean_activity"),
    "no classes": (edited(lambda v: v.update(classes=0)), "classes: must be at least 1"),
    "no layer's name": (edited(lambda v: v["rows"][1].update(name="first")), "row 2: name"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_one_line(case, tmp_path):
    path = tmp_path / "a.json"
    make, complaint = DAMAGED[case]
    make(path)
    with pytest.raises(RatespikeError, match=complaint) as caught:
        read_reports(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)


def test_readouts_with_few_labels_are_another_thing(tmp_path):
    edited(lambda values: (values.update(protocol="few-labels"), values.pop("settings")))(tmp_path / "a.json")
    with pytest.raises(UsageError, match="says too little of its run; write it anew"):
        read_reports(tmp_path / "a.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RatespikeError, match=r"none\.json: no such file"):
        read_reports(tmp_path / "none.json")


def test_the_table_holds_what_there_is():
    title, head, pixels, first, second, blank, layers, push, within = table(REPORT).splitlines()
    assert title == "LPL on cifar10, seed 3, after 60 epochs; readouts fitted to 10000 images, tested on 10000"
    assert "maps, folds %" in head
    assert pixels.split() == ["pixels", "3072", "35.70", "83.00", "-", "-", "-", "-"]
    expected = "layer 1 16 25.00 75.00 25.00 ± 5.00 50.00 87.50 40.00 ± 0.00 2.50 2.25 1.75 0.5000"
    assert first.split() == expected.split()
    assert second.split()[-4:] == ["-", "-", "-", "0.0000"]
    assert blank == ""
    assert (layers.split(), push.split()) == (["layer", "1"], ["cosine_push", "0.1250"])
    assert within.split() == ["cosine_within", "-"]
    plain = RunReport(replace(ORIGIN, untrained=True, epochs=0), (SECOND,))
    assert "at its initial weights" in table(plain)
    assert "maps" not in table(plain)
    assert "folds" not in table(plain)
    assert len(table(plain).splitlines()) == 3
