"""SONATA: libsonata reads what we write, we read what others write, and what is damaged is refused by name."""

from pathlib import Path
from typing import Any

import h5py
import libsonata
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.files.auryn import write_ras
from bridge.files.edges import Edges
from bridge.files.sonata import read_spikes, write_spikes
from bridge.files.sonata_network import (
    EdgePopulation,
    read_edges,
    read_nodes,
    write_edge_types,
    write_edges,
    write_node_types,
    write_nodes,
)
from foundation.errors import UsageError
from spiking.stimuli import RateTrace, SpikeEvents, draw_spikes
from tests.faults.damage import EDITS, edited, refused

DT = 1e-4
listed: Any = Edges  # lists do as well as arrays
FAST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EXC = "/spikes/exc"
CON = "/edges/con"


def poisson(seed: int, lines: int = 30) -> SpikeEvents:
    trace = RateTrace(np.array([100.0]))
    return draw_spikes([trace], lines, dt=DT, first_step=0, steps=5000, generator=np.random.default_rng(seed))


def sparse(seed: int, delays: bool = True) -> Any:
    rng = np.random.default_rng(seed)
    pre, post = rng.integers(0, 9, 40), rng.integers(0, 6, 40)  # some pairs twice, in no order
    return listed(pre, post, rng.normal(size=40), 9, 6, rng.integers(1, 200, 40) * DT if delays else None)


def same(one: SpikeEvents, other: SpikeEvents) -> None:
    np.testing.assert_array_equal(one.step, other.step)
    np.testing.assert_array_equal(one.source, other.source)
    assert (one.lines, one.dt, one.steps) == (other.lines, other.dt, other.steps)


# --- spikes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("units", ["ms", "s"])
def test_spikes_of_several_populations_come_back(tmp_path, units) -> None:
    silent = SpikeEvents(np.empty(0, np.int64), np.empty(0, np.int64), 4, DT, 100)
    spikes = {"exc": poisson(1), "inh": poisson(2, 8), "silent": silent}
    write_spikes(tmp_path / "a.h5", spikes, units=units)
    back = read_spikes(tmp_path / "a.h5", dt=DT)
    assert back.keys() == spikes.keys()
    assert spikes["exc"].step.size > 1000
    for name, events in spikes.items():
        same(back[name], events)


def test_libsonata_reads_the_spikes_that_we_write(tmp_path) -> None:
    spikes = {"exc": poisson(1), "inh": poisson(2, 8)}
    write_spikes(tmp_path / "a.h5", spikes)
    reader = libsonata.SpikeReader(str(tmp_path / "a.h5"))
    assert sorted(reader.get_population_names()) == ["exc", "inh"]
    for name, events in spikes.items():
        population = reader[name]
        assert population.sorting == "by_time"
        ids, times = np.array(population.get()).T
        np.testing.assert_array_equal(ids, events.source)
        np.testing.assert_allclose(times, events.step * 0.1, rtol=1e-12)  # ms
        some = population.get(node_ids=[3], tstart=100.0, tstop=300.0)
        chosen = (events.source == 3) & (events.step >= 1000) & (events.step <= 3000)
        assert [round(t * 10) for _, t in some] == events.step[chosen].tolist()
        assert chosen.any()


def foreign_spikes(path: Path, **changes: Any) -> Path:
    """A spike file as others write it: unsorted, ids of 32 bits, no more attributes than the guide asks for."""
    held: dict[str, Any] = {
        "timestamps": np.array([0.7, 0.2, 0.7]),
        "node_ids": np.array([4, 4, 1], np.uint32),
        "units": "ms",
    } | changes
    with h5py.File(path, "w") as file:
        group = file.create_group(EXC)
        for name in ("timestamps", "node_ids"):
            if held[name] is not None:
                group.create_dataset(name, data=held[name], **held.get("storage", {}))
        if held["units"] is not None and "timestamps" in group:
            group["timestamps"].attrs["units"] = held["units"]
        for name in ("sorting", "size", "duration"):
            if name in held:
                group.attrs[name] = held[name]
        if "magic" in held:
            file.attrs["magic"] = held["magic"]
    return path


