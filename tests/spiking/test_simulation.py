"""Runs in pieces, whoever computes them: stopped, killed and resumed, they end where they would have ended."""

import gc
import os
import signal
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import RatespikeError, StoppedError, UsageError
from foundation.files import write_bytes
from spiking import run_folder, simulation
from spiking.brian.network_simulator import backend
from spiking.paper.network import NetworkConfig, Wiring
from spiking.run_config import RecordingConfig, RunConfig
from spiking.run_file import read_networks, write_networks
from spiking.run_folder import RunFolder
from spiking.simulation import Piece, Run, State, alone, check_state, partial_folder, run_networks
from spiking.stimuli import RateTrace, SpikeEvents
from tests.spiking.killed import KilledError, write_then_die
from tests.spiking.same_files import assert_same_file

RATES = (RateTrace(np.array([60.0])), RateTrace(np.array([0.0, 90.0, 20.0, 60.0, 0.0]), interval=0.06))
NETWORK = NetworkConfig(exc=6, inh=2, population=5, p_ext=0.5, priming=1.5, duration=3.2)
CONFIG = RunConfig(NETWORK, RecordingConfig(keep_spikes=1.3, weights_every=1.0, rate_bin=0.4), networks=2)
PIECES = 6  # of each network, none longer than 1 s: two in priming, four in training


class Toy:
    """A network in which every arriving spike makes a neuron fire, with an effect that depends on all before it."""

    calls = 0  # of advance, by all of them

    def __init__(self, config: NetworkConfig, wiring: Wiring, lines: int, fail_at: int = 10**9) -> None:
        self.config, self.wiring, self.fail_at = config, wiring, fail_at
        self.open = False

    def __enter__(self) -> "Toy":
        self.open = True
        return self

    def __exit__(self, *error: object) -> None:
        self.open = False

    def start(self) -> State:
        return {"ext/w": self.wiring.ext.w.copy(), "ie/w": np.ones(3), "x": np.zeros(1)}

    def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
        assert self.open
        Toy.calls += 1
        if Toy.calls == self.fail_at:
            raise KeyboardInterrupt
        new = {name: value.copy() for name, value in state.items()}
        for source in arrivals.source:
            new["x"] = np.sin(new["x"] * 3 + source + 1)
            new["ext/w"][source] += 0.1 * learning * new["x"][0]
            new["ie/w"] *= 0.99
        units = {"exc": arrivals.source % self.config.exc, "inh": arrivals.source % self.config.inh}
        return Piece(new, {name: (arrivals.step, unit) for name, unit in units.items()}, {})


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(simulation, "LONGEST", 1.0)
    Toy.calls = 0


def run(
    out: Path, config: RunConfig = CONFIG, simulate: Any = Toy, *, rates=RATES, resume=False, name="toy", force=False
) -> None:
    run_networks(config, rates, out, alone(simulate), backend=name, resume=resume, force=force)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def straight(tmp_path):
    """The file of a run that was never stopped."""
    (tmp_path / "straight").mkdir()
    path = tmp_path / "straight" / "run.h5"
    run(path)
    assert Toy.calls == 2 * PIECES
    Toy.calls = 0
    return path


# --- what the backend is given ----------------------------------------------------------------------------------------
def test_the_backend_gets_every_spike_when_it_arrives_and_its_own_state_back(tmp_path) -> None:
    seen: list[Any] = []

    class Watched(Toy):
        def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
            piece = super().advance(state, arrivals, learning)
            seen.append((state, arrivals, learning, piece.state))
            return piece

    one = Run(NETWORK, RATES, CONFIG.recording, RunFolder(tmp_path / "run", {}, resume=False))
    one.finish(Watched)
    steps = [arrivals.steps for _, arrivals, _, _ in seen]
    assert steps == [10_000, 5000, 10_000, 10_000, 10_000, 2000]
    assert [learning for _, _, learning, _ in seen] == [False, False, True, True, True, True]
    for (_, _, _, after), (before, _, _, _) in pairwise(seen):
        assert after is before
    all_spikes = one.input.fired(0, 47_000)
    assert all_spikes.step.size > 1000
    inside = all_spikes.step + 8 < 47_000
    first = np.cumsum([0, *steps[:-1]])
    arrived = np.concatenate([a.step + begin for (_, a, _, _), begin in zip(seen, first, strict=True)])
    np.testing.assert_array_equal(arrived, all_spikes.step[inside] + 8)
    np.testing.assert_array_equal(np.concatenate([a.source for _, a, _, _ in seen]), all_spikes.source[inside])


