"""The code of a declared model (`spiking.rule`, `spiking.neuron`) as functions of tensors, and as C++.

The functions are plain Python: they run eagerly and under `torch.compile` alike. What does not depend on the state is
worked out once, so constants may be numbers or, in a batch of networks that differ in them, tensors that broadcast.
What the code may say is checked when a rule is declared.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foundation.errors import UsageError
from spiking.code import Conditions

Value = float | Tensor
Program = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Code:
    """Statements whose constant parts have been worked out.

    Attributes:
        lines: the statements, all of the form name = expression.
        constants: the values of the constant parts, by the names that stand for them.
    """

    lines: list[ast.Assign]
    constants: dict[str, Value]

    @classmethod
    def folded(
        cls, code: str, variables: Sequence[str], constants: Mapping[str, Value], dt: float, prefix: str
    ) -> Code:
        """Work out every largest part of `code` that uses neither `variables` nor what the code itself assigns.

        Args:
            code: statements.
            variables: names whose values change.
            constants: what the other names stand for.
            dt: s.
            prefix: of the names of the parts; names of a rule do not begin with an underscore, this one should.

        Raises:
            UsageError: a part has no value, such as a division by 0.
        """
        lines = [_plain(line) for line in ast.parse(code.strip()).body]
        assigned = {ast.unparse(node) for line in lines for node in ast.walk(line) if _is_target(node)}
        folder = _Folder({**constants, "dt": dt, "second": 1.0}, {*variables, *assigned}, prefix)
        return cls([folder.visit(line) for line in lines], folder.found)

    def function(self, arguments: Sequence[str], results: Sequence[str]) -> Program:
        """A function of tensors `arguments` that returns the tuple of `results`."""
        returned = ast.Tuple([ast.Name(name, ast.Load()) for name in results], ast.Load())
        signature = ast.arguments([], [ast.arg(name) for name in arguments], None, [], [], None, [])
        lines = [_Comparisons().visit(deepcopy(line)) for line in self.lines]
        module = ast.Module([ast.FunctionDef("program", signature, [*lines, ast.Return(returned)], [])], [])
        scope: dict[str, Any] = {**self.constants, **_FUNCTIONS, **_COMPARISONS}
        exec(compile(ast.fix_missing_locations(module), "<code of a model>", "exec"), scope)
        program: Program = scope["program"]
        return program

    def cpp(self, declared: Sequence[str], kind: str) -> str:
        """The statements in C++; names that are not `declared` become local variables of the type `kind`."""
        known, lines = {cpp_name(name) for name in declared}, []
        for line in self.lines:
            name = cpp_name(ast.unparse(line.targets[0]))
            lines.append(f"{'' if name in known else f'{kind} '}{name} = {_cpp(line.value, kind)};")
            known.add(name)
        return "\n".join(lines)


def _plain(line: ast.stmt) -> ast.Assign:
    """X *= y as x = x*y: in place, it would change the tensor that the caller passed as x."""
    if isinstance(line, ast.AugAssign):
        name = ast.unparse(line.target)
        value = ast.BinOp(ast.Name(name, ast.Load()), line.op, line.value)
        return ast.Assign([ast.Name(name, ast.Store())], value)
    assert isinstance(line, ast.Assign)
    return line


def _is_target(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


class _Folder(ast.NodeTransformer):
    def __init__(self, constants: Mapping[str, Value], variables: set[str], prefix: str) -> None:
        self.variables, self.prefix = variables, prefix
        self.known: dict[str, Any] = {**constants, **_FUNCTIONS}
        self.found: dict[str, Value] = {}

    def visit(self, node: ast.AST) -> Any:
        if not isinstance(node, ast.expr) or _is_target(node) or isinstance(node, ast.Constant):
            return super().generic_visit(node)
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if names & self.variables or (isinstance(node, ast.Name) and node.id in _FUNCTIONS):
            return super().generic_visit(node)
        text = compile(ast.Expression(node), "<constants of a model>", "eval")
        try:
            value = eval(text, {}, self.known)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise UsageError(f"rule: {ast.unparse(node)} cannot be worked out ({error})") from None
        name = f"{self.prefix}{len(self.found)}"
        self.found[name] = value if isinstance(value, Tensor) else float(value)
        return ast.Name(name, ast.Load())


# --- what the code may call, on numbers and on tensors ----------------------------------------------------------------
def _clip(x: Value, low: Value, high: Value) -> Value:
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        like = next(value for value in (x, low, high) if isinstance(value, Tensor))
        return torch.clamp(*(torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in (x, low, high)))
    return torch.clamp(x, low, high) if isinstance(x, Tensor) else min(max(x, low), high)


def _int(x: Value) -> Value:
    """As in Brian2; of a comparison, which is 1 or 0, nothing changes."""
    return torch.trunc(x) if isinstance(x, Tensor) else float(math.trunc(x))


def _single(x: Value) -> Value:
    return x.float().to(x.dtype) if isinstance(x, Tensor) else float(np.float32(x))


def _either(of_tensor: Callable[[Tensor], Tensor], of_number: Callable[[float], float]) -> Program:
    return lambda x: of_tensor(x) if isinstance(x, Tensor) else of_number(x)


_SMOOTH = ("exp", "log", "sqrt", "tanh", "sin", "cos")
_FUNCTIONS: dict[str, Any] = {
    "abs": abs, "clip": _clip, "int": _int, "single": _single,
    **{name: _either(getattr(torch, name), getattr(math, name)) for name in _SMOOTH},
    "floor": _either(torch.floor, lambda x: float(math.floor(x))),
}  # fmt: skip


class _Comparisons(Conditions, ast.NodeTransformer):
    """Comparisons as calls of what gives numbers, 1 and 0: truth values of tensors cannot be added or subtracted."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:  # the name that ast calls
        self.generic_visit(node)
        name = f"_{type(node.ops[0]).__name__}"
        return ast.Call(ast.Name(name, ast.Load()), [node.left, *node.comparators], [])