@pytest.mark.parametrize("units", ["ms", "milliseconds", np.bytes_(b"ms"), "s"])
@pytest.mark.parametrize("storage", [{}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}])
def test_spikes_that_others_wrote_are_read_and_sorted(tmp_path, units, storage) -> None:
    times = np.array([0.7, 0.2, 0.7]) / (1000 if units == "s" else 1)
    path = foreign_spikes(tmp_path / "a.h5", units=units, storage=storage, timestamps=times)
    if not storage:  # libsonata comes without gzip
        assert len(libsonata.SpikeReader(str(path))["exc"].get()) == 3
    events = read_spikes(path, dt=DT)["exc"]
    same(events, SpikeEvents(np.array([4, 1, 4]), np.array([2, 7, 7]), 5, DT, 8))
    same(
        read_spikes(path, dt=DT, lines={"exc": 9}, steps=50)["exc"], SpikeEvents(events.source, events.step, 9, DT, 50)
    )


def test_where_a_file_has_no_units_the_reader_has_to_know_them(tmp_path) -> None:
    path = foreign_spikes(tmp_path / "a.h5", units=None)
    assert refused(lambda p: read_spikes(p, dt=DT), path) == f"{EXC}/timestamps: has no units; say which"
    np.testing.assert_array_equal(read_spikes(path, dt=DT, units="ms")["exc"].step, [2, 7, 7])


def test_times_off_the_grid_are_rounded_only_when_asked_for(tmp_path) -> None:
    path = foreign_spikes(tmp_path / "a.h5", timestamps=np.array([0.73, 0.2, 0.7]))
    assert "is not a multiple of dt = 0.0001 s" in str(refused(lambda p: read_spikes(p, dt=DT), path))
    np.testing.assert_array_equal(read_spikes(path, dt=DT, round_times=True)["exc"].step, [2, 7, 7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timestamps": None, "node_ids": None}, f"{EXC}/timestamps: is missing"),
        ({"node_ids": None}, f"{EXC}/node_ids: is missing"),
        ({"node_ids": np.array([1, 2])}, f"{EXC}: spikes: 3 times and 2 sources"),
        ({"node_ids": np.array([1, -2, 3])}, f"{EXC}: lines: numbers must not be negative, got -2"),
        ({"node_ids": np.array([1, 2**40, 3])}, f"{EXC}: lines: 1099511627777, should be"),
        ({"node_ids": np.array([1, 2**64 - 1, 3], np.uint64)}, f"{EXC}: lines: 18446744073709551616, should be"),
        ({"node_ids": np.array([1.0, 2.0, 3.0])}, f"{EXC}/node_ids: should be whole numbers"),
        ({"node_ids": np.ones((3, 1), int)}, f"{EXC}/node_ids: should have 1 dimension(s), has shape (3, 1)"),
        ({"timestamps": np.array(1.0), "node_ids": np.array(1)}, f"{EXC}/timestamps: should have 1 dimension(s)"),
        ({"timestamps": np.array([0.1, np.nan, 0.3])}, f"{EXC}: spikes: times must be finite"),
        ({"timestamps": np.array([0.1, -0.1, 0.3])}, f"{EXC}: spikes: times must be finite and not negative"),
        ({"timestamps": np.array([b"1", b"2", b"3"])}, f"{EXC}/timestamps: should be plain numbers"),
        (
            {"timestamps": np.array([0.1, 0.1, 0.1]), "node_ids": np.array([1, 2, 1])},
            f"{EXC}: spikes: source 1 has two",
        ),
        ({"units": "fortnights"}, f"{EXC}/timestamps: has the unit 'fortnights'; should be ms or s"),
        ({"units": 3}, f"{EXC}/timestamps: has the unit 3; should be ms or s"),
        ({"sorting": "by_time"}, f"{EXC}: is said to be sorted by_time and is not"),
        ({"sorting": "by_id"}, f"{EXC}: is said to be sorted by_id and is not"),
        ({"sorting": "by_hand"}, f"{EXC}: sorting: should be one of none, by_id, by_time, is 'by_hand'"),
        ({"size": 4}, f"{EXC}: lines: 4, should be 5 to"),
        ({"size": -4}, f"{EXC}: attribute size: should be a number, not negative, is -4"),
        ({"size": "many"}, f"{EXC}: attribute size: should be a number, not negative, is 'many'"),
        ({"duration": np.nan}, f"{EXC}: attribute duration: should be a number, not negative, is nan"),
        ({"duration": 0.1}, f"{EXC}: steps: 1, should be 8 to"),
        ({"magic": 7}, "/: attribute magic: should be 2682 in SONATA, is 7"),
    ],
)
def test_damaged_and_foreign_spikes_are_refused(tmp_path, changes, message) -> None:
    said = refused(lambda path: read_spikes(path, dt=DT), foreign_spikes(tmp_path / "a.h5", **changes))
    assert said is not None
    assert said.startswith(message)