def test_pieces_are_not_kept_in_memory(tmp_path) -> None:
    alive: list[weakref.ref[Any]] = []

    class Watched(Toy):
        def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
            gc.collect()
            assert sum(reference() is not None for reference in alive) <= 1
            piece = super().advance(state, arrivals, learning)
            alive.append(weakref.ref(piece))
            return piece

    run(tmp_path / "run.h5", replace(CONFIG, network=replace(NETWORK, duration=5.0), networks=1), Watched)
    assert len(alive) == 7


# --- stopped anywhere -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("piece", range(1, 2 * PIECES + 1))
def test_stopped_in_any_piece_it_ends_where_it_would_have_ended(tmp_path, straight, piece) -> None:
    out = tmp_path / "run.h5"
    kept = f"go on with --resume, everything so far is in {partial_folder(out)}"
    with pytest.raises(StoppedError, match=kept if piece > 1 else "nothing was written"):
        run(out, simulate=partial(Toy, fail_at=piece))
    assert not out.exists()
    done = Toy.calls - 1
    if not partial_folder(out).exists():
        assert done == 0
        with pytest.raises(UsageError, match="no run to resume"):
            run(out, resume=True)
    run(out, resume=done > 0)
    assert Toy.calls == 2 * PIECES + 1  # only the piece that was broken off was done again
    assert_same_file(out, straight)
    assert [path.name for path in tmp_path.iterdir() if path.name != "straight"] == ["run.h5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_finishes_the_piece(tmp_path, straight, number) -> None:
    class Asked(Toy):
        def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
            piece = super().advance(state, arrivals, learning)
            if Toy.calls == PIECES + 2:
                os.kill(os.getpid(), number)
            return piece

    out, before = tmp_path / "run.h5", signal.getsignal(number)
    with pytest.raises(StoppedError, match="go on with --resume"):
        run(out, simulate=Asked)
    assert Toy.calls == PIECES + 2
    assert signal.getsignal(number) == before
    run(out, resume=True)
    assert Toy.calls == 2 * PIECES
    assert_same_file(out, straight)


@pytest.mark.parametrize("writes", range(1, 2 * PIECES, 3))
def test_killed_while_it_writes_it_ends_where_it_would_have_ended(tmp_path, straight, monkeypatch, writes) -> None:
    """Each piece is two files: what is kept of it, then the state."""
    out = tmp_path / "run.h5"
    monkeypatch.setattr(run_folder, "write_bytes", write_then_die(writes))
    with pytest.raises(KilledError):
        run(out)
    monkeypatch.setattr(run_folder, "write_bytes", write_bytes)
    run(out, resume=True)
    assert Toy.calls == 2 * PIECES + 1
    assert_same_file(out, straight)
    assert [path.name for path in tmp_path.iterdir() if path.name != "straight"] == ["run.h5"]


def test_killed_while_the_file_is_written_nothing_is_simulated_again(tmp_path, straight, monkeypatch) -> None:
    out = tmp_path / "run.h5"

    def die(path: Path, runs: Any) -> None:
        raise KilledError

    monkeypatch.setattr(simulation, "write_networks", die)
    with pytest.raises(KilledError):
        run(out)
    monkeypatch.setattr(simulation, "write_networks", write_networks)
    run(out, simulate=never, resume=True)
    assert_same_file(out, straight)


def test_a_run_that_is_not_finite_any_more_stops_and_keeps_its_last_good_state(tmp_path) -> None:
    class Exploding(Toy):
        def advance(self, state: State, arrivals: SpikeEvents, learning: bool) -> Piece:
            piece = super().advance(state, arrivals, learning)
            if Toy.calls == 3:
                piece.state["ie/w"][1] = np.nan
            return piece

    out = tmp_path / "run.h5"
    with pytest.raises(RatespikeError, match="ie/w is not finite any more; the last good state is kept"):
        run(out, simulate=Exploding)
    folder = RunFolder(partial_folder(out) / "0", identity_of(out), resume=True)
    assert folder.done == 2
    assert folder.state is not None
    assert np.isfinite(folder.state["ie/w"]).all()


# --- several networks in step -----------------------------------------------------------------------------------------
class Toys:
    """Toys that advance together."""

    def __init__(self, configs: Sequence[NetworkConfig], wirings: Sequence[Wiring], lines: int, **options: Any) -> None:
        self.toys = [Toy(config, wiring, lines, **options) for config, wiring in zip(configs, wirings, strict=True)]

    def __enter__(self) -> "Toys":
        for toy in self.toys:
            toy.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for toy in self.toys:
            toy.__exit__(*error)

    def start(self) -> list[State]:
        return [toy.start() for toy in self.toys]

    def advance(self, states: Sequence[State], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]:
        given = zip(self.toys, states, arrivals, strict=True)
        return [toy.advance(state, events, learning) for toy, state, events in given]


def run_together(out: Path, simulate: Any = Toys, *, config: RunConfig = CONFIG, resume: bool = False) -> None:
    run_networks(config, RATES, out, simulate, together=True, backend="toy", resume=resume)


def test_together_they_end_as_one_after_the_other(tmp_path, straight) -> None:
    run_together(tmp_path / "run.h5")
    assert Toy.calls == 2 * PIECES
    assert_same_file(tmp_path / "run.h5", straight)
    assert [path.name for path in tmp_path.iterdir() if path.name != "straight"] == ["run.h5"]


def test_networks_of_different_duration_do_not_advance_together(tmp_path) -> None:
    """Or all would be recorded as long as the first lasts."""
    runs = []
    for k, duration in enumerate((3.2, 5.0)):
        network = replace(NETWORK, duration=duration)
        folder = RunFolder(tmp_path / str(k), {"network": str(k)}, resume=False)
        runs.append(Run(network, RATES, CONFIG.recording, folder))
    with pytest.raises(UsageError, match="must have the same duration, priming and pieces"):
        simulation.finish(runs, Toys)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("writes", [*range(9), 14, 23, 24])
def test_killed_between_the_pieces_of_two_networks_they_end_where_they_would(
    tmp_path, straight, monkeypatch, writes
) -> None:
    """Four files after every step: piece and state of the first, then of the second. It is killed up to twice."""
    out = tmp_path / "run.h5"
    for _ in range(2):
        monkeypatch.setattr(run_folder, "write_bytes", write_then_die(writes))
        with suppress(KilledError):
            run_together(out, resume=partial_folder(out).exists())
        if out.exists():
            break
        folders = [RunFolder(partial_folder(out) / str(k), identity_of(out, k), resume=True) for k in known(out)]
        assert max(f.done for f in folders) - min(f.done for f in folders) <= 1
    monkeypatch.setattr(run_folder, "write_bytes", write_bytes)
    if not out.exists():
        run_together(out, resume=True)
    assert_same_file(out, straight)
    assert [path.name for path in tmp_path.iterdir() if path.name != "straight"] == ["run.h5"]


def known(out: Path) -> list[int]:
    return [k for k in range(2) if (partial_folder(out) / str(k) / "run.toml").exists()]


def test_together_only_the_step_that_was_broken_off_is_done_again(tmp_path, straight, monkeypatch) -> None:
    out = tmp_path / "run.h5"
    monkeypatch.setattr(run_folder, "write_bytes", write_then_die(4 * 2 + 2))  # the first has its third piece
    with pytest.raises(KilledError):
        run_together(out)
    monkeypatch.setattr(run_folder, "write_bytes", write_bytes)
    assert Toy.calls == 2 * 3
    run_together(out, resume=True)
    assert Toy.calls == 2 * (PIECES + 1)
    assert_same_file(out, straight)


def test_stopped_together_they_go_on_together(tmp_path, straight) -> None:
    out = tmp_path / "run.h5"
    with pytest.raises(StoppedError, match="go on with --resume"):
        run_together(out, partial(Toys, fail_at=6))
    run_together(out, resume=True)
    assert Toy.calls == 6 + 2 * (PIECES - 2)
    assert_same_file(out, straight)


def test_runs_that_are_too_far_apart_are_refused(tmp_path) -> None:
    """As they are when some were run one after the other: the earlier states are gone."""
    out = tmp_path / "run.h5"
    with pytest.raises(StoppedError):
        run(out, simulate=partial(Toy, fail_at=4))
    with pytest.raises(RatespikeError, match="0: is at piece 3, others at 0; the run cannot be resumed") as error:
        run_together(out, resume=True)
    assert "\n" not in str(error.value)


def test_of_several_networks_the_one_that_is_not_finite_is_named_and_none_goes_on(tmp_path) -> None:
    class Exploding(Toys):
        def advance(self, states: Sequence[State], arrivals: Sequence[SpikeEvents], learning: bool) -> list[Piece]:
            pieces = super().advance(states, arrivals, learning)
            if Toy.calls == 6:
                pieces[1].state["ie/w"][1] = np.inf
            return pieces

    out = tmp_path / "run.h5"
    message = "^LPL, seed 1: ie/w is not finite any more; the last good state is kept$"
    with pytest.raises(RatespikeError, match=message):
        run_together(out, Exploding)
    for k in range(2):
        folder = RunFolder(partial_folder(out) / str(k), identity_of(out, k), resume=True)
        assert folder.done == 2
        assert folder.state is not None
        assert all(np.isfinite(value).all() for value in folder.state.values())


# --- several conditions -----------------------------------------------------------------------------------------------
def test_members_are_all_networks_condition_by_condition() -> None:
    config = RunConfig(replace(NETWORK, seed=5, eta=0.3), networks=2, conditions="all")
    members = config.members
    assert [(member.label, member.seed) for member in members] == [
        (label, seed) for label in ("LPL", "Pred. off", "Hebb off", "Inhib. off", "Inhib. fixed") for seed in (5, 6)
    ]
    assert {(member.eta, member.exc) for member in members} == {(0.3, 6)}
    assert config.seconds == pytest.approx(10 * 4.7)


def test_members_of_chosen_conditions() -> None:
    members = RunConfig(NETWORK, conditions="Inhib. off, LPL").members
    assert [(member.label, member.inhibition) for member in members] == [("Inhib. off", "none"), ("LPL", "plastic")]
    assert RunConfig(replace(NETWORK, phi=0.5), networks=3).members[2] == replace(NETWORK, phi=0.5, seed=2)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("LPL, none", "conditions: must be all, or some of LPL, Pred. off, .*, got '.*none'"),
        ("all, LPL", "conditions: must be all, or some of .*, got 'all.*'"),
        ("LPL,Hebb off,LPL", "conditions: each once, got '?LPL,Hebb off,LPL'?"),
    ],
)
def test_conditions_that_do_not_exist_are_refused(conditions, message) -> None:
    with pytest.raises(UsageError, match=message):
        RunConfig(conditions=conditions)


