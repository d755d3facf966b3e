"""Declared code as functions of tensors and as C++: both against Python's own reading of it."""

import ctypes
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking.code import FUNCTIONS, statements
from spiking.compilers import compiler, trouble
from spiking.torch import native
from spiking.torch.code import Code, cpp_name

DT = 1e-4
PLAIN: dict[str, Any] = {
    "exp": math.exp,
    "abs": abs,
    "sqrt": math.sqrt,
    "log": math.log,
    "tanh": math.tanh,
    "sin": math.sin,
    "cos": math.cos,
    "floor": lambda x: float(math.floor(x)),
    "clip": lambda x, low, high: min(max(x, low), high),
    "int": lambda x: float(math.trunc(x)),
    "single": lambda x: float(np.float32(x)),
    "dt": DT,
    "second": 1.0,
}


def plainly(code: str, values: dict[str, float]) -> dict[str, float]:
    """What Python makes of the statements, number by number."""
    scope: dict[str, Any] = dict(values)
    exec(code, {**PLAIN}, scope)
    return {name: float(value) for name, value in scope.items()}


def tensors(values: dict[str, float]) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values.values()]


# --- functions of tensors ---------------------------------------------------------------------------------------------
def test_every_function_on_tensors_and_on_constants(each_device):
    code = """
a = exp(x) + exp(c)
b = sqrt(abs(x)) + sqrt(c)
d = clip(x, -1, c) + clip(c, 0, 1)
e = int(x) + int(c) + int(x > 0)*3 + int(c >= 2)
f = single(x/3) + single(c/3)
g = log(1 + abs(x)) + log(c) + tanh(x) + tanh(c) + sin(x) + sin(c) + cos(x) + cos(c) + floor(x) + floor(c)
h = x % 2 + x % (-2) + c % 2 + int(x > 0 and c > 1) + int(x < 0 or not c > 1)*10
"""
    x = np.array([-2.5, -0.3, 0.0, 0.7, 9.0])
    for c in (0.1, 2.7):
        made = Code.folded(code, ("x",), {"c": c}, DT, "k_").function(("x",), tuple("abdefgh"))
        found = made(torch.tensor(x, dtype=torch.float64, device=each_device))
        for k, value in enumerate(x.tolist()):
            expected = plainly(code, {"x": value, "c": c})
            assert [y[k].item() for y in found] == pytest.approx([expected[name] for name in "abdefgh"], rel=1e-14)


def test_the_functions_that_may_be_called_are_those_of_the_rule():
    for name in FUNCTIONS:
        call = f"{name}(x, 0, 1)" if name == "clip" else f"{name}(x)"
        made = Code.folded(f"y = {call}", ("x",), {}, DT, "k_")
        assert made.function(("x",), ("y",))(torch.tensor([0.5]))[0].shape == (1,)
        assert f"{name}_(" in made.cpp(("x",), "double")


@pytest.mark.parametrize("comparison", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons_count_as_numbers(comparison):
    """As in Brian2: 1 where they hold, 0 elsewhere."""
    code = f"spiked = x {comparison} c\ny = 2*int(x {comparison} c) + x"
    made = Code.folded(code, ("x",), {"c": 1.0}, DT, "k_").function(("x",), ("spiked", "y"))
    spiked, y = made(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))
    expected = [plainly(code, {"x": x, "c": 1.0}) for x in (0.0, 1.0, 2.0)]
    assert spiked.tolist() == [float(values["spiked"]) for values in expected]
    assert y.tolist() == [values["y"] for values in expected]


@pytest.mark.parametrize(
    "code",
    [
        "y = int(x > 0) + int(x > 1)",
        "y = -int(x > 0)",
        "y = int(x > 0) - int(x > 1)",
        "y = 0.7*int(x > 0)",
        "y = exp(int(x > 0))",
    ],
)
def test_conditions_are_numbers_to_whatever_uses_them(code):
    """In all the digits of the state, and with a sum of two that is 2."""
    made = Code.folded(code, ("x",), {}, DT, "k_").function(("x",), ("y",))
    for x in (-1.0, 0.5, 2.0):
        (y,) = made(torch.tensor([x], dtype=torch.float64))
        assert float(y) == pytest.approx(plainly(code, {"x": x})["y"], rel=1e-14)


def test_bounds_of_which_one_differs_between_networks_keep_all_digits():
    high = torch.tensor([[0.5], [0.6]], dtype=torch.float64)
    made = Code.folded("y = clip(x, low, high)", ("x",), {"low": 0.3, "high": high}, DT, "k_").function(("x",), ("y",))
    (y,) = made(torch.tensor([[0.0, 0.4, 1.0]] * 2, dtype=torch.float64))
    assert y.tolist() == [[0.3, 0.4, 0.5], [0.3, 0.4, 0.6]]