def test_spikes_outside_of_a_population_are_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["spikes/timestamps"] = [0.1]
    assert refused(lambda p: read_spikes(p, dt=DT), tmp_path / "a.h5") == "/spikes/timestamps: should be a group"


@pytest.mark.parametrize("group", ["spikes", "nodes", "edges"])
def test_a_file_without_populations_is_refused(tmp_path, group) -> None:
    read = {"spikes": lambda p: read_spikes(p, dt=DT), "nodes": read_nodes, "edges": read_edges}[group]
    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    assert refused(read, tmp_path / "a.h5") == f"/{group}: is missing"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group(group)
    assert refused(read, tmp_path / "a.h5") == f"/{group}: should hold a population, is empty"


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "\0", "é", 'a"b'])
def test_names_that_paths_or_tables_cannot_hold_are_not_written(tmp_path, name) -> None:
    path = tmp_path / "a.h5"
    for write in (
        lambda: write_spikes(path, {name: poisson(1)}),
        lambda: write_nodes(path, {name: 3}),
        lambda: write_edges(path, {name: EdgePopulation(sparse(1), "a", "b")}),
        lambda: write_edges(path, {"c": EdgePopulation(sparse(1), name, "b")}),
        lambda: write_edge_types(path, [name]),
        lambda: write_node_types(path, {name: ("virtual", "NULL")}),
    ):
        with pytest.raises(UsageError, match="population"):
            write()
    assert not path.exists()


def test_what_was_asked_wrongly_is_a_usage_error(tmp_path) -> None:
    path = foreign_spikes(tmp_path / "a.h5")
    with pytest.raises(UsageError, match="dt: must be positive"):
        read_spikes(path, dt=0.0)
    with pytest.raises(UsageError, match="units: must be"):
        read_spikes(path, dt=DT, units="h")
    with pytest.raises(UsageError, match="units: must be"):
        write_spikes(path, {"exc": poisson(1)}, units="us")
    with pytest.raises(UsageError, match="there is none"):
        write_spikes(path, {})


@pytest.mark.parametrize("write", [lambda path, e: write_spikes(path, {"exc": e}), write_ras])
def test_spikes_in_no_order_are_not_written(tmp_path, write) -> None:
    with pytest.raises(UsageError, match="in the order of time"):
        write(tmp_path / "a", SpikeEvents(np.array([1, 2]), np.array([5, 3]), 3, DT, 10))


def test_a_coarser_step_keeps_the_end(tmp_path) -> None:
    events = SpikeEvents(np.array([1]), np.array([8]), 3, DT, 15)
    write_spikes(tmp_path / "a.h5", {"exc": events})
    back = read_spikes(tmp_path / "a.h5", dt=4 * DT)["exc"]
    assert (back.step.tolist(), back.steps) == ([2], 4)  # the last step is half full


# --- populations ------------------------------------------------------------------------------------------------------
def test_populations_come_back_and_libsonata_reads_them(tmp_path) -> None:
    write_nodes(tmp_path / "n.h5", {"exc": 100, "none": 0, "input": 500})
    assert read_nodes(tmp_path / "n.h5") == {"exc": 100, "none": 0, "input": 500}
    storage = libsonata.NodeStorage(str(tmp_path / "n.h5"))
    assert storage.population_names == {"exc", "none", "input"}
    assert storage.open_population("input").size == 500
    write_node_types(tmp_path / "t.csv", {"exc": ("point_neuron", "nest:iaf_psc_exp"), "input": ("virtual", "NULL")})
    assert (tmp_path / "t.csv").read_text() == (
        "node_type_id population model_type model_template\n0 exc point_neuron nest:iaf_psc_exp\n0 input virtual NULL\n"
    )
    with pytest.raises(UsageError, match="model type must be one of"):
        write_node_types(tmp_path / "t.csv", {"exc": ("neuron", "NULL")})
    with pytest.raises(UsageError, match="one word"):
        write_node_types(tmp_path / "t.csv", {"exc": ("virtual", "a b")})


@pytest.mark.parametrize("size", [-1, 10**12])
def test_populations_that_no_file_holds_are_not_written(tmp_path, size) -> None:
    with pytest.raises(UsageError, match="exc: must have 0 to"):
        write_nodes(tmp_path / "n.h5", {"exc": size})