def test_a_run_of_other_conditions_is_another_run(tmp_path) -> None:
    out, config = tmp_path / "run.h5", replace(CONFIG, conditions="LPL,Hebb off")
    with pytest.raises(StoppedError):
        run_together(out, partial(Toys, fail_at=9), config=config)
    with pytest.raises(UsageError, match="another run; it differs in conditions"):
        run_together(out, config=replace(config, conditions="LPL,Pred. off"), resume=True)
    run_together(out, config=config, resume=True)
    labels = [record.label for record in read_networks(out)]
    assert labels == ["LPL", "LPL", "Hebb off", "Hebb off"]


# --- refused before anything is built ---------------------------------------------------------------------------------
def never(*arguments: object) -> Any:
    raise AssertionError("a simulator was made")


def identity_of(out: Path, number: int = 0) -> dict[str, Any]:
    import tomllib

    found = tomllib.loads((partial_folder(out) / str(number) / "run.toml").read_text())
    return {key: value for key, value in found.items() if key not in ("format", "ratespike")}


@pytest.fixture
def stopped(tmp_path):
    """The file of a run that was stopped in its fourth piece."""
    out = tmp_path / "stopped" / "run.h5"
    out.parent.mkdir()
    with pytest.raises(StoppedError):
        run(out, simulate=partial(Toy, fail_at=4))
    return out


