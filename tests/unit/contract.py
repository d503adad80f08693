"""Holds what a stack exports against what mesh/outputs.py says of it."""

from collections.abc import Iterator
from types import NoneType
from typing import Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from pulumi import Output

from mesh.cli.outputs import fields
from mesh.outputs import StackOutputs


def differences(value: Any, hint: Any = StackOutputs, path: str = "") -> list[str]:
    """Where a value is not what an annotation says; nothing where it is."""
    return list(_differences(value, hint, path))


def _differences(value: Any, hint: Any, path: str) -> Iterator[str]:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if is_typeddict(hint):
        yield from _in_object(value, hint, path)
    elif origin is Output:
        yield from _differences(value, inner[0], path)
    elif origin is list:
        for index, item in enumerate(value):
            yield from _differences(item, inner[0], f"{path}[{index}]")
    elif origin is dict:
        for name, item in value.items():
            yield from _differences(item, inner[1], f"{path}.{name}")
    elif origin is not None:  # one of several
        if all(differences(value, part) for part in inner):
            yield f"{path} is {value!r}, and not {hint}"
    elif hint is int and isinstance(value, float) and value.is_integer():
        return  # on the wire there is one kind of number
    elif not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        yield f"{path} is {value!r}, and not {hint}"


def _in_object(value: Any, hint: type, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is {value!r}, and no object"
        return
    known, hints = fields(hint), get_type_hints(hint, include_extras=True)
    yield from (f"{path}.{name} is missing" for name in known.keys() - value.keys() if not _may_miss(hints[name]))
    yield from (f"{path}.{name} is not written down" for name in value.keys() - known.keys())
    for name in known.keys() & value.keys():
        yield from _differences(value[name], get_args(known[name])[0], f"{path}.{name}")


def _may_miss(hint: Any) -> bool:
    """Whether that is said, or it may be null, which some SDKs leave out."""
    return get_origin(hint) is NotRequired or NoneType in get_args(get_args(hint)[0])
