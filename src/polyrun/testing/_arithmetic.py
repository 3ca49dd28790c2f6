"""The arithmetic of the small shell: ``$((…))``."""

from __future__ import annotations

import ast
import operator
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping


def calculate(expression: str, variables: MutableMapping[str, str]) -> int:
    """Return the value of *expression*, assignments included.

    Raises `ValueError`, `SyntaxError` or `ArithmeticError` if it has none.
    """
    found = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*([-+*/%]?)=(?!=)(.*)", expression, re.DOTALL)
    if found:
        name, how, rest = found.groups()
        value = calculate(f"{name} {how} ({rest})" if how else rest, variables)
        variables[name] = str(value)
        return value
    # What is left is close enough to Python for its parser; only the numbers are calculated here.
    text = expression.replace("&&", " and ").replace("||", " or ")
    text = re.sub(r"!(?!=)", " not ", text)
    text = re.sub(r"\b0+(?=\d)", "", text).strip() or "0"
    return _value(ast.parse(text, mode="eval").body, variables)


def _value(node: ast.expr, variables: Mapping[str, str]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return int(node.value)
    if isinstance(node, ast.Name):
        return int(variables.get(node.id) or 0)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](_value(node.left, variables), _value(node.right, variables))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, variables))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISON:
        left, right = _value(node.left, variables), _value(node.comparators[0], variables)
        return int(_COMPARISON[type(node.ops[0])](left, right))
    if isinstance(node, ast.BoolOp):
        values = (_value(value, variables) != 0 for value in node.values)
        return int(all(values) if isinstance(node.op, ast.And) else any(values))
    raise ValueError(ast.dump(node))


def _quotient(left: int, right: int) -> int:
    """Return the quotient as C does: towards zero."""
    found = abs(left) // abs(right)
    return found if (left < 0) == (right < 0) else -found


_UNARY: dict[type[ast.unaryop], Callable[[int], int]] = {
    ast.USub: lambda value: -value,
    ast.UAdd: lambda value: value,
    ast.Invert: lambda value: ~value,
    ast.Not: lambda value: int(not value),
}
_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: _quotient,
    ast.Mod: lambda left, right: left - right * _quotient(left, right),
    ast.LShift: lambda left, right: left << right,
    ast.RShift: lambda left, right: left >> right,
    ast.BitAnd: lambda left, right: left & right,
    ast.BitOr: lambda left, right: left | right,
    ast.BitXor: lambda left, right: left ^ right,
}
_COMPARISON: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
