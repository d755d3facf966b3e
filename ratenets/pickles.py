"""A pickle read as data: what it would make is noted down, and nothing of it is made.

Checkpoints are pickles, and a pickle is a program. Those of old Lightning hold classes that are not here any more,
beside the weights. `torch.load(weights_only=True)` is a poor way to read them: a stand-in for a class must know
beforehand whether it is a dictionary (as Lightning's `AttributeDict` is, in every checkpoint of the authors' code), or
else the file is refused; stand-ins are a list that holds for the whole process; and they need a newer torch than ours
may be. A `pickle.Unpickler` with a `find_class` of one's own calls what that returns, and sets attributes of it as the
file says. Here no instruction looks up a name or calls anything: a global becomes a `Name`, a call an `Object` with
what it would have been called with. There is nothing to be got around.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass, field
from typing import IO, Any

from foundation.errors import RatespikeError
from foundation.text import one_line

MOST = 5_000_000
"""Instructions in a pickle; one with the weights and the optimiser of ResNet-50 has 20,000."""

HOSTILE = re.compile(
    r"(?:os|posix|nt|sys|subprocess|importlib|runpy|shutil|socket|ctypes|pty|code|codeop|pickle|_pickle|marshal|pdb|bdb"
    r"|webbrowser|timeit|cProfile|profile|asyncio|multiprocessing|urllib|http|requests|pip)\..*"
    r"|(?:builtins|__builtin__)\.(?:eval|exec|execfile|compile|open|__import__|input|breakpoint)",
    re.DOTALL,
)
"""What weights never need. These names are as dead here as all others; a file with one of them is not worth reading."""

EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = {
    op.name for op in pickletools.opcodes if op.arg and op.stack_after and op.stack_after[0] != pickletools.anyobject
}
"""Instructions that push the number or the text that they hold."""


@dataclass(frozen=True, eq=False)
class Name:
    """A global that a pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


UNNAMED = "something"
"""What makes an object, where a pickle gives no name for it, but another object, say."""


@dataclass(eq=False)
class Object:
    """What a pickle would make by a call: of what, with what, and what would be put in afterwards."""

    maker: Name | str  # the text is UNNAMED
    arguments: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Reference:
    """Something outside the pickle, by its identity: a storage of torch's, before torch 1.6 also a module's class."""

    identity: Any

    @property
    def kind(self) -> str:
        first = self.identity[0] if isinstance(self.identity, tuple) and self.identity else ""
        return first if isinstance(first, str) else ""


def mapping(value: Any) -> dict[Any, Any] | None:
    """A dictionary, or the content of one of another class (as Python 3 writes it, or Python 2); None: it is none."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, Object):
        return None
    if value.items:
        return value.items
    if isinstance(value.arguments, tuple) and len(value.arguments) == 1 and isinstance(value.arguments[0], list):
        pairs = value.arguments[0]
        if all(isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
            return dict(pairs)
    return {} if str(value.maker) == "collections.OrderedDict" else None


def read_pickle(stream: IO[bytes]) -> tuple[Any, list[Reference]]:
    """The content of the pickle that begins at the stream's position, which is behind it then; and its references.

    Raises:
        RatespikeError: it is damaged, or names what would run a program.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MOST:
                raise RatespikeError("holds more than weights: too many instructions")
            if opcode.name == "STOP":
                return machine.stack.pop(), machine.references
            machine.do(opcode.name, argument)
    except RatespikeError:
        raise
    except Exception as error:  # the parser and a machine without checks of its own meet half a dozen kinds
        raise RatespikeError(f"damaged, or not a checkpoint of torch ({type(error).__name__})") from None
    raise RatespikeError("damaged: it ends in the middle")


class _Machine:
    """The pickle machine without its calls. What an instruction lacks on the stack is an IndexError or a TypeError."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.references: list[Reference] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name == "MARK":
            self._below.append(stack)
            self.stack = []
        elif name not in ("PROTO", "FRAME"):
            self._collect(name, argument)

    def _marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self.stack = self.stack, self._below.pop()
        return items

    def _collect(self, name: str, argument: Any) -> None:
        """Tuples, lists and dictionaries."""
        if name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            size = int(name[-1])
            if len(self.stack) < size:
                raise IndexError
            self.stack[-size:] = [tuple(self.stack[-size:])]
        elif name in ("TUPLE", "FROZENSET"):
            items = tuple(self._marked())
            self.stack.append(items)
        elif name == "LIST":
            elements = self._marked()
            self.stack.append(elements)
        elif name == "DICT":
            flat = self._marked()
            self.stack.append(_paired(flat))
        elif name == "APPEND":
            value = self.stack.pop()
            self._elements().append(value)
        elif name in ("APPENDS", "ADDITEMS"):
            values = self._marked()
            self._elements().extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            flat = self._marked() if name == "SETITEMS" else [self.stack.pop(-2), self.stack.pop()]
            self._items().update(_paired(flat))
        else:
            self._note(name, argument)

    def _elements(self) -> list[Any]:
        top = self.stack[-1]
        elements = top.elements if isinstance(top, Object) else top
        if not isinstance(elements, list):
            raise TypeError
        return elements

    def _items(self) -> dict[Any, Any]:
        top = self.stack[-1]
        items = top.items if isinstance(top, Object) else top
        if not isinstance(items, dict):
            raise TypeError
        return items

    def _note(self, name: str, argument: Any) -> None:
        """What would look up a name, call something or change it."""
        stack = self.stack
        if name in ("GLOBAL", "STACK_GLOBAL"):
            module, _, inner = argument.partition(" ") if name == "GLOBAL" else (stack.pop(-2), "", stack.pop())
            stack.append(_checked(module, inner))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            stack.append(Object(_maker(stack.pop()), arguments))
        elif name == "NEWOBJ_EX":
            options, arguments = stack.pop(), stack.pop()
            stack.append(Object(_maker(stack.pop()), (arguments, options)))
        elif name in ("INST", "OBJ"):
            parts = self._marked()
            maker = _checked(*argument.split(" ", 1)) if name == "INST" else _maker(parts.pop(0))
            self.stack.append(Object(maker, tuple(parts)))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], Object):
                raise TypeError
            stack[-1].state = state
        elif name in ("PERSID", "BINPERSID"):
            reference = Reference(argument if name == "PERSID" else stack.pop())
            self.references.append(reference)
            stack.append(reference)
        elif name == "POP":
            stack.pop() if stack else self._marked()
        elif name == "POP_MARK":
            self._marked()
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            raise NotImplementedError(name)  # the registry of extensions, buffers outside the file


def _paired(flat: list[Any]) -> dict[Any, Any]:
    """A dictionary of keys and values in turn. Keys are hashed, so nothing that holds something else may be one."""
    for key in flat[::2]:
        if not (key is None or isinstance(key, str | int | Name)):
            raise RatespikeError(f"holds more than weights: a {type(key).__name__} as a key")
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _maker(value: Any) -> Name | str:
    """What makes an object, as a name: a class of a whole module comes with its source, before torch 1.6."""
    if isinstance(value, Reference) and value.kind == "module" and len(value.identity) > 1:
        value = value.identity[1]
    return value if isinstance(value, Name) else UNNAMED


def _checked(module: Any, name: Any) -> Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError
    if HOSTILE.fullmatch(f"{module}.{name}"):
        raise RatespikeError(
            f"would call {one_line(f'{module}.{name}')} in a program that trusts it; nothing of it was run or taken"
        )
    return Name(module, name)