def test_augmented_assignment_leaves_the_arguments_alone():
    x, y = torch.ones(3), torch.full((3,), 2.0)
    made = Code.folded("x *= 3\nx += y\ny -= 1\ny /= 2\nx **= 2", ("x", "y"), {}, DT, "k_").function(
        ("x", "y"), ("x", "y")
    )
    after = made(x, y)
    assert [value.tolist() for value in after] == [[25.0] * 3, [0.5] * 3]
    assert [value.tolist() for value in (x, y)] == [[1.0] * 3, [2.0] * 3]
    assert made(x, y)[0].tolist() == [25.0] * 3


def test_constants_of_a_batch_differ_from_network_to_network():
    """(B, 1): of every network its own, in functions of (B, n), and folded with other constants."""
    tau = torch.tensor([[0.1], [0.2], [0.5]], dtype=torch.float64)
    code = "y = x*exp(-dt/tau)*scale + clip(x, 0, tau) + sqrt(tau)*int(x > tau) + single(tau) + abs(-tau)"
    made = Code.folded(code, ("x",), {"tau": tau, "scale": 0.3}, DT, "k_")
    x = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(3, 4)
    (y,) = made.function(("x",), ("y",))(x)
    assert y.shape == (3, 4)
    for network in range(3):
        for unit in range(4):
            values = {"x": x[network, unit].item(), "tau": tau[network].item(), "scale": 0.3}
            assert y[network, unit].item() == pytest.approx(plainly(code, values)["y"], rel=1e-14)
    shapes = {name: value.shape for name, value in made.constants.items() if isinstance(value, Tensor)}
    assert set(shapes.values()) == {(3, 1)}
    assert len(shapes) >= 4


def test_what_does_not_change_is_worked_out_once():
    code = Code.folded("y = x*exp(-dt/tau) + (a - a*dt)\nz = y*2", ("x",), {"tau": 0.1, "a": 3.0}, DT, "n_")
    assert code.constants == pytest.approx({"n_0": math.exp(-1e-3), "n_1": 3.0 - 3e-4})
    assert code.cpp(("x",), "double") == "double v_y = ((v_x * v_n_0) + v_n_1);\ndouble v_z = (v_y * double(2.0));"


def test_a_name_that_the_code_assigns_is_no_constant():
    """Also where a constant has that name: it is what the code made of it."""
    made = Code.folded("c = x + 1\ny = c*2", ("x",), {"c": 100.0}, DT, "k_").function(("x",), ("y",))
    assert made(torch.tensor([1.0]))[0].item() == 4.0


def test_names_that_cpp_knows_are_none_of_its_own():
    code = Code.folded("int_ = register*double\nfor_ = int_ + 1", ("register", "double"), {}, DT, "k_")
    text = code.cpp(("register",), "float")
    assert cpp_name("double") == "v_double"
    assert text == "float v_int_ = (v_register * v_double);\nfloat v_for_ = (v_int_ + float(1.0));"


def test_a_variable_is_declared_once():
    text = Code.folded("y = x\ny = y + x\nx = y", ("x",), {}, DT, "k_").cpp(("x",), "double")
    assert text.splitlines() == ["double v_y = v_x;", "v_y = (v_y + v_x);", "v_x = v_y;"]


# --- random statements ------------------------------------------------------------------------------------------------
NAMES = ("x", "y", "c", "d")


def operations(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        pair.map(lambda t: f"({t[0]} / (1 + abs({t[1]})))"),
        inner.map(lambda t: f"(-{t})"),
        inner.map(lambda t: f"({t})**2"),
        inner.map(lambda t: f"abs({t})**0.5"),
        inner.map(lambda t: f"exp(clip({t}, -3, 3))"),
        inner.map(lambda t: f"sqrt(abs({t}))"),
        inner.map(lambda t: f"single({t})"),
        inner.map(lambda t: f"int(10*clip({t}, -9, 9))"),
        st.tuples(inner, inner, st.sampled_from(["<", ">="])).map(lambda t: f"((x + {t[0]})*int({t[1]} {t[2]} y))"),
    )


EXPRESSIONS = st.recursive(st.sampled_from([*NAMES, "dt", "second", "2", "0.7"]), operations, max_leaves=8)
STATEMENTS = st.tuples(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS).map(
    lambda t: f"a = {t[0]}\nx = clip({t[1]}, -99, 99)\nx += 0.5*a\ny = x - ({t[2]})"
)
VALUES = st.tuples(*[st.floats(-3, 3, width=32) for _ in NAMES])


