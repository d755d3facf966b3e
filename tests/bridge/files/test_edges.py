"""Synapses as a list: what is in a matrix is in the list, and lists that no network could have are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.files.edges import MOST_NEURONS, Edges
from foundation.errors import UsageError

listed: Any = Edges  # lists do as well as arrays
GOOD: dict[str, Any] = {"pre": [0, 2, 2], "post": [1, 0, 1], "weight": [0.5, -1.0, 0.0], "n_pre": 3, "n_post": 2}


@given(rows=st.integers(0, 6), columns=st.integers(0, 6), seed=st.integers(0, 99), density=st.floats(0, 1))
def test_a_matrix_and_its_list_are_the_same(rows, columns, seed, density) -> None:
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < density)
    edges = Edges.of_dense(W)
    assert (edges.n_pre, edges.n_post, len(edges)) == (columns, rows, int(np.count_nonzero(W)))
    np.testing.assert_array_equal(edges.dense(), W)
    x = rng.normal(size=columns)
    np.testing.assert_allclose(np.bincount(edges.post, edges.weight * x[edges.pre], rows), W @ x, atol=1e-12)
    key = edges.pre * 10 + edges.post
    assert (np.diff(key) > 0).all()  # by presynaptic neuron, then by postsynaptic one


def test_synapses_keep_their_order_until_they_are_ordered() -> None:
    edges = listed([2, 0, 2, 2], [1, 1, 0, 1], [1.0, 2.0, 3.0, 4.0], 3, 2, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(edges.weight, [1, 2, 3, 4])
    ordered = edges.ordered()
    np.testing.assert_array_equal(ordered.pre, [0, 2, 2, 2])
    np.testing.assert_array_equal(ordered.post, [1, 0, 1, 1])
    np.testing.assert_array_equal(ordered.weight, [2, 3, 1, 4])
    np.testing.assert_array_equal(ordered.delay, [0.2, 0.3, 0.1, 0.4])


def test_a_list_is_a_copy_that_cannot_be_changed() -> None:
    weight = np.array([0.5, -1.0, 0.0])
    edges = listed(**{**GOOD, "weight": weight})
    weight[0] = 7
    assert edges.weight[0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        edges.weight[0] = 7


def test_a_matrix_holds_one_synapse_between_two_neurons() -> None:
    edges = listed([0, 1, 0], [1, 1, 1], [1.0, 2.0, 3.0], 2, 2)
    assert edges.repeated() == (0, 1)
    with pytest.raises(UsageError, match="more than one synapse from 0 to 1"):
        edges.dense()
    assert listed(**GOOD).repeated() is None


def test_a_matrix_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(UsageError, match="dense"):
        listed([], [], [], 10**6, 10**6).dense()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pre", [0, 1], "post: must have an entry for each of 2"),
        ("pre", [0, 1, 3], "pre: must lie from 0 to 2, got 3"),
        ("pre", [0, 1, -1], "pre: must lie from 0 to 2, got -1"),
        ("pre", [0.0, 1.0, 2.0], "pre: must be a list of whole numbers"),
        ("pre", [[0, 1, 2]], "pre: must be a list"),
        ("post", np.array([2**63], np.uint64), "post: must lie from 0 to 1, got 9223372036854775808"),
        ("weight", [1.0, np.nan, 0.0], "weight: must be finite, got nan for synapse 1"),
        ("weight", [1.0, 2.0], "weight: must have an entry for each of 3"),
        ("weight", ["a", "b", "c"], "weight: must be a list of numbers"),
        ("delay", [0.1, 0.1], "delay: must have an entry for each of 3"),
        ("delay", [0.1, np.inf, 0.1], "delay: must be finite"),
        ("delay", [0.1, -0.2, 0.1], "delay: must not be negative, got -0.2 s"),
        ("n_pre", -1, "n_pre: must be a whole number"),
        ("n_pre", 2.5, "n_pre: must be a whole number"),
        ("n_post", True, "n_post: must be a whole number"),
        ("n_post", MOST_NEURONS + 1, "n_post: must be a whole number"),
    ],
)
def test_a_wrong_field_is_named(field, value, message) -> None:
    with pytest.raises(UsageError) as caught:
        listed(**{**GOOD, field: value})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("weight", [np.ones(3), np.ones((1, 2, 3)), [["a"]], [[np.inf]]])
def test_only_a_matrix_of_finite_numbers_has_a_list(weight) -> None:
    with pytest.raises(UsageError, match="weight"):
        Edges.of_dense(weight)
