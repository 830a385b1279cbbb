"""NVIDIA NeMo-Gym: a resources server, an agent for it, and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoif.export.layout import DataFile, Format, WrittenFile
from autoif.export.selection import Example, Row

_HOME = "resources_servers/autoif"
_TYPES = {"train": "train", "example": "example"}  # of other splits: validation


def _row(example: Example, n: int) -> Iterator[Row]:
    yield {
        "responses_create_params": {"input": example.prompt},
        "verifier_metadata": {**example.about, "verifiers": example.verifiers},
        "agent_ref": {"type": "responses_api_agents", "name": "autoif_simple_agent"},
    }


def _datasets(written: Sequence[WrittenFile]) -> dict[str, str]:
    lines = []
    for one in written:
        name = one.split if one.file.name == "rows" else one.file.name
        lines += [
            f"      - name: {name}",
            f"        type: {_TYPES.get(name, 'validation')}",
            f"        jsonl_fpath: {one.path}",
        ]
        if name != "example":
            lines.append("        license: TBD")
    return {"datasets": "\n".join(lines)}


FORMAT = Format(
    "nemo-gym",
    "NeMo-Gym 0.7.0",
    (
        DataFile(
            *("rows", "rlvr", f"{_HOME}/data/{{name}}.jsonl", _row),
            "`responses_create_params`, `verifier_metadata`",
        ),
        DataFile(
            *("example", "rlvr", f"{_HOME}/data/example.jsonl", _row),
            "the first five, which NeMo-Gym wants",
            most=5,
        ),
    ),
    fill=_datasets,
)