@settings(deadline=None, max_examples=150, derandomize=True)  # next to a jump, the last digit decides
@given(code=STATEMENTS, values=VALUES)
def test_functions_of_tensors_equal_plain_python(code, values):
    given_values = dict(zip(NAMES, values, strict=True))
    expected = plainly(code, given_values)
    constants = {name: given_values[name] for name in ("c", "d")}
    batch = {name: torch.tensor([[value], [value]], dtype=torch.float64) for name, value in constants.items()}
    variables = [torch.full((2, 3), given_values[name], dtype=torch.float64) for name in ("x", "y")]
    for kind in (constants, batch):
        found = Code.folded(code, ("x", "y"), kind, DT, "k_").function(("x", "y"), ("x", "y", "a"))(*variables)
        for name, value in zip(("x", "y", "a"), found, strict=True):
            actual = torch.as_tensor(value, dtype=torch.float64)
            assert np.ravel(actual.numpy()) == pytest.approx(expected[name], rel=1e-9, abs=1e-9)


NATIVE = Path(native.__file__).with_suffix(".cpp").read_text()
FUNCTIONS_IN_CPP = "#include <cmath>\n" + "\n".join(
    re.findall(r"^template <class T> static inline T .*$", NATIVE, re.M)
)


def test_numpy_equals_plain_python(rng):
    x, y = rng.uniform(-3, 3, (2, 5))
    for code in (random_code(rng) for _ in range(100)):
        found: dict[str, Any] = {"x": x, "y": y, "c": 0.8, "d": -1.7, "dt": DT, "second": 1.0}
        statements(code)(found)
        for k in range(5):
            expected = plainly(code, {"x": float(x[k]), "y": float(y[k]), "c": 0.8, "d": -1.7})
            got = [float(np.broadcast_to(found[name], (5,))[k]) for name in ("x", "y", "a")]
            assert got == pytest.approx([expected[name] for name in ("x", "y", "a")], rel=1e-9, abs=1e-9), code


@pytest.mark.skipif(bool(trouble()), reason="no C++ compiler on this machine")
def test_cpp_equals_plain_python(tmp_path, rng):
    """A hundred random pieces of code in one program."""
    codes = [random_code(rng) for _ in range(100)]
    source = [FUNCTIONS_IN_CPP]
    folded = []
    for number, code in enumerate(codes):
        made = Code.folded(code, ("x", "y"), {"c": 0.8, "d": -1.7}, DT, "k_")
        folded.append(made)
        constants = "\n".join(f"const double {cpp_name(k)} = {float(v)!r};" for k, v in made.constants.items())
        source.append(
            f'extern "C" void f{number}(double *at) {{\n{constants}\ndouble v_x = at[0], v_y = at[1], v_a = 0;\n'
            f"{made.cpp(('x', 'y', 'a'), 'double')}\nat[0] = v_x; at[1] = v_y; at[2] = v_a;\n}}"
        )
    (tmp_path / "code.cpp").write_text("\n".join(source))
    command = [*(compiler() or []), "-O0", "-std=c++17", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", tmp_path / "code.so", tmp_path / "code.cpp"], check=True)
    program = ctypes.CDLL(str(tmp_path / "code.so"))
    for number, code in enumerate(codes):
        for x, y in rng.uniform(-3, 3, (5, 2)).tolist():
            numbers = (ctypes.c_double * 3)(x, y, 0.0)
            getattr(program, f"f{number}")(numbers)
            expected = plainly(code, {"x": x, "y": y, "c": 0.8, "d": -1.7})
            assert list(numbers) == pytest.approx([expected[name] for name in ("x", "y", "a")], rel=1e-9, abs=1e-9), (
                code
            )


def random_code(rng: np.random.Generator) -> str:
    def expression(depth: int) -> str:
        if depth == 0:
            return str(rng.choice([*NAMES, "dt", "second", "2", "0.7"]))
        one, other = expression(depth - 1), expression(int(rng.integers(depth)))
        return str(
            rng.choice(
                [
                    f"({one} + {other})", f"({one} - {other})", f"({one} * {other})", f"({one} / (1 + abs({other})))",
                    f"(-{one})", f"({one})**2", f"abs({one})**0.5", f"exp(clip({one}, -3, 3))", f"sqrt(abs({one}))",
                    f"single({one})", f"int(10*clip({one}, -9, 9))", f"({one})*int({one} < {other})",
                    f"({one})*int({one} >= {other})", f"tanh({one})", f"sin(clip({one}, -3, 3))",
                    f"cos(clip({one}, -3, 3))", f"log(1 + abs({one}))", f"floor(clip({one}, -9, 9))",
                    f"({one} % 3)", f"({one} % (0 - 3))",
                    f"int({one} > 0 and {other} > 0)", f"int({one} > 0 or not {other} > 0)*2",
                ]
            )
        )  # fmt: skip

    a, b, c = (expression(3) for _ in range(3))
    return f"a = {a}\nx = clip({b}, -99, 99)\nx += 0.5*a\ny = x - ({c})"
