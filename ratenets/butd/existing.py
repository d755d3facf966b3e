"""Weights of bottom-up / top-down networks that others trained, or we did: read without running anything, all or none.

The reference (royabel/Top-Down-Networks) calls its layers ``core_net.layers.N`` (in ResNets ``core_net.conv1``,
``layerN.M`` and ``conv_pooling``), ``head_layer`` and ``task_head.N``, and their tensors ``weight``, ``bias``,
``back_weight`` and ``back_bias``. The same tensors come again under further names, which must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from foundation.errors import RatespikeError, UsageError
from foundation.text import one_line
from ratenets.archives import Archive, Stored, opened
from ratenets.butd.existing_config import read_config
from ratenets.existing.contents import COUNTERS, state_of, stored_tensor, values_like
from ratenets.run_folder import CHECKPOINT

__all__ = ["Loaded", "load_weights", "read_config"]

PREFIX = re.compile(r"^(?:(?:module|_orig_mod)\.)+")
"""Of a model within another: DataParallel's, torch.compile's."""

OWN = re.compile(r"(?:core|head|instruction)\.")
OF_RESNET = re.compile(r"core_net\.(?:conv1|layer\d)\.")
BLOCK = re.compile(r"core_net\.layer(\d)(?:\.(\d{1,2}))?(?=\.)")

PARTS = {"weight": "W", "bias": "b", "back_weight": "V", "back_bias": "c"}
CONVOLUTIONS = {"conv1": "conv1", "conv2": "conv2", "downsample": "shortcut"}
NORMS = {"bn1": "conv1", "bn2": "conv2", "downsample_norm_layer": "shortcut"}
"""In a residual block: the reference's batch norms, and our convolutions that they are of."""
TOP_DOWN_NORM = ".back_batch_norm"

OPTIONAL = (
    ("an instruction head", "guided", re.compile(r"instruction\.")),
    ("batch norm", "norm", re.compile(r".*\.norm\.")),
    ("top-down biases", "td-bias", re.compile(r".*\.c$")),
    ("biases", "bias", re.compile(r".*\.b$")),
)
"""What a network may have or not: in words, its flag, and our names of its tensors."""


@dataclass(frozen=True)
class Loaded:
    """What became of a file.

    Attributes:
        path: the file.
        source: whose it is, in words.
        taken: our name for each tensor that got values, and the file's name for these.
        duplicates: the file's other names for them.
        epoch: of the training, as the file has it; None: it does not say.
        notes: what is not quite as it was there, in words.
    """

    path: Path
    source: str
    taken: Mapping[str, str]
    duplicates: tuple[str, ...]
    epoch: int | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        twice = f" ({len(self.duplicates)} of them twice)" if self.duplicates else ""
        taken = f"{self.path}: a network of {self.source}{epoch}: {len(self.taken)} tensors taken{twice}"
        return "; ".join([taken, *self.notes])


@dataclass
class Found:
    """The tensors of a file by our names, the file's names for them, and its others, which should be duplicates."""

    stored: dict[str, Stored]
    theirs: dict[str, str]
    others: dict[str, Stored]


def load_weights(path: Path, network: nn.Module) -> Loaded:
    """Put the weights of a checkpoint into `network`; nothing in the file is executed, and only tensors are taken.

    Known are the reference's .pth files (a state dict), its .tar files (one among other things), and runs of ours.

    Two things are not as the reference's file has them, and the notes say so. Its ResNets tie the 1 x 1 shortcuts even
    where all other weights are separate: their V starts as W. Its convolutions have top-down biases that it never adds:
    they are 0.

    Args:
        path: a file of `torch.save`, or the folder of a run.
        network: a `ButdNetwork`, which takes the weights in its own precision; it stays as it was if it cannot.

    Raises:
        UsageError: the weights are whole, and of another network than this one; the message names a tensor, or the
            option that would fit.
        RatespikeError: the file is missing, damaged or hostile, or holds something else.
    """
    file = path / CHECKPOINT if path.is_dir() else path
    wanted = network.state_dict()
    try:
        with opened(file) as archive:
            state, own, epoch = state_of(archive.root)
            own = own or any(OWN.match(_bare(name)) for name in state)
            found = _found(archive, state, wanted, own)
            _check_duplicates(found)
            notes = _fit_regime(found, wanted, own)
            _compare(found, wanted)
            values = {
                name: values_like(one_line(found.theirs[name]), each, wanted[name])
                for name, each in found.stored.items()
            }
    except RatespikeError as error:
        raise type(error)(f"{file}: {error}") from None
    if not own:
        notes += _silence(values, wanted)
    network.load_state_dict({**wanted, **values})
    source = "ratespike" if own else "the reference"
    return Loaded(file, source, found.theirs, tuple(found.others), epoch, notes)


def _bare(name: str) -> str:
    return PREFIX.sub("", name)


def _found(archive: Archive, state: Mapping[str, object], wanted: Mapping[str, Tensor], own: bool) -> Found:
    """Sort a file's tensors by name."""
    places = {} if own else _places([_bare(name) for name in state])
    found = Found({}, {}, {})
    for name, value in state.items():
        bare = _bare(name)
        ours = bare if own else _ours(bare, places, wanted)
        if ours is None and not bare.startswith("core_net."):
            raise RatespikeError(f"{one_line(name)} is no part of a bottom-up / top-down network")
        stored = stored_tensor(archive, name, value)
        if ours is None or ours in found.stored:
            found.others[name] = stored
        else:
            found.stored[ours], found.theirs[ours] = stored, name
    return found