def test_nodes_with_other_ids_than_their_places_are_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file["nodes/exc/node_type_id"] = [0, 0, 0]
        file["nodes/exc/node_id"] = [0, 2, 1]
    assert refused(read_nodes, tmp_path / "n.h5") == "/nodes/exc/node_id: should be 0 to 2 in order"


# --- synapses ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("indices", [True, False])
@pytest.mark.parametrize("delays", [True, False])
def test_synapses_come_back_in_their_order(tmp_path, indices, delays) -> None:
    edges = sparse(3, delays)
    none = listed([], [], [], 2, 3, [] if delays else None)
    written = {"con": EdgePopulation(edges, "in", "exc"), "none": EdgePopulation(none, "exc", "exc")}
    write_edges(tmp_path / "e.h5", written, indices=indices)
    back = read_edges(tmp_path / "e.h5", sizes=None if indices else {"in": 9, "exc": 6})
    assert (back["con"].source, back["con"].target) == ("in", "exc")
    for name in ("pre", "post", "weight", "n_pre", "n_post"):
        np.testing.assert_array_equal(getattr(back["con"].edges, name), getattr(edges, name))
    assert len(back["none"].edges) == 0
    for name, expected in (("con", edges.delay), ("none", none.delay)):
        delay = back[name].edges.delay
        assert (delay is None) == (expected is None)
        if delay is not None and expected is not None:
            np.testing.assert_allclose(delay, expected, rtol=4e-16)


def test_libsonata_reads_the_synapses_that_we_write(tmp_path) -> None:
    edges = sparse(4)
    empty = listed([], [], [], 2, 3)
    populations = {"con": EdgePopulation(edges, "in", "exc"), "none": EdgePopulation(empty, "exc", "exc")}
    write_edges(tmp_path / "e.h5", populations)
    storage = libsonata.EdgeStorage(str(tmp_path / "e.h5"))
    assert storage.population_names == {"con", "none"}
    assert storage.open_population("none").size == 0
    population = storage.open_population("con")
    everything = population.select_all()
    assert (population.size, population.source, population.target) == (40, "in", "exc")
    np.testing.assert_array_equal(population.source_nodes(everything), edges.pre)
    np.testing.assert_array_equal(population.target_nodes(everything), edges.post)
    np.testing.assert_array_equal(population.get_attribute("syn_weight", everything), edges.weight)
    assert edges.delay is not None
    np.testing.assert_allclose(population.get_attribute("delay", everything), edges.delay * 1e3)
    for neuron in range(9):
        assert population.efferent_edges([neuron]).flatten().tolist() == np.flatnonzero(edges.pre == neuron).tolist()
    for neuron in range(6):
        assert population.afferent_edges([neuron]).flatten().tolist() == np.flatnonzero(edges.post == neuron).tolist()
    assert population.connecting_edges([int(edges.pre[7])], [int(edges.post[7])]).flatten().tolist().count(7) == 1


def test_libsonata_builds_the_same_index(tmp_path) -> None:
    population = {"con": EdgePopulation(sparse(5), "in", "exc")}
    write_edges(tmp_path / "ours.h5", population)
    write_edges(tmp_path / "theirs.h5", population, indices=False)
    libsonata.EdgePopulation.write_indices(str(tmp_path / "theirs.h5"), "con", 9, 6)
    with h5py.File(tmp_path / "ours.h5") as ours, h5py.File(tmp_path / "theirs.h5") as theirs:
        for name in ("source_to_target", "target_to_source"):
            for key in ("node_id_to_ranges", "range_to_edge_id"):
                where = f"{CON}/indices/{name}/{key}"
                np.testing.assert_array_equal(ours[where], theirs[where])
    assert read_edges(tmp_path / "theirs.h5")["con"].edges.n_pre == 9


def foreign_edges(path: Path, **changes: Any) -> Path:
    """Synapses as others write them: two groups, of which the second has no delay unless the types have one."""
    held: dict[str, Any] = {
        "source_node_id": np.array([3, 0, 1, 1], np.uint32),
        "target_node_id": np.array([0, 1, 1, 0], np.uint32),
        "edge_type_id": np.array([100, 101, 100, 101]),
        "edge_group_id": np.array([0, 7, 7, 0]),
        "edge_group_index": np.array([1, 0, 1, 0]),
        "0/syn_weight": np.array([0.1, 0.2], np.float32),
        "7/syn_weight": np.array([0.3, 0.4]),
        "7/anything": np.array([b"else"]),
        "source": "in",
    } | changes
    with h5py.File(path, "w") as file:
        group = file.create_group(CON)
        for name, value in held.items():
            if name not in ("source", "target") and value is not None:
                group[name] = value
        for side in ("source", "target"):
            if f"{side}_node_id" in group and held.get(side, "exc") is not None:
                group[f"{side}_node_id"].attrs["node_population"] = held.get(side, "exc")
    return path


