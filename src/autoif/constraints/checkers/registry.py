"""id -> checker, closed: an unknown id or a wrong argument is a `UsageError`, never a pass.

A checker is a pure function `(text, *, ...) -> bool` that raises on no text; its annotations are
the contract for its arguments, which `bind` holds a data row to before any text is seen.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any, Literal, TypeVar, get_type_hints

from autoif.base.errors import UsageError

Checker = Callable[[str], bool]
Relation = Literal["less than", "at least"]
RELATIONS = ("less than", "at least")
CHECKERS: dict[str, Callable[..., bool]] = {}

_F = TypeVar("_F", bound=Callable[..., bool])


def checker(instruction_id: str) -> Callable[[_F], _F]:
    """Enters a function under the benchmark's id for it."""

    def enter(function: _F) -> _F:
        if instruction_id in CHECKERS:
            raise ValueError(f"two checkers for {instruction_id}")
        CHECKERS[instruction_id] = function
        return function

    return enter


def check(instruction_id: str, text: str, **kwargs: Any) -> bool:
    """Does `text` follow the instruction? Blank text does not pass by itself: see `judge`.

    Raises UsageError for an unknown id and for arguments that do not fit.
    """
    return bind(instruction_id, kwargs)(text)


def bind(instruction_id: str, kwargs: Mapping[str, Any]) -> Checker:
    """The checker with its arguments filled in. Arguments that are None count as not given.

    Raises UsageError for an unknown id, an unknown, missing or ill-typed argument, a pattern that
    does not compile.
    """
    function = CHECKERS.get(instruction_id)
    if function is None:
        raise UsageError(f"unknown instruction id {instruction_id!r}; ids look like {_examples()}")
    parameters = _parameters(function)
    given = {k: v for k, v in kwargs.items() if v is not None}
    for name in parameters.keys() - given.keys():
        raise UsageError(f"{instruction_id} needs {name!r}; it takes {', '.join(parameters)}")
    for name, value in given.items():
        if name not in parameters:
            takes = ", ".join(parameters) or "no arguments"
            raise UsageError(f"{instruction_id} has no {name!r}; it takes {takes}")
        try:
            given[name] = _coerce(value, parameters[name])
        except ValueError as wrong:
            raise UsageError(f"{instruction_id}: {name} is {value!r}, {wrong}") from None
    bound = partial(function, **given)
    bound("x")  # what is wrong with the arguments together shows now, not after a generation
    return bound


@cache
def _parameters(function: Callable[..., bool]) -> dict[str, Any]:
    hints = get_type_hints(function)
    return {name: hints[name] for name in list(inspect.signature(function).parameters)[1:]}


def _coerce(value: Any, kind: Any) -> Any:
    """The value as the annotation wants it; ValueError says what was wanted."""
    if kind is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise ValueError("not a whole number")
        if value < 0:
            raise ValueError("not zero or more")
        return int(value)
    if kind is str:
        if not isinstance(value, str) or not value:
            raise ValueError("not a text")
        return value
    if kind == Relation:
        if value not in RELATIONS:
            raise ValueError(f"not {' or '.join(map(repr, RELATIONS))}")
        return value
    if kind == Sequence[str]:
        texts = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
        if not texts or not all(isinstance(v, str) for v in value):
            raise ValueError("not a list of texts")
        return tuple(value)
    raise TypeError(f"no rule for an argument of type {kind}")


def compare(count: int, relation: Relation, threshold: int) -> bool:
    """`count` is "less than" or "at least" `threshold`."""
    if relation not in RELATIONS:
        raise UsageError(f"relation {relation!r} is not {' or '.join(map(repr, RELATIONS))}")
    return count < threshold if relation == "less than" else count >= threshold


@lru_cache(maxsize=512)
def pattern(source: str, flags: int = 0) -> re.Pattern[str]:
    """The benchmark takes its keywords as regular expressions; so do we."""
    try:
        return re.compile(source, flags)
    except re.error as wrong:
        raise UsageError(f"{source!r} is no regular expression: {wrong}") from None


def _examples() -> str:
    return ", ".join(sorted(CHECKERS)[:3]) + ", ..."