def _comparison(compare: Callable[[Any, Any], Any]) -> Program:
    def number(x: Value, y: Value) -> Value:
        like = x if isinstance(x, Tensor) else y
        return compare(x, y).to(like.dtype) if isinstance(like, Tensor) else float(compare(x, y))

    return number


_COMPARISONS: dict[str, Program] = {
    "_And": _comparison(lambda x, y: (x != 0) & (y != 0)),
    "_Or": _comparison(lambda x, y: (x != 0) | (y != 0)),
    "_Not": lambda x: _COMPARISONS["_Eq"](x, 0.0),
} | {
    f"_{kind.__name__}": _comparison(compare)
    for kind, compare in (
        (ast.Lt, operator.lt), (ast.LtE, operator.le), (ast.Gt, operator.gt), (ast.GtE, operator.ge),
        (ast.Eq, operator.eq), (ast.NotEq, operator.ne),
    )
}  # fmt: skip


def full(value: Value, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`value` in the shape of `like`: code need not use anything that differs from neuron to neuron."""
    return torch.as_tensor(value, dtype=dtype or like.dtype, device=like.device).expand(like.shape)


# --- C++ --------------------------------------------------------------------------------------------------------------
_OPERATORS: dict[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.USub: "-", ast.UAdd: "+",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def cpp_name(name: str) -> str:
    """What a variable is called in C++: nothing that the language knows."""
    return f"v_{name}"


def _cpp(node: ast.expr, kind: str) -> str:
    """An expression; all numbers are of the type `kind`."""
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, (int, float))
        return f"{kind}({float(node.value)!r})"
    if isinstance(node, ast.Name):
        return cpp_name(node.id)
    if isinstance(node, ast.BinOp):
        left, right = _cpp(node.left, kind), _cpp(node.right, kind)
        if isinstance(node.op, (ast.Pow, ast.Mod)):
            return f"{'power' if isinstance(node.op, ast.Pow) else 'modulo'}({left}, {right})"
        return f"({left} {_OPERATORS[type(node.op)]} {right})"
    if isinstance(node, ast.BoolOp):
        parts = f" {'&&' if isinstance(node.op, ast.And) else '||'} ".join(_cpp(v, kind) for v in node.values)
        return f"({parts} ? {kind}(1) : {kind}(0))"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return f"({_cpp(node.operand, kind)} ? {kind}(0) : {kind}(1))"
    if isinstance(node, ast.UnaryOp):
        return f"({_OPERATORS[type(node.op)]}{_cpp(node.operand, kind)})"
    if isinstance(node, ast.Compare):
        (operator,), (other,) = node.ops, node.comparators
        return f"({_cpp(node.left, kind)} {_OPERATORS[type(operator)]} {_cpp(other, kind)} ? {kind}(1) : {kind}(0))"
    assert isinstance(node, ast.Call)
    return f"{ast.unparse(node.func)}_({', '.join(_cpp(value, kind) for value in node.args)})"
