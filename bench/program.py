"""Runs the project's program once on pulumi's mocks: `python -m bench.program <plan.yaml> [preview]`.

Prints `{"resources": …, "seconds": …}`: from the program's first line to its last awaited output, imports of what it
needs included. A program that refuses its plan ends with its message and exit code 3.
"""

import asyncio
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import mocks, rpc, settings

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("ca", "certificate", "key", "brokerInfo")


class _Engine(mocks.Mocks):
    """Gives back what it is given, and answers for the steps."""

    def __init__(self, plan: dict[str, Any], preview: bool) -> None:
        self.made = 0
        document: dict[str, Any] = {name: name for name in PARTS} | {"broker": {"url": "https://10.6.168.73:6443"}}
        document["clusters"] = {name: {"uid": name} for name in plan["clusters"]}
        self.stdout = rpc.UNKNOWN if preview else json.dumps(document)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"{args.token}: the program calls no functions of providers")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.made += 1
        state = args.inputs | ({"stdout": self.stdout, "stderr": ""} if args.typ == "command:local:Command" else {})
        return args.name, state


def main() -> int:
    """Run the program; see the module's text."""
    plan, preview = yaml.safe_load(Path(sys.argv[1]).read_text()), "preview" in sys.argv[2:]
    engine = _Engine(plan, preview)
    started = time.perf_counter()

    async def once() -> None:
        mocks.set_mocks(engine, project="multi-cluster-mesh", stack="bench", preview=preview)
        settings.set_root_resource(None)  # type: ignore[arg-type]  # the program makes its own
        config = {"mesh:plan": plan, "mesh:clusters": list(plan["clusters"])}
        pulumi.runtime.set_all_config({key: json.dumps(value) for key, value in config.items()})
        await pulumi.runtime.run_in_stack(_program)

    try:
        asyncio.run(once())
    except pulumi.RunError as error:
        print(error, file=sys.stderr)
        return 3
    print(json.dumps({"resources": engine.made, "seconds": time.perf_counter() - started}))
    return 0


def _program() -> None:
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