def test_synapses_of_several_groups_find_their_weights(tmp_path) -> None:
    (population,) = read_edges(foreign_edges(tmp_path / "e.h5")).values()
    np.testing.assert_array_equal(population.edges.weight, np.array([np.float32(0.2), 0.3, 0.4, np.float32(0.1)]))
    assert (population.edges.n_pre, population.edges.n_post, population.edges.delay) == (4, 2, None)
    sized = read_edges(tmp_path / "e.h5", sizes={"in": 500, "exc": 100, "other": 3})["con"].edges
    assert (sized.n_pre, sized.n_post) == (500, 100)


def test_a_single_group_needs_no_group_numbers(tmp_path) -> None:
    changes = {"edge_group_id": None, "edge_group_index": None, "0/syn_weight": np.array([1.0, 2.0, 3.0, 4.0])}
    edges = read_edges(foreign_edges(tmp_path / "e.h5", **changes))["con"].edges
    np.testing.assert_array_equal(edges.weight, [1, 2, 3, 4])


def test_what_the_groups_do_not_say_the_types_say(tmp_path) -> None:
    types = tmp_path / "types.csv"
    write_edge_types(types, ["con"])
    assert types.read_text() == "edge_type_id population\n0 con\n"
    path = foreign_edges(tmp_path / "e.h5", **{"0/syn_weight": None, "0/x": np.array([1, 2])})
    assert (
        refused(lambda p: read_edges(p, edge_types=types), path)
        == f"{CON}/0: has no syn_weight, which other edges have"
    )
    types.write_text(
        'edge_type_id  population syn_weight delay note\n100 con 5.5 1.5 "two words"\n101 con NULL 2 x\n'
        "101 other 9 9 y\n"
    )
    assert (
        refused(lambda p: read_edges(p, edge_types=types), path)
        == f"{CON}/0: has no syn_weight, which other edges have"
    )
    types.write_text("edge_type_id syn_weight delay\n100 5.5 1.5\n101 6.5 2\n")
    edges = read_edges(path, edge_types=types)["con"].edges
    np.testing.assert_array_equal(edges.weight, [5.5, 0.3, 0.4, 6.5])
    assert edges.delay is not None
    np.testing.assert_allclose(edges.delay, [1.5e-3, 2e-3, 1.5e-3, 2e-3], rtol=1e-15)


