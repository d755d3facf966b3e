import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.data.cifar import parse_batch, parse_meta
from foundation.errors import RatespikeError

TITLE = "training batch 1 of 5"
Make = Callable[..., bytes]


def read(content: bytes, n_images: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return parse_batch(content, "batch", TITLE, n_images, 10)


def test_reads_a_batch_of_python_2(make_batch: Make) -> None:
    pixels = np.arange(3 * 3072, dtype=np.uint32).astype(np.uint8)
    images, labels = read(make_batch([3, 0, 9], title=TITLE, pixels=pixels.tobytes()))
    assert images.dtype == np.uint8
    assert np.array_equal(images, pixels.reshape(3, 3, 32, 32))
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, 0, 9]


def test_the_small_batch_is_what_an_ordinary_unpickler_reads(make_batch: Make) -> None:
    """So that the tests' own files are in the official format."""
    batch = pickle.loads(make_batch([3, 0, 9], title=TITLE), encoding="bytes")
    assert batch[b"data"].shape == (3, 3072)
    assert batch[b"data"].dtype == np.uint8


def test_reads_the_class_names(make_meta: Make) -> None:
    assert parse_meta(make_meta(("cat", "dog")), "meta") == ("cat", "dog")


def refused(content: bytes, complaint: str) -> None:
    with pytest.raises(RatespikeError, match=f"^batch: {complaint}") as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_refuses_the_test_batch_in_a_train_batchs_place(make_batch: Make) -> None:
    refused(make_batch([3, 0, 9], title="testing batch 1 of 1"), "is b'testing batch 1 of 1', should be b'training")


def test_refuses_labels_out_of_range(make_batch: Make) -> None:
    refused(make_batch([3, 10, 9], title=TITLE), "label 10, should be 0 to 9")


@pytest.mark.parametrize("n", [2, 4])
def test_refuses_another_number_of_images(make_batch: Make, n: int) -> None:
    refused(make_batch([1] * n, title=TITLE), f"holds {n} images, {n} labels and {n} file names, should be 3 of each")


def test_refuses_unequal_numbers_of_images_and_labels(make_batch: Make) -> None:
    refused(make_batch([1] * 3, title=TITLE, pixels=bytes(2 * 3072)), "holds 2 images, 3 labels")


@pytest.mark.parametrize(
    "change", [{"dtype": b"f1"}, {"dtype": b"O8"}, {"width": 1024}, {"pixels": bytes(3072 * 3 - 5)}]
)
def test_refuses_another_shape_type_or_length(make_batch: Make, change: dict[str, Any]) -> None:
    refused(make_batch([1] * 3, title=TITLE, **change), "data should be an array of N x 3072 unsigned bytes")


def test_refuses_trailing_bytes(make_batch: Make) -> None:
    refused(make_batch([1] * 3, title=TITLE) + b"more", "4 trailing bytes after the pickle")


def test_refuses_every_cut(make_batch: Make) -> None:
    content = make_batch([1] * 3, title=TITLE)
    for cut in (0, 1, 2, 10, 60, 100, 200, len(content) // 2, len(content) - 1):
        refused(content[:cut], "not a whole CIFAR-10 pickle")


def test_refuses_other_content(make_meta: Make) -> None:
    refused(make_meta(("cat",)), "should be a dict of batch_label, data, filenames, labels")
    refused(pickle.dumps([1, 2], protocol=2), "should be a dict of")
    with pytest.raises(RatespikeError, match=r"^meta: label_names should be a list of bytes"):
        parse_meta(make_meta(("cat",)).replace(b"U\x03cat", b"K\x00"), "meta")


class _Attack:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_not_executed(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "executed"
    for attack in (_Attack(os.mkdir, str(trap)), _Attack(eval, f"__import__('os').mkdir({str(trap)!r})")):
        content = pickle.dumps({"labels": attack}, protocol)
        pickle.loads(content)  # the attack works ...
        trap.rmdir()
        refused(content, "not a whole CIFAR-10 pickle .names ")  # ... but not on us
        assert not trap.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"cnumpy\nload\n.",
        b"cnumpy\nndarray.tofile\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n}U\x08__code__K\x00s\x86b.",  # state that goes to attributes
        b"cnumpy\ndtype\nN}U\x0c__defaults__K\x00s\x86b.",
        b"\x82\x01.",  # an extension
        b"U\x02idQ.",  # a persistent id
    ],
)
def test_refuses_names_and_tricks_that_official_files_do_not_need(body: bytes) -> None:
    refused(b"\x80\x02" + body, "not a whole CIFAR-10 pickle")


def test_what_cannot_be_printed_is_not_shown(make_batch: Make) -> None:
    content = make_batch([3], title=TITLE).replace(b"cnumpy\ndtype", b"cnumpy\n\x1b[2Jdt")
    refused(content, r"not a whole CIFAR-10 pickle \(names numpy\.\?\[2Jdt, which")
