"""Text of others: what may stand on a terminal, in a path, in a program."""

import ast

import pytest

from foundation.errors import UsageError
from foundation.text import check_name, check_texts, in_docstring, one_line

HOSTILE = ["\x1b[2J", "a\x9b31m", "a\u202eb", "a\0b", "a\rb", "\ud800"]
"""What a terminal would carry out, what turns the line around, what ends a path, what cannot be written."""


def test_errors_are_one_printable_line() -> None:
    assert one_line("a\nb\x1b[31m\x00\u2028c") == "a b?[31m? c"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line("x" * 1000)) == 160


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_terminal_would_carry_out_is_shown_as_question_marks(text: str) -> None:
    assert one_line(text).isprintable()
    with pytest.raises(UsageError, match="layers/0: should have a name of 1 to 120 characters"):
        check_name("layers/0", text)
    for content in (text, [1, [text]], {"a": {"b": text}}, {text: 1}):
        with pytest.raises(ValueError, match="a character that cannot be printed"):
            check_texts(content)


@pytest.mark.parametrize("name", ["", " ", "x" * 121, "a\nb", ".", "..", "../a", "a/b", "/etc", "a\\b"])
def test_names_that_cannot_be_part_of_a_path_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="layers/0: should have a name of"):
        check_name("layers/0", name)


@pytest.mark.parametrize("name", ["conv1", "layer 1, max-pool", "features.0", "Sch\xf6n", "a'b\"c", "..."])
def test_names_are_names(name: str) -> None:
    check_name("a layer", name)
    check_texts({"a": [name, "two\nlines", 1, None]})


@pytest.mark.parametrize("text", ['"""; import os; """', "\\", 'a"', "\\N{BULLET}", "\n", 'x\\"""', "\\u12"])
def test_no_text_leaves_a_docstring(text: str) -> None:
    (only,) = ast.parse(f'"""{in_docstring(text)}"""\n').body
    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)
    assert only.value.value == one_line(text)
