"""`mesh outputs`: the contract of the stacks' outputs, as docs/outputs.md has it."""

import inspect
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import typer
from pulumi import Output

from mesh.outputs import CONTRACT_VERSION, Doc, StackOutputs

_HEAD = """\
# Outputs for other stacks

<!-- Generated from mesh/outputs.py: python -m mesh outputs > docs/outputs.md -->

What a stack of the mesh exports, for programs that put workloads on the mesh. [examples/consumer](../examples/consumer)
reads it, with a helper that says in one sentence why where an output cannot be used; copy
[mesh_outputs.py](../examples/consumer/mesh_outputs.py) from there.

This is contract **{version}**.

- *stable*: is there, and means the same, in all versions of this project with this `contractVersion`. New outputs may
  come at any time.
- *for people*: may change at any time; show it, do not take it apart.
- *known*: `preview` is what the plan alone says; `up` is read from a cluster and unknown until the stack has been
  brought up.

```python
mesh = pulumi.StackReference("organization/multi-cluster-mesh/cluster-a")
network = mesh.get_output("cluster")["defaultNetwork"]
```

What may be null may as well be missing: Pulumi's SDKs differ in that.

The stack's name begins with `organization` with every state backend but Pulumi Cloud, where it is your organization's
name. Read outputs one by one: `StackReference.outputs` is secret as a whole as soon as one of them is, and so is all
that is made of it.

A secret that the reader's machine cannot decrypt is not an error in Pulumi: since 3.171 it is left out, or empty. A
reader that needs `brokerInfo` needs the passphrase or key of the broker's stack ([backends](backends.md)); one that
does not is better off without, because Pulumi keeps all outputs that it could decrypt in the reader's own state.
"""


def command() -> None:
    """Print what the stacks export for other stacks, as Markdown (docs/outputs.md)."""
    typer.echo(markdown(), nl=False)


def markdown() -> str:
    """The whole document: every object of the contract, the outermost first."""
    sections = (_section(kind, live) for kind, live in objects().items())
    return _HEAD.format(version=CONTRACT_VERSION) + "".join(sections)


def objects() -> dict[type, bool]:
    """All objects of the contract in the order in which they are mentioned, and whether they come from a cluster."""
    found: dict[type, bool] = {}
    left: list[tuple[type, bool]] = [(StackOutputs, False)]
    for kind, live in left:  # which grows
        if kind not in found:
            found[kind] = live
            left += [(part, live or _is_live(hint)) for hint in fields(kind).values() for part in _objects_in(hint)]
    return found


def fields(kind: type) -> dict[str, Any]:
    """Names and annotations of an object's outputs, without what says that one is not always there."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: get_args(hint)[0] if get_origin(hint) is NotRequired else hint for name, hint in hints.items()}


def doc(hint: Any) -> Doc:
    """What the annotation of an output says about it."""
    return next(extra for extra in get_args(hint)[1:] if isinstance(extra, Doc))


def _section(kind: type, live: bool) -> str:
    rows = (_row(name, hint, live or _is_live(hint)) for name, hint in fields(kind).items())
    head = "| output | type | known | stability | meaning |\n|---|---|---|---|---|\n"
    return f"\n## {_title(kind)}\n\n{inspect.getdoc(kind)}\n\n{head}{''.join(rows)}"


def _row(name: str, hint: Any, live: bool) -> str:
    said, kind = doc(hint), _type(get_args(hint)[0])
    cells = (
        f"`{name}`",
        f"{kind}, secret" if said.secret else kind,
        "up" if live else "preview",
        said.stability,
        said.text,
    )
    return f"| {' | '.join(cells)} |\n"


def _is_live(hint: Any) -> bool:
    return get_origin(get_args(hint)[0]) is Output


def _type(hint: Any) -> str:
    """The type in words, because readers of other languages have other names for it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Output:
        return _type(inner[0])
    if origin is UnionType:
        return " or ".join(map(_type, inner))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "object" if inner[1] is Any else f"object of {_type(inner[1])} by name"
    if is_typeddict(hint):
        return f"[{_title(hint)}](#{_title(hint).lower()})"
    return {str: "string", int: "integer", bool: "boolean", NoneType: "null"}[hint]


def _objects_in(hint: Any) -> Iterator[type]:
    if is_typeddict(hint):
        yield hint
    for inner in get_args(hint):
        yield from _objects_in(inner)


def _title(kind: type) -> str:
    return kind.__name__.removesuffix("Outputs")
