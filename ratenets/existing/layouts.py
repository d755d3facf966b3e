"""Whose checkpoints name which weight how, and what each is called in our encoders.

Read in fmi-basel/latent-predictive-learning (the authors'; `models/` at dd486d0 and 4e37abf), martinosorb/LPL
(`lpl/model.py` at 00da686) and torchvision's published weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, NoReturn

from foundation.errors import RatespikeError, UsageError
from foundation.text import one_line
from ratenets.lpl.encoders import EncoderConfig, alexnet, resnet, vgg
from ratenets.lpl.encoders.encoder import scaled

DEEPEST = 8
"""Parts of a name that a layout knows, at most; what stands before them is a prefix, and may be anything."""

VGG_PLACES = (0, 3, 6, 8, 11, 13, 16, 18)
"""Of the convolutions in torchvision's `vgg11().features`."""
ALEXNET_PLACES = {"features.0": 0, "features.3": 1, "features.6": 2, "features.8": 3, "features.10": 4}
ALEXNET_DENSE = {"classifier.1": "5.layers.2", "classifier.4": "6.layers.1"}
"""torchvision's dense layers, which the paper's AlexNet has as convolutions (6 x 6 and 1 x 1)."""

SPARED = {
    r"(?:projectors?|projection_head|projection)\.": "projector",
    r"classifier_heads\.": "classifier",
    r"(?:classifier|fc|linear|readout)\.": "classifier",
    r"losses\.": "losses",
}
"""Parts of a network that no encoder has, and what they are."""


class Layout(NamedTuple):
    """One way to name an encoder's weights.

    Attributes:
        source: whose it is.
        kind: of the encoder; "" if it may be any.
        names: patterns of theirs, and ours.
    """

    source: str
    kind: str
    names: Mapping[str, str]

    def ours(self, name: str) -> str | None:
        """What one of their weights is called in our encoder, without a prefix; None: it is none of this layout."""
        for pattern, target in self.names.items():
            if match := re.fullmatch(pattern, name):
                return match.expand(target)
        return None


RESNET = {
    r"conv1\.weight": "blocks.0.conv1.weight",
    r"bn1\.(\w+)": r"blocks.0.bn1.\1",
    r"layer([1-4])\.(.+)": r"blocks.\1.layers.\2",
}
OWN = Layout("ratespike", "", {r"(blocks\.\d+\..+)": r"\1"})
LAYOUTS = (
    Layout("the authors' code", "vgg", {r"blocks\.([0-7])\.module\.0\.(weight|bias)": r"blocks.\1.synapses.\2"}),
    Layout("the authors' code", "alexnet", {r"blocks\.([0-6])\.([012])\.(weight|bias)": r"blocks.\1.layers.\2.\3"}),
    Layout(
        "martinosorb/LPL",
        "vgg",
        {rf"model\.{n}\.(weight|bias)": rf"blocks.{i}.synapses.\1" for i, n in enumerate(VGG_PLACES)},
    ),
    Layout(
        "torchvision",
        "vgg",
        {rf"features\.{n}\.(weight|bias)": rf"blocks.{i}.synapses.\1" for i, n in enumerate(VGG_PLACES)},
    ),
    Layout(
        "torchvision",
        "alexnet",
        {rf"{re.escape(n)}\.(weight|bias)": rf"blocks.{i}.layers.0.\1" for n, i in ALEXNET_PLACES.items()}
        | {rf"{re.escape(n)}\.(weight|bias)": rf"blocks.{i}.\1" for n, i in ALEXNET_DENSE.items()},
    ),
    Layout("torchvision or the authors' code", "resnet", RESNET),
    OWN,
)


class Sorted(NamedTuple):
    """A checkpoint's names: their layout, our name for each of theirs that is wanted, and what the others are.

    Attributes:
        part: the dictionary of the checkpoint that they are in, see `contents.Contents`.
        prefix: before each name that is wanted.
    """

    layout: Layout
    taken: dict[str, str]
    left: dict[str, str]
    part: str
    prefix: str

    @property
    def place(self) -> str:
        """Dictionary and prefix, as `--prefix` takes them."""
        return ".".join(word for word in (self.part, self.prefix.rstrip(".")) if word)


def sort(parts: Mapping[str, Iterable[str]], own: bool, prefix: str = "") -> Sorted:
    """Recognise whose names these are: the encoder is the largest sub-tree that is laid out as one of those known.

    Args:
        parts: names, by the dictionary in which they are.
        own: they are known to be ours.
        prefix: of the sub-tree, where several are alike.

    Raises:
        RatespikeError: they are nobody's, or of a network that is no encoder here; the message says which, or names
            the first that does not belong.
        UsageError: several sub-trees are alike; or none has that prefix.
    """
    found = [each for part, names in parts.items() for each in _sub_trees(part, list(names), own)]
    if not found:
        first = next((name for names in parts.values() for name in names), "")
        raise RatespikeError(f"holds no encoder that is known here, but {one_line(first, 80)} ...")
    wanted = prefix.strip(".")
    if wanted:
        found = [each for each in found if wanted in (each.place, each.prefix.rstrip("."))] or _none_there(
            wanted, found
        )
    most = max(len(each.taken) for each in found)
    alike: dict[str, Sorted] = {}
    for each in found:
        if len(each.taken) == most:
            alike.setdefault(each.place, each)  # of one place, the first layout
    if len(alike) > 1:
        alike = _with_most_beside(alike, parts)
    if len(alike) > 1:
        places = one_line(", ".join(place or "(no prefix)" for place in alike))
        raise UsageError(f"holds several encoders that are alike: {places}; say which one to import with --prefix")
    (chosen,) = alike.values()
    return _checked(chosen, list(parts[chosen.part]))


