"""`autoif calls`: what is in a call store, in and out of it."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from autoif.base.errors import StoreError
from autoif.base.loop import asyncio_run
from autoif.cli.common import (
    command,
    examples,
    note,
    output,
    output_options,
    say,
    say_json,
    usage,
)
from autoif.store import open_store
from autoif.store.address import is_address
from autoif.store.base import GarbageCollected

JSON = "print the counts as JSON"
QUIET = "print no counts"


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "calls",
        help="inspect, export, import and clean a call store",
        description="The call store holds every answer of a model that a run has paid for.",
        **examples("autoif calls inspect runs/demo", "autoif calls import runs/big results.jsonl"),
    )
    parser.set_defaults(run=usage(parser))
    verbs = parser.add_subparsers(title="commands", metavar="VERB")

    text = "calls and tokens by stage, runs, pending calls"
    look = command(verbs, "inspect", _inspect, text, "autoif calls inspect runs/demo --json")
    _store(look)
    output_options(look, json="print them as JSON")

    text = "write every call as a JSON line"
    out = command(verbs, "export", _export, text, "autoif calls export runs/demo --out calls.jsonl")
    _store(out)
    output_options(out).add_argument("--out", metavar="F", help="file to write; default: stdout")

    into = command(
        verbs, "import", _import, "put the results of a batch, or exported calls, into a store",
        "autoif calls import runs/big results.jsonl",
    )  # fmt: skip
    _store(into).add_argument("file", metavar="F", help="batch results, or `calls export` lines")
    output_options(into, json=JSON, quiet=QUIET)

    batch = command(
        verbs, "batch", _batch, "send the pending calls to a batch API (/v1/batches) and wait",
        "autoif calls batch runs/big --base-url https://api.openai.com/v1",
    )  # fmt: skip
    _store(batch)
    server = batch.add_argument_group("server")
    server.add_argument("--base-url", required=True, metavar="URL", help="ends in /v1")
    server.add_argument(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable with the key (default: OPENAI_API_KEY)",
    )
    server.add_argument(
        "--poll",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds between two polls (default: 30)",
    )
    output_options(batch, json=JSON, quiet=QUIET)

    gc = command(
        verbs, "gc", _gc, "delete every call that no finished run used",
        "autoif calls gc runs/demo", "autoif calls gc shared.sqlite --forget RUN",
    )  # fmt: skip
    _store(gc).add_argument(
        "--forget",
        action="append",
        default=[],
        metavar="RUN",
        help="also delete what this run alone used (`calls inspect` lists runs)",
    )
    output_options(gc, json=JSON, quiet=QUIET)


def _store(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("input")
    group.add_argument(
        "store",
        metavar="STORE",
        help="calls.sqlite, a run directory, or postgresql://USER@HOST/NAME",
    )
    return group


def _where(args: argparse.Namespace) -> str | Path:
    if is_address(args.store):
        return str(args.store)
    path = Path(args.store)
    return path / "calls.sqlite" if path.is_dir() else path


def _inspect(args: argparse.Namespace) -> int:
    found = asyncio_run(_inspected(_where(args)))
    if args.json:
        say_json(found)
        return 0
    say(f"{found['calls']:,} calls, {found['pending']:,} pending, {found['bytes']:,} bytes")
    for row in found["stages"]:
        say(
            f"  {row['stage'] or '-':<14} {row['namespace']:<50} {row['calls']:>9,} calls "
            f"{row['prompt']:>12,} tokens in {row['completion']:>12,} out"
        )
    for run in found["runs"]:
        say(f"  used by {run}")
    return 0


async def _inspected(where: str | Path) -> dict[str, Any]:
    async with open_store(where, read_only=True, on_notice=note) as store:
        return await store.inspect()


def _export(args: argparse.Namespace) -> int:
    where = _where(args)
    with output(args.out, where) as out:
        asyncio_run(_exported(where, out))
    return 0


async def _exported(where: str | Path, out: IO[bytes]) -> None:
    from autoif.store.export_format import export_lines

    async with open_store(where, read_only=True, on_notice=note) as store:
        async for line in export_lines(store, note):
            out.write(line)


def _import(args: argparse.Namespace) -> int:
    from autoif.models.batch import import_file

    return _told(args, asdict(asyncio_run(import_file(_where(args), Path(args.file)))))


def _batch(args: argparse.Namespace) -> int:
    from autoif.models.batch import run_batches

    key = os.environ.get(args.api_key_env)
    notice = (lambda line: None) if args.quiet else note
    found = asyncio_run(
        run_batches(_where(args), args.base_url, key, poll=args.poll, on_notice=notice)
    )
    return _told(args, asdict(found))


def _gc(args: argparse.Namespace) -> int:
    return _told(args, asdict(asyncio_run(_collected(_where(args), args.forget))))


async def _collected(where: str | Path, forget: list[str]) -> GarbageCollected:
    if isinstance(where, Path) and not where.exists():
        raise StoreError(f"there is no call store at {where}")
    async with open_store(where, on_notice=note) as store:
        return await store.collect_garbage(forget)


def _told(args: argparse.Namespace, found: dict[str, Any]) -> int:
    if args.json:
        say_json(found)
    elif not args.quiet:
        say(", ".join(f"{name} {value}" for name, value in found.items()))
    return 0
