"""Records of several runs: which are repetitions of one another."""

from dataclasses import replace

import numpy as np

from spiking.recording import NetworkRecord, Spikes, distinguished

NONE = Spikes(np.zeros(0), np.zeros(0, np.int64), 0)
RECORD = NetworkRecord(
    label="LPL", start=0.0, end=1.0, exc=NONE, inh=NONE, inputs=NONE, population=np.zeros(0, np.int64),
    pre=np.zeros(0, np.int64), post=np.zeros(0, np.int64), weights=np.zeros((1, 0)), weight_time=np.zeros(1),
    rate_time=np.zeros(0), rates={}, settings={"eta": 0.01, "kappa": 10.0},
)  # fmt: skip


def test_repetitions_keep_their_label():
    assert [record.label for record in distinguished([RECORD, RECORD])] == ["LPL", "LPL"]


def test_what_tells_runs_of_one_condition_apart_joins_the_label():
    faster = replace(RECORD, settings={"eta": 0.02, "kappa": 10.0})
    fixed = replace(RECORD, label="Inhib. fixed", settings={"eta": 0.3})
    labels = [record.label for record in distinguished([RECORD, faster, fixed])]
    assert labels == ["LPL, eta 0.01", "LPL, eta 0.02", "Inhib. fixed"]