@pytest.mark.parametrize(
    "text", ["", "\0", "a b\n1 2\n", "edge_type_id delay\nx 1\n", "edge_type_id delay\n1 y\n", 'edge_type_id\n"1\n']
)
def test_a_table_of_types_that_is_none_is_refused(tmp_path, text) -> None:
    path = foreign_edges(tmp_path / "e.h5")
    types = tmp_path / "types.csv"
    assert refused(lambda table: read_edges(path, edge_types=table), types) == "no such file"
    types.write_text(text)
    said = refused(lambda table: read_edges(path, edge_types=table), types)
    assert str(said).startswith("not a CSV of edge types")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_node_id": None}, f"{CON}/source_node_id: is missing"),
        ({"target_node_id": np.array([0, 1, 1])}, f"{CON}: post: must have an entry for each of 4"),
        ({"target_node_id": np.array([0, 1, -1, 1])}, f"{CON}: post: must lie from 0 to 1, got -1"),
        ({"source_node_id": np.array([0, 1, 1.5, 1])}, f"{CON}/source_node_id: should be whole numbers"),
        ({"source_node_id": np.array([0, 1, 2**63, 1], np.uint64)}, f"{CON}: n_pre: must be a whole number"),
        ({"source": None}, f"{CON}/source_node_id: has no attribute node_population"),
        ({"target": 5}, f"{CON}/target_node_id: has no attribute node_population"),
        ({"edge_type_id": None}, f"{CON}/edge_type_id: is missing"),
        ({"edge_type_id": np.array([100])}, f"{CON}/edge_type_id: should have 4 entries, has 1"),
        ({"edge_group_id": np.array([0, 7])}, f"{CON}/edge_group_id: should have 4 entries, has 2"),
        ({"edge_group_index": None}, f"{CON}/edge_group_index: is missing"),
        ({"edge_group_id": np.array([0, 7, 8, 0])}, f"{CON}/8: is missing"),
        ({"edge_group_index": np.array([2, 0, 1, 0])}, f"{CON}/0/syn_weight: has 2 entries; edge_group_index"),
        ({"edge_group_index": np.array([-1, 0, 1, 0])}, f"{CON}/0/syn_weight: has 2 entries; edge_group_index"),
        ({"7/syn_weight": np.array([np.nan, 0.4])}, f"{CON}: weight: must be finite, got nan for synapse 1"),
        ({"7/syn_weight": None}, f"{CON}/7: has no syn_weight, which other edges have"),
        ({"7/syn_weight": None, "0/syn_weight": None, "0/x": 1}, f"{CON}: has no syn_weight"),
        ({"0/delay": np.array([1.0, 1.0])}, f"{CON}/7: has no delay, which other edges have"),
        (
            {"0/delay": np.array([1.0, -1.0]), "7/delay": np.ones(2)},
            f"{CON}: delay: must not be negative, got -0.001 s",
        ),
        ({"7/nsyns": np.array([1, 3])}, f"{CON}/7/nsyns: counts several synapses"),
        (
            {"indices/source_to_target/node_id_to_ranges": np.zeros((3, 2), int)},
            f"{CON}: pre: must lie from 0 to 2, got 3",
        ),
        (
            {"indices/source_to_target/node_id_to_ranges": np.zeros(3)},
            f"{CON}/indices/source_to_target/node_id_to_ranges: ",
        ),
    ],
)
def test_damaged_and_foreign_synapses_are_refused(tmp_path, changes, message) -> None:
    said = refused(read_edges, foreign_edges(tmp_path / "e.h5", **changes))
    assert said is not None
    assert said.startswith(message)


def test_more_groups_than_anybody_has_are_refused(tmp_path) -> None:
    columns = ("source_node_id", "target_node_id", "edge_type_id", "edge_group_id", "edge_group_index")
    changes = dict.fromkeys(columns, np.arange(1500))
    said = refused(read_edges, foreign_edges(tmp_path / "e.h5", **changes))
    assert said == f"{CON}/edge_group_id: names 1,500 groups, should be 1,000 at most"


def test_an_index_of_more_neurons_than_anybody_simulates_is_not_written(tmp_path) -> None:
    population = EdgePopulation(listed([], [], [], 10**9, 2), "in", "exc")
    with pytest.raises(UsageError, match="in: an index takes"):
        write_edges(tmp_path / "e.h5", {"con": population})
    write_edges(tmp_path / "e.h5", {"con": population}, indices=False)
    assert read_edges(tmp_path / "e.h5", sizes={"in": 10**9})["con"].edges.n_pre == 10**9


def test_ids_beyond_the_population_are_refused(tmp_path) -> None:
    said = refused(lambda path: read_edges(path, sizes={"in": 3}), foreign_edges(tmp_path / "e.h5"))
    assert said == f"{CON}: pre: must lie from 0 to 2, got 3"


# --- any file ---------------------------------------------------------------------------------------------------------
def _good(kind: str, path: Path) -> Any:
    if kind == "spikes":
        write_spikes(path, {"exc": poisson(1, 3)})
        return lambda p: read_spikes(p, dt=DT)
    if kind == "nodes":
        write_nodes(path, {"exc": 5, "in": 2})
        return read_nodes
    write_edges(path, {"con": EdgePopulation(sparse(1), "in", "exc")})
    return read_edges


@pytest.mark.parametrize("kind", ["spikes", "nodes", "edges"])
@FAST
@given(edits=EDITS)
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(tmp_path, kind, edits) -> None:
    path = tmp_path / "a.h5"
    read = _good(kind, path)
    path.write_bytes(edited(path.read_bytes(), edits))
    refused(read, path)


@pytest.mark.parametrize("kind", ["spikes", "nodes", "edges"])
@FAST
@given(where=st.integers(0, 2**20))
def test_a_file_cut_short_is_refused(tmp_path, kind, where) -> None:
    path = tmp_path / "a.h5"
    read = _good(kind, path)
    content = path.read_bytes()
    path.write_bytes(content[: where % len(content)])
    assert refused(read, path) is not None