def refused(out: Path, message: str, **changes: Any) -> None:
    before = everything(out.parent)
    with pytest.raises(RatespikeError, match=message) as error:
        run(out, simulate=never, **{"resume": True, **changes})
    assert "\n" not in str(error.value)
    assert everything(out.parent) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": replace(CONFIG, network=replace(NETWORK, eta=0.5))}, "another run; it differs in network.eta"),
        ({"config": replace(CONFIG, network=replace(NETWORK, seed=1))}, "another run; it differs in network.seed"),
        (
            {"config": replace(CONFIG, network=replace(NETWORK, duration=9.0, kappa=5.0))},
            "another run; it differs in network.duration, network.kappa",
        ),
        (
            {"config": replace(CONFIG, recording=RecordingConfig(1.3, 1.0, 0.5))},
            "another run; it differs in recording.rate_bin",
        ),
        ({"config": replace(CONFIG, networks=1)}, "another run; it differs in networks"),
        ({"rates": RATES[:1]}, "another run; it differs in rates"),
        ({"rates": (RateTrace(np.array([60.5])), RATES[1])}, "another run; it differs in rates"),
        ({"rates": (RATES[0], RateTrace(RATES[1].values, 0.05))}, "another run; it differs in rates"),
        ({"name": "another"}, "another run; it differs in backend"),
        ({"resume": False}, "an unfinished run lies here"),
    ],
)
def test_another_run_is_refused(stopped, changes, message) -> None:
    refused(stopped, message, **changes)


