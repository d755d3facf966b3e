import numpy as np
import pytest
import torch
from torch.func import vmap

from foundation.errors import UsageError
from ratenets.butd.tasks import (
    KINDS,
    BinaryAttributes,
    LeftRight,
    LeftRightOf,
    Single,
    Tasks,
    check_labels,
    tasks_of,
)

PAIRS = torch.tensor([[3, 5], [0, 2], [4, 4]])
EVERY = [
    (Single(), 10),
    (LeftRight(), 10),
    (LeftRightOf(10), 10),
    (BinaryAttributes(("bald", "male", "young")), 2),
]


def draw(tasks: Tasks, n_classes: int, n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(n_classes, (n, len(tasks.names)), generator=generator)
    return labels, torch.randint(len(tasks.names), (n,), generator=generator)


def test_left_and_right_are_asked_by_one_of_two_bits() -> None:
    tasks, task = LeftRight(), torch.tensor([0, 1, 1])
    assert (tasks.names, tasks.size) == (("left", "right"), 2)
    assert tasks.instructions(PAIRS, task).tolist() == [[1, 0], [0, 1], [0, 1]]
    assert tasks.answers(PAIRS, task).tolist() == [3, 2, 4]


def test_a_neighbour_is_asked_for_by_direction_and_name() -> None:
    tasks, task = LeftRightOf(6), torch.tensor([0, 1, 0])
    assert (tasks.names, tasks.size) == (("left of", "right of"), 8)
    assert tasks.instructions(PAIRS, task).tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 1],  # left of the 5
        [0, 1, 1, 0, 0, 0, 0, 0],  # right of the 0
        [1, 0, 0, 0, 0, 0, 1, 0],  # left of the 4
    ]
    assert tasks.answers(PAIRS, task).tolist() == [3, 2, 4]


def test_an_attribute_is_asked_for_by_its_bit() -> None:
    tasks = BinaryAttributes(("bald", "male", "young"))
    labels, task = torch.tensor([[0, 1, 1], [1, 0, 1]]), torch.tensor([1, 1])
    assert (tasks.names, tasks.size) == (("bald", "male", "young"), 3)
    assert tasks.instructions(labels, task).tolist() == [[0, 1, 0], [0, 1, 0]]
    assert tasks.answers(labels, task).tolist() == [1, 0]


def test_a_single_task_is_the_class() -> None:
    tasks, labels = Single(), torch.tensor([[7], [2]])
    assert (tasks.names, tasks.size) == (("class",), 1)
    assert tasks.instructions(labels, torch.zeros(2, dtype=torch.int64)).tolist() == [[1], [1]]
    assert tasks.answers(labels, torch.zeros(2, dtype=torch.int64)).tolist() == [7, 2]


@pytest.mark.parametrize(("tasks", "n_classes"), EVERY, ids=KINDS)
def test_shapes_types_and_places(tasks: Tasks, n_classes: int, each_device: str) -> None:
    labels, task = (x.to(each_device) for x in draw(tasks, n_classes))
    instructions, answers = tasks.instructions(labels, task), tasks.answers(labels, task)
    assert instructions.shape == (50, tasks.size)
    assert instructions.dtype == torch.get_default_dtype()
    assert answers.shape == (50,)
    assert answers.dtype == torch.int64
    assert instructions.device == answers.device == labels.device


@pytest.mark.parametrize(("tasks", "n_classes"), EVERY, ids=KINDS)
def test_vmap_over_samples_and_over_tasks_gives_the_same(tasks: Tasks, n_classes: int) -> None:
    labels, task = draw(tasks, n_classes)
    assert torch.equal(vmap(tasks.instructions)(labels, task), tasks.instructions(labels, task))
    assert torch.equal(vmap(tasks.answers)(labels, task), tasks.answers(labels, task))
    all_tasks = torch.arange(len(tasks.names))[:, None].expand(-1, len(labels))
    answers = vmap(tasks.answers, in_dims=(None, 0))(labels, all_tasks)
    assert torch.equal(answers, labels.T)


@pytest.mark.parametrize(("tasks", "n_classes"), EVERY, ids=KINDS)
def test_the_kind_names_the_tasks(tasks: Tasks, n_classes: int) -> None:
    attributes = tasks.names if tasks.kind == "attribute" else ()
    assert tasks_of(tasks.kind, n_classes, attributes) == tasks


def test_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^task: must be one of class, left/right, .*, attribute, got 'above'$"):
        tasks_of("above", 10)


def test_labels_out_of_range_are_refused_with_their_row() -> None:
    labels = np.zeros((6, 2), np.int64)
    check_labels(labels, LeftRight(), 10)
    labels[3, 1], labels[4, 0] = 12, 10
    with pytest.raises(UsageError, match=r"^labels: 12 at row 3 is not one of 10 classes$"):
        check_labels(labels, LeftRight(), 10)
    with pytest.raises(UsageError, match=r"^labels: -1 at row 0 is not one of 10 classes$"):
        check_labels(torch.tensor([[-1, 0]]), LeftRight(), 10)


def test_a_yes_or_no_is_0_or_1() -> None:
    tasks = BinaryAttributes(("bald", "male"))
    check_labels(torch.tensor([[0, 1]]), tasks, 1)
    with pytest.raises(UsageError, match=r"^labels: 2 at row 1 is not one of 2 classes$"):
        check_labels(torch.tensor([[0, 1], [2, 0]]), tasks, 1)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (torch.zeros(4), "float32 (4,)"),
        (torch.zeros(4, 2), "float32 (4, 2)"),
        (torch.zeros(4, 1, dtype=torch.int64), "int64 (4, 1)"),
    ],
)
def test_labels_of_another_shape_or_type_are_refused(labels: torch.Tensor, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_labels(labels, LeftRight(), 10)
    assert str(caught.value) == f"labels: are {found}, should be int64 (N, 2), one for each left/right"