def _none_there(prefix: str, found: list[Sorted]) -> NoReturn:
    places = one_line(", ".join(dict.fromkeys(each.place or "(no prefix)" for each in found)))
    raise UsageError(f"--prefix: no encoder at {one_line(prefix, 60)!r}; there are {places}")


def _with_most_beside(alike: dict[str, Sorted], parts: Mapping[str, Iterable[str]]) -> dict[str, Sorted]:
    """Of encoders that are alike those beside which there is most: a head, say, which a momentum twin has not."""

    def beside(each: Sorted) -> int:
        others = [other.prefix for other in alike.values() if len(other.prefix) > len(each.prefix)]
        names = [name for name in parts[each.part] if name.startswith(each.prefix)]
        return sum(not any(name.startswith(prefix) for prefix in others) for name in names)

    most = max(map(beside, alike.values()))
    return {place: each for place, each in alike.items() if beside(each) == most}


def _sub_trees(part: str, names: list[str], own: bool) -> Iterator[Sorted]:
    """The sub-trees of names that some layout knows, whole or not."""
    taken: dict[tuple[int, str], dict[str, str]] = {}
    layouts = (OWN,) if own else LAYOUTS
    for name in names:
        words = name.split(".")
        for start in range(max(0, len(words) - DEEPEST), len(words)):
            rest, prefix = ".".join(words[start:]), "".join(f"{word}." for word in words[:start])
            for number, layout in enumerate(layouts):
                if (ours := layout.ours(rest)) is not None:
                    taken.setdefault((number, prefix), {})[name] = ours
    for (number, prefix), found in taken.items():
        yield Sorted(layouts[number], found, {}, part, prefix)


def _checked(chosen: Sorted, names: list[str]) -> Sorted:
    """The sub-tree with what is left aside; refused if it is a relative of an encoder of ours, or has more than one."""
    inside = {name: name.removeprefix(chosen.prefix) for name in names if name.startswith(chosen.prefix)}
    if reason := _stranger(list(inside.values())):
        raise RatespikeError(reason)
    stems = {inside[name].partition(".")[0] for name in chosen.taken}
    left: dict[str, str] = {}
    for name in names:
        if name in chosen.taken:
            continue
        within = inside.get(name, name)
        what = next((what for pattern, what in SPARED.items() if re.match(r"(?:\w+\.)*?" + pattern, within)), None)
        if what is None and name in inside and within.partition(".")[0] in stems:
            raise RatespikeError(f"{one_line(name, 80)} is no part of {describe(chosen.layout)}")
        left[name] = what or "other tensors"
    if len(set(chosen.taken.values())) < len(chosen.taken):
        raise RatespikeError(
            f"holds two networks at once, as in {one_line(next(iter(chosen.taken)))}; save one of them"
        )
    return chosen._replace(left=left)


def describe(layout: Layout) -> str:
    """An encoder of a layout, in words."""
    kinds = {"vgg": "a VGG-11", "alexnet": "an AlexNet", "resnet": "a ResNet-50", "": "an encoder"}
    return f"{kinds[layout.kind]} of {layout.source}"


def _stranger(names: list[str]) -> str | None:
    """Why these names are those of a well-known relative of our encoders, if they are."""

    def places(part: str) -> set[str]:
        found = (re.fullmatch(rf"features\.(\d+)\.{part}", name) for name in names)
        return {match[1] for match in found if match}

    norms = places("running_mean")
    depth = {8: "VGG-11", 10: "VGG-13", 13: "VGG-16", 16: "VGG-19"}.get(len(places("weight") - norms))
    if norms and depth:
        model = depth.lower().replace("-", "") + "_bn"
        return f"is {depth} with batch norm ({model}), which the paper's VGG-11 is without; take vgg11's weights"
    if depth in ("VGG-13", "VGG-16", "VGG-19"):
        return f"is {depth}; the paper's encoder is VGG-11"
    return _strange_resnet(names)


def _strange_resnet(names: list[str]) -> str | None:
    parts = [re.fullmatch(r"layer([1-4])\.(\d{1,3})\.(.+)", name) for name in names]
    found = {(p[1], p[2], p[3]) for p in parts if p}
    if not found:
        return None
    depths: tuple[int, ...] = tuple(len({block for layer, block, _ in found if layer == n}) for n in "1234")
    if not any(name == "conv3.weight" for *_, name in found):
        return "is a ResNet of two convolutions per block, such as ResNet-18; ours is ResNet-50"
    if depths != resnet.DEPTHS:
        return f"is a ResNet of {depths} blocks; ours is ResNet-50, of {resnet.DEPTHS}"
    return None


def fitting_width(kind: str, outputs: Mapping[str, int]) -> float | None:
    """The `--width` at which an encoder has as many channels as a file; None: there is none.

    Args:
        kind: of the encoder.
        outputs: output channels in the file, by our name for the weight.
    """
    full = {
        "vgg": {f"blocks.{i}.synapses.weight": c for i, (c, _) in enumerate(vgg.VGG11)},
        "alexnet": {f"blocks.{i}.layers.0.weight": c for i, (c, *_) in enumerate(alexnet.CONVOLUTIONS)}
        | {f"blocks.{place}.weight": alexnet.UNITS for place in ALEXNET_DENSE.values()},
        "resnet": {"blocks.0.conv1.weight": 64}
        | {f"blocks.{n + 1}.layers.0.conv1.weight": 64 * 2**n for n in range(len(resnet.DEPTHS))},
    }.get(kind, {})
    if not outputs.keys() >= full.keys() or not full:
        return None
    first = next(iter(full))
    width = outputs[first] / full[first]
    if width * 64 < 1:
        return None
    config = EncoderConfig(kind=kind, width=width)
    return width if all(scaled(config, c) == outputs[name] for name, c in full.items()) else None