def _places(names: Sequence[str]) -> dict[str, str]:
    """The reference's modules that hold the tensors with these names, and our layers that they are."""
    resnet = any(OF_RESNET.match(name) for name in names)
    modules = {name.rpartition(".")[0] for name in names}
    numbered = {r"task_head\.(\d{1,2})": "instruction"} | ({} if resnet else {r"core_net\.layers\.(\d{1,3})": "core"})
    places = {"head_layer": "head"}
    for pattern, part in numbered.items():
        places |= {match[0]: f"{part}.{int(match[1])}" for m in modules if (match := re.fullmatch(pattern, m))}
    if not resnet:
        return places
    found = (BLOCK.match(name) for name in names)
    blocks = sorted({(int(match[1]), int(match[2] or 0), match[0]) for match in found if match})
    for number, (*_, block) in enumerate(blocks, 1):
        places |= {f"{block}.{theirs}": f"core.{number}.{ours}" for theirs, ours in (CONVOLUTIONS | NORMS).items()}
    pooling = {"core_net.conv_pooling": f"core.{len(blocks) + 1}"}
    return places | {"core_net.conv1": "core.0", "core_net.bn1": "core.0"} | pooling


def _ours(name: str, places: Mapping[str, str], wanted: Mapping[str, Tensor]) -> str | None:
    """Our name for a tensor of the reference; None: it is no name that counts."""
    module, _, leaf = name.rpartition(".")
    bottom_up = module.removesuffix(TOP_DOWN_NORM)
    if bottom_up not in places:
        return None
    if bottom_up.rpartition(".")[2] in NORMS:
        return f"{places[bottom_up]}.norm.{'bu' if bottom_up == module else 'td'}.{leaf}"
    if leaf not in PARTS or bottom_up != module:
        return None
    inner = ".layer" if f"{places[module]}.layer.W" in wanted else ""  # with batch norm
    return f"{places[module]}{inner}.{PARTS[leaf]}"


def _check_duplicates(found: Found) -> None:
    """Refuse a second name for a tensor that holds other values than the first."""
    for name, other in found.others.items():
        leaf = name.rpartition(".")[2]
        alike = (each for ours, each in found.stored.items() if found.theirs[ours].rpartition(".")[2] == leaf)
        if not any(_same(each, other) for each in alike):
            raise RatespikeError(f"{one_line(name)}: is no part of the network, and no duplicate of one")


def _same(one: Stored, other: Stored) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    if (one.key, one.offset, one.stride) == (other.key, other.offset, other.stride):
        return True
    return torch.equal(one.tensor(), other.tensor())


def _fit_regime(found: Found, wanted: Mapping[str, Tensor], own: bool) -> tuple[str, ...]:
    """Compare tied and separate weights; give shortcuts that the reference ties their W as V."""
    has_own = [name for name in found.stored if name.endswith(".V")]
    lacks = [name for name in wanted if name.endswith(".V") and name not in found.stored]
    if not any(name.endswith(".V") for name in wanted):
        for name in has_own:
            _drop_tied(found, name)
        return ()
    if lacks and not has_own:
        raise UsageError(f"lacks {lacks[0]}: its weights are tied, those here are not; --weights tied would fit")
    tied = [] if own else [name for name in lacks if ".shortcut." in name and _forward(name) in found.stored]
    for name in tied:
        found.stored[name], found.theirs[name] = found.stored[_forward(name)], found.theirs[_forward(name)]
    shortcuts = f"{len(tied)} shortcuts are tied there: their top-down weights start as the bottom-up ones"
    return (shortcuts,) if tied else ()


def _drop_tied(found: Found, name: str) -> None:
    """Take a V for a second name of its W, or refuse it."""
    theirs, stored, forward = found.theirs.pop(name), found.stored.pop(name), found.stored.get(_forward(name))
    W = None if forward is None else forward.tensor()
    if W is None or not torch.equal(stored.tensor(), W.T if W.dim() == 2 else W):
        raise UsageError(f"{one_line(theirs)}: is not tied, the network here is; --weights separate would fit")
    found.others[theirs] = stored


def _forward(name: str) -> str:
    """The W of a V."""
    return name.removesuffix("V") + "W"


def _compare(found: Found, wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of the network."""
    for name, stored in found.stored.items():
        if name in wanted and stored.shape != tuple(wanted[name].shape):
            there, here = list(stored.shape), list(wanted[name].shape)
            raise UsageError(f"{one_line(found.theirs[name])}: is {there}, {here} here")
    unknown = [name for name in found.stored if name not in wanted]
    missing = [name for name in wanted if name not in found.stored and not name.endswith(COUNTERS)]
    for text, flag, part in OPTIONAL:
        if unknown and not missing and all(part.match(name) for name in unknown):
            raise UsageError(f"{one_line(found.theirs[unknown[0]])}: has {text}; --{flag} would fit")
        if missing and not unknown and all(part.match(name) for name in missing):
            raise UsageError(f"lacks {missing[0]}: has no {text}; --no-{flag} would fit")
    if unknown:
        raise UsageError(f"{one_line(found.theirs[unknown[0]])} is no part of the network here")
    if missing:
        raise UsageError(f"lacks {missing[0]}, and {len(missing) - 1} more of {len(wanted)}")


def _silence(values: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Set top-down biases of convolutions to 0: the reference has them, and never adds them."""
    idle = [name for name in values if name.endswith(".c") and wanted[name.removesuffix("c") + "W"].dim() == 4]
    values |= {name: torch.zeros_like(wanted[name]) for name in idle}
    return ("top-down biases of convolutions, which it never adds there, are 0",) if idle else ()
