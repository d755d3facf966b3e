"""The code of which neurons and rules are declared: a small part of Python, of one meaning in every simulator.

Statements ``name = expression`` (and ``+=``, ``*=``, ...) and expressions, run for every neuron or synapse: numbers,
names, ``+ - * / ** %``, one comparison at a time, ``and or not``, and the functions FUNCTIONS. ``int`` makes a number
of a condition, 1 or 0; ``x % y`` has the sign of y; ``single`` rounds to float32. ``dt`` is the step in seconds.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from keyword import iskeyword
from numbers import Real
from typing import Any

import numpy as np

from foundation.errors import UsageError

FUNCTIONS = ("exp", "log", "sqrt", "abs", "clip", "int", "floor", "tanh", "sin", "cos", "single")


def check_values(where: str, values: Mapping[str, float], low: float = -math.inf) -> None:
    """Make sure that `values` are finite plain numbers, not below `low`; raises `UsageError`, naming what is not."""
    for name, value in values.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or value < low:
            least = "" if low < 0 else " and not negative"
            raise UsageError(f"{where}: {name} must be a finite plain number{least} (times in seconds), got {value!r}")


def check_code(
    where: str, code: str, known: set[str], *, expression: bool = False, assigned: tuple[str, ...] = ()
) -> None:
    """Make sure that code is what the simulators understand; raises `UsageError`, naming what is not.

    Args:
        where: what to call it in the message.
        code: an expression, or statements.
        known: names that it may use.
        expression: whether it has to be an expression.
        assigned: names that statements may assign to, besides names of their own.
    """
    try:
        tree = ast.parse(code.strip(), mode="eval" if expression else "exec")
    except SyntaxError as error:
        raise UsageError(f"{where}: not {'an expression' if expression else 'statements'} ({error.msg})") from None
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            text = ast.unparse(tree).replace("\n", "; ")
            raise UsageError(f"{where}: must not use {type(node).__name__}: {text}")
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            raise UsageError(f"{where}: one comparison at a time: {ast.unparse(node)}")
        if isinstance(node, ast.Assign) and len(node.targets) > 1:
            raise UsageError(f"{where}: one assignment at a time: {ast.unparse(node)}")
        if isinstance(node, ast.Constant) and (
            isinstance(node.value, bool) or not isinstance(node.value, (int, float))
        ):
            raise UsageError(f"{where}: numbers alone: {ast.unparse(node)}")
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS):
                raise UsageError(f"{where}: can call {', '.join(FUNCTIONS)} alone: {ast.unparse(node)}")
            if len(node.args) + len(node.keywords) != (wanted := 3 if node.func.id == "clip" else 1):
                raise UsageError(f"{where}: {node.func.id} takes {wanted} arguments: {ast.unparse(node)}")
    names = set(known) | set(assigned) | set(FUNCTIONS)
    lines: list[ast.AST] = [tree.body] if isinstance(tree, ast.Expression) else [*ast.iter_child_nodes(tree)]
    for line in lines:
        _check_names(where, line, names, known)
        for node in ast.walk(line):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                check_name(where, node.id)
                if node.id in known and node.id not in assigned:
                    raise UsageError(f"{where}: must not assign to {node.id}")
                names.add(node.id)  # from here on


def _check_names(where: str, line: ast.AST, names: set[str], known: set[str]) -> None:
    for node in ast.walk(line):
        used = node.target if isinstance(node, ast.AugAssign) else node
        reads = isinstance(used, ast.Name) and (used is not node or isinstance(used.ctx, ast.Load))
        if isinstance(used, ast.Name) and reads and used.id not in names:
            raise UsageError(f"{where}: unknown name {used.id!r}; known are {', '.join(sorted(known))}")


def check_name(where: str, name: str) -> None:
    """Make sure that declared code may call something so; raises `UsageError`."""
    if not (name.isidentifier() and name.isascii()) or iskeyword(name) or name in FUNCTIONS or name.startswith("_"):
        raise UsageError(f"{where}: {name!r} is no name for a number")


_ALLOWED = (
    ast.Module, ast.Expression, ast.Assign, ast.AugAssign, ast.Name, ast.Load, ast.Store, ast.Constant, ast.Call,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod, ast.UnaryOp, ast.USub, ast.UAdd, ast.Not,
    ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq,
)  # fmt: skip


def check_distinct(where: str, names: Iterable[str]) -> None:
    """Make sure that declared code may use those names, each for one thing; raises `UsageError`."""
    seen: set[str] = set()
    for name in names:
        check_name(where, name)
        if name in seen:
            raise UsageError(f"{where}: {name!r} has two meanings")
        seen.add(name)


def names_in(code: str) -> set[str]:
    """All names that code reads or assigns to, functions excepted."""
    return {node.id for node in ast.walk(ast.parse(code.strip())) if isinstance(node, ast.Name)} - set(FUNCTIONS)


def assigned_in(code: str) -> list[str]:
    """The names that statements assign to, in their order."""
    targets = [
        node.id
        for line in ast.parse(code.strip()).body
        for node in ast.walk(line)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    return list(dict.fromkeys(targets))


def renamed(code: str, names: Mapping[str, str]) -> str:
    """The code with other names for some."""
    tree = ast.parse(code.strip())
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names:
            node.id = names[node.id]
    return ast.unparse(tree)


# --- as functions of numpy arrays -------------------------------------------------------------------------------------
def statements(code: str) -> Callable[[MutableMapping[str, Any]], None]:
    """A function that runs statements on arrays by their names; what is assigned to is a new array in the mapping."""
    compiled = compile(ast.fix_missing_locations(_Plain().visit(ast.parse(code.strip()))), "<declared code>", "exec")

    def run(values: MutableMapping[str, Any]) -> None:
        exec(compiled, {"__builtins__": {}, **_NUMPY}, values)

    return run


def expression(code: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function that evaluates an expression on arrays by their names."""
    tree = ast.fix_missing_locations(_Plain().visit(ast.parse(code.strip(), mode="eval")))
    compiled = compile(tree, "<declared code>", "eval")
    return lambda values: eval(compiled, {"__builtins__": {}, **_NUMPY}, values)


class Conditions(ast.NodeTransformer):
    """`and`, `or`, `not` as calls of _And, _Or, _Not: of arrays, Python would take the truth of the whole."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        whole = node.values[0]
        for value in node.values[1:]:
            whole = ast.Call(ast.Name(f"_{type(node.op).__name__}", ast.Load()), [whole, value], [])
        return whole

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return ast.Call(ast.Name("_Not", ast.Load()), [node.operand], []) if isinstance(node.op, ast.Not) else node


class _Plain(Conditions):
    """No assignment in place, which would change an array that another name stands for; conditions on whole arrays."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:  # the name that ast calls; and so below
        assert isinstance(node.target, ast.Name)
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, self.visit(node.value))
        return ast.Assign([ast.Name(node.target.id, ast.Store())], value)


def _single(x: Any) -> Any:
    return np.asarray(x, dtype=np.float32).astype(np.float64)


_NUMPY: dict[str, Any] = {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "abs": np.abs, "floor": np.floor, "tanh": np.tanh, "sin": np.sin,
    "cos": np.cos, "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "int": lambda x: np.trunc(np.asarray(x, dtype=np.float64)), "single": _single,
    "_And": np.logical_and, "_Or": np.logical_or, "_Not": np.logical_not,
}  # fmt: skip