def test_a_run_of_another_version_is_refused(stopped, monkeypatch) -> None:
    monkeypatch.setattr(run_folder, "version", lambda _: "99.1")
    refused(stopped, "of another version of ratespike")


@pytest.mark.parametrize("name", ["0/state.npz", "0/pieces/1.npz", "0/run.toml"])
def test_a_folder_that_was_cut_short_is_refused(stopped, name) -> None:
    path = partial_folder(stopped) / name
    path.write_bytes(path.read_bytes()[:-30])
    refused(stopped, Path(name).name)


def test_a_folder_that_lacks_a_piece_is_refused(stopped) -> None:
    (partial_folder(stopped) / "0" / "pieces" / "0.npz").unlink()
    refused(stopped, r"0\.npz: is missing; the run cannot be resumed")


def test_what_exists_is_not_overwritten_and_what_does_not_exist_not_resumed(tmp_path, straight, stopped) -> None:
    refused(straight, "run.h5: exists; name another file, or overwrite it with --force", resume=False)
    refused(tmp_path / "none.h5", r"none\.h5: no run to resume, there is no none\.h5\.partial")
    refused(tmp_path / "straight", "is a folder; name a file", resume=False)
    stopped.write_text("came later")
    refused(stopped, "run.h5: exists; name another file", resume=False)
    refused(stopped, "run.h5: damaged, or not a file of")


def test_to_resume_what_is_finished_is_success_and_changes_nothing(straight) -> None:
    before = everything(straight.parent)
    run(straight, resume=True, simulate=never)
    assert everything(straight.parent) == before
    other = replace(CONFIG, network=replace(NETWORK, eta=0.5))
    refused(straight, "is of another run; it differs in network.eta", config=other)
    refused(straight, "exists, and has 2 networks, not 1", config=replace(CONFIG, networks=1))


def test_a_kill_between_writing_the_file_and_removing_the_pieces_does_no_harm(straight, stopped, monkeypatch) -> None:
    def die(path: Path) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(simulation, "discard", die)
        with pytest.raises(KilledError):
            run(stopped, resume=True)
    assert partial_folder(stopped).is_dir()
    run(stopped, resume=True, simulate=never)
    assert_same_file(stopped, straight)
    assert [path.name for path in stopped.parent.iterdir()] == [stopped.name]


def test_force_replaces_a_file_and_an_unfinished_run_once_there_is_a_new_one(tmp_path, straight, stopped) -> None:
    before = everything(stopped.parent)
    with pytest.raises(UsageError, match="p_ext"):
        run(stopped, force=True, config=replace(CONFIG, network=replace(NETWORK, p_ext=0.0)))
    assert everything(stopped.parent) == before
    run(stopped, force=True)
    run(stopped, force=True)
    assert_same_file(stopped, straight)
    assert [path.name for path in stopped.parent.iterdir()] == [stopped.name]


def test_a_force_that_is_stopped_before_its_first_piece_leaves_all_as_it_was(straight, stopped) -> None:
    """An unfinished run beside a file that it does not replace: neither learns of the attempt."""
    stopped.write_bytes(straight.read_bytes())
    before = everything(stopped.parent)
    other = replace(CONFIG, network=replace(NETWORK, seed=7))
    with pytest.raises(StoppedError, match="nothing was written"):
        run(stopped, other, simulate=partial(Toy, fail_at=Toy.calls + 1), force=True)
    assert everything(stopped.parent) == before


def test_a_stopped_run_that_replaces_a_file_goes_on_and_replaces_it(straight) -> None:
    other = replace(CONFIG, network=replace(NETWORK, seed=7))
    before = straight.read_bytes()
    with pytest.raises(StoppedError):
        run(straight, other, simulate=partial(Toy, fail_at=4), force=True)
    assert straight.read_bytes() == before
    unfinished = everything(partial_folder(straight))
    run(straight, resume=True, simulate=never)  # what is finished there already, and the pieces are not its own
    assert everything(partial_folder(straight)) == unfinished
    run(straight, other, resume=True)
    assert [record.label for record in read_networks(straight)] == ["LPL", "LPL"]
    run(straight, other, resume=True, simulate=never)
    assert [path.name for path in straight.parent.iterdir()] == [straight.name]


def test_the_pieces_of_another_run_are_not_taken_for_ones_own(stopped) -> None:
    """The seed was edited in run.toml, and the command says the same."""
    for path in partial_folder(stopped).glob("*/run.toml"):
        path.write_text(path.read_text().replace("\neta = ", "\neta = 1"))
    other = replace(CONFIG, network=replace(NETWORK, eta=float(f"1{NETWORK.eta}")))
    refused(stopped, "is of another run than run.toml says", config=other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": (RateTrace(np.array([2e4])),)}, "rates: 20000 Hz is more than one spike in a step"),
        ({"rates": (RateTrace(np.ones(2), 0.00015),)}, "rates: the interval between samples: must be a multiple of dt"),
        ({"config": replace(CONFIG, network=replace(NETWORK, p_ext=0.0))}, "p_ext: no input synapse was drawn at 0.0"),
        *(
            ({"config": replace(CONFIG, recording=RecordingConfig(**{name: value}))}, f"{name}: must be a multiple of")
            for name, value in (("weights_every", 0.3), ("keep_spikes", 0.33335), ("rate_bin", 0.00015))
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused(tmp_path, changes, message) -> None:
    refused(tmp_path / "run.h5", message, resume=False, **changes)


@pytest.mark.parametrize("name", ["keep_spikes", "weights_every", "rate_bin"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_recording_times_are_positive(name, value) -> None:
    with pytest.raises(UsageError, match=f"^{name}: must be .*, got {value}"):
        RecordingConfig(**{name: value})


def test_there_is_at_least_one_network() -> None:
    with pytest.raises(UsageError, match="networks: must be at least 1, got 0"):
        RunConfig(networks=0)
    assert CONFIG.seconds == pytest.approx(2 * 4.7)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": np.zeros(3)}, "state: variable b is missing"),
        ({"a": np.zeros(3), "b": np.zeros(1, np.int32), "c": np.zeros(1)}, "state: variable c is unknown"),
        ({"a": np.zeros(4), "b": np.zeros(1, np.int32)}, r"state: a must be float64 \(3,\), got float64 \(4,\)"),
        ({"a": np.zeros(3), "b": np.zeros(1)}, r"state: b must be int32 \(1,\), got float64 \(1,\)"),
        ({"a": np.array([0, np.inf, 0]), "b": np.zeros(1, np.int32)}, "a is not finite any more"),
    ],
)
def test_a_state_of_another_model_is_refused(state, message) -> None:
    with pytest.raises(RatespikeError, match=message):
        check_state(state, {"a": np.zeros(3), "b": np.zeros(1, np.int32)})


# --- with Brian2 ------------------------------------------------------------------------------------------------------
EVERYTHING = NetworkConfig(
    exc=12, inh=4, population=8, p_ext=0.5, w_ext=0.4, sigma_ei=6.0, priming=0.5, duration=0.56, dt=4e-4, tau_mean=0.5,
    tau_sigma2=0.3, eta=0.02, zeta=0.05, recurrence=True, augment_gradient=True, tau_weights=2.0, float32_traces=True,
)  # fmt: skip


def test_brian_in_pieces_and_stopped_in_all_of_them_is_brian_in_one_go(tmp_path, monkeypatch) -> None:
    """To the last bit: every variable at the end, every spike, and what was kept on the way."""
    recording = RecordingConfig(keep_spikes=10.0, weights_every=10.0, rate_bin=0.4)
    whole, cut = (tmp_path / name for name in ("whole", "cut"))
    for folder, longest in ((whole, 50.0), (cut, 0.5)):
        monkeypatch.setattr(simulation, "LONGEST", longest)
        one = Run(EVERYTHING, RATES, recording, RunFolder(folder, {}, resume=False))
        assert len(one.pieces) == (2 if folder == whole else 3)
        if folder == whole:
            one.finish(backend("numpy"))
            continue
        for _ in one.pieces[:-1]:
            with pytest.raises(KilledError):
                one.finish(lambda *arguments: OnePiece(backend("numpy")(*arguments)))
            one = Run(EVERYTHING, RATES, recording, RunFolder(folder, {}, resume=True))
        one.finish(backend("numpy"))
    kept = []
    for folder in (whole, cut):
        pieces = RunFolder(folder, {}, resume=True)
        assert pieces.state is not None
        kept.append({f"{name}/{key}": np.concatenate([p[f"{name}_{key}"] for p in pieces.pieces()])
                     for name in ("exc", "inh", "inputs") for key in ("step", "unit")} | pieces.state)  # fmt: skip
    first, second = kept
    assert first["exc/step"].size > 100
    assert np.ptp(first["ee/w"]) > 1e-3
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


class OnePiece:
    """A backend that is killed when it is asked for a second piece."""

    def __init__(self, network: Any) -> None:
        self.network, self.calls = network, 0

    def __enter__(self) -> "OnePiece":
        self.network.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.network.__exit__(*error)

    def start(self) -> Any:
        return self.network.start()

    def advance(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            raise KilledError
        return self.network.advance(*arguments)


def test_a_run_shorter_than_the_axonal_delay(tmp_path) -> None:
    """No input arrives; and there is a piece of less than a step of what else is recorded."""
    short = replace(EVERYTHING, priming=0.0, duration=8e-4)
    run(tmp_path / "run.h5", RunConfig(short, RecordingConfig(rate_bin=0.4)), backend("numpy"))
    assert (tmp_path / "run.h5").exists()
