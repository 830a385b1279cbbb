"""`data/README.md`, the dataset card: what can be counted, and nothing that changes by the day."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.files import read_small, write_whole
from autoif.base.language import words
from autoif.base.printable import markdown, markdown_code, printable
from autoif.base.records import seed_from
from autoif.report import reviewing
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe

FILES = ("sft", "dpo", "rlvr")
SHOWN = 10  # samples
LONGEST = 1200  # characters of a sample that is shown
FIGURES = {  # of benchmarks/results/fidelity.json
    "n_survivors": "verifiers",
    "balanced_accuracy": "balanced accuracy",
    "false_accept": "false accepts",
    "coverage": "coverage",
}
Row = dict[str, Any]
Type = str | list[Any]  # of one element: a type, or the columns of an object

# The columns of the data files, in their order. `datasets` otherwise guesses types from the first
# 10 MB and stops where `soft` or `quality`, empty so far, is filled for the first time.
_MESSAGES: Type = [{"role": "string", "content": "string"}]
_VERIFIERS: Type = [{"instruction": "string", "checks": ["string"], "min_fraction": "float64"}]
_LINEAGE: dict[str, Type] = {
    "level": "int64",
    "turns": "int64",
    "soft": [{"instruction": "string", "score": "float64"}],
    "composition": "string",
    "verifier_ids": ["string"],
    "instruction_ids": ["string"],
    **dict.fromkeys(("lang", "family", "origin", "benchmark_type", "source"), "string"),
}
_ASKED: dict[str, Type] = {"query_text": "string", "instruction_text": "string"}
COLUMNS: dict[str, dict[str, Type]] = {
    "sft": {
        "id": "string",
        "messages": _MESSAGES,
        **_ASKED,
        "quality": "float64",
        "verifiers": _VERIFIERS,
        **_LINEAGE,
    },
    "dpo": {
        "id": "string",
        **dict.fromkeys(("prompt", "chosen", "rejected"), _MESSAGES),
        "kind": "string",
        **_ASKED,
        "verifiers": _VERIFIERS,
        **_LINEAGE,
    },
    "rlvr": {
        "id": "string",
        "prompt": _MESSAGES,
        **_ASKED,
        "verifiers": _VERIFIERS,
        "pass_rate": "float64",
        **_LINEAGE,
    },
}


def render(recipe: Recipe, report: Row, data: Path, fidelity: str) -> str:
    """Markdown with the hub's YAML head, from the run's report, its `data` directory and what
    `fidelity` made.

    No times, costs or dates: the same data, the same card.
    """
    roles = {r: recipe.models.role(r) for r in ("propose", "code", "respond", "judge")}
    stages = [(s["name"], s["in"], s["kept"], _reasons(s["dropped"])) for s in report["stages"]]
    partial = "" if report["state"] == "done" else "**The run was stopped: this is a part of it.**"
    n = {name: sum(1 for _ in _rows(data, name)) for name in FILES}
    against = [Path(name).name for name in recipe.hygiene.against]
    preset = markdown_code(recipe.profile)
    return f"""---
language:
{_list(recipe.langs)}
task_categories:
- text-generation
tags:
- instruction-following
- synthetic
- autoif
configs:
- config_name: sft
  data_files: sft.jsonl
- config_name: dpo
  data_files: dpo.jsonl
- config_name: rlvr
  data_files: rlvr.jsonl
dataset_info:
{_types()}
---
# Instruction-following data, verified by execution
{partial}
Made with AutoIF by the method of arXiv 2406.13542, preset {preset}, seed {recipe.seed}.
Each row carries the source of its verifiers: `autoif verify --rows sft.jsonl` runs them again.

| file | rows | holds |
|---|---|---|
| `sft.jsonl` | {n["sft"]} | `messages`; the response passed its verifiers and was judged good |
| `dpo.jsonl` | {n["dpo"]} | `prompt`, `chosen`, `rejected`: a constraint's checks all say False |
| `rlvr.jsonl` | {n["rlvr"]} | `prompt`, `verifiers`; at least one sampled response passed |

{_table(("role", "model"), roles.items(), code=True)}

## The funnel

{_table(("stage", "in", "kept", "dropped"), stages)}

## What is in it

{_families(data)}

{_lengths(data)}

{_sources(data)}

## How far to trust the verifiers

{fidelity}
{_reviewed(data)}
## Known limits

- The verifiers are programs that a model wrote. They are untrusted code: run them in a sandbox.
- They decide the form of a reply. Whether it is true nobody has checked; that it answers the query
  is a model's word. {_controlled(report)}
- Instructions whose functions did not agree are missing: hard constraints are rarer than easy ones.
- {_clear(against)}
- Rows that state a constraint of IFEval, IFBench or FollowBench say so in `benchmark_type`:
  {_marked(data)} of {n["sft"]} SFT rows. The mark is set by rule and is wrong now and then.
{_composed(recipe)}
## Ten samples

{_samples(recipe, data)}
"""


def _reviewed(data: Path) -> str:
    """What people say of the rows, where somebody has marked some (`autoif view`)."""
    marks = reviewing.read(data.parent)
    if not marks:
        return ""
    kept = {row["id"] for row in _rows(data, "sft")}
    found = reviewing.result(marks, kept.__contains__)
    rows = [
        (name, *(reviewing.in_words(of_one["precision"][q]) for q in reviewing.MEANINGS))
        for name, of_one in found["reviewers"].items()
    ]
    agreed = "".join(
        f"\n{markdown(pair['a'])} and {markdown(pair['b'])} agree on {pair['k']} of {pair['n']}.\n"
        for pair in found["agreement"]
    )
    head = "SFT rows drawn by chance and judged by hand:"
    return f"\n{head}\n\n{_table(('reviewer', *reviewing.MEANINGS.values()), rows)}\n{agreed}"


def rewrite(run: RunDir) -> Path | None:
    """The card of a finished run, made again from what is there; None where there is none.
    Raises UsageError for files that a run did not write."""
    card, recipe = run.path / "data" / "README.md", run.recipe()
    if recipe is None or not card.is_file():
        return None
    text = render(recipe, run.report(), card.parent, fidelity(recipe))
    write_whole(card, text.encode())
    return card


def _controlled(report: Row) -> str:
    """How the judge fared on texts that answer nothing."""
    for stage in report["stages"]:
        if stage["name"] == "controls" and stage["in"]:
            return f"It refused {stage['kept']} of {stage['in']} texts that answer nothing."
    return "It was shown no text that answers nothing (`judge.controls`)."


def _composed(recipe: Recipe) -> str:
    part = recipe.compose
    said = ""
    if part.on:
        said += (
            "- `level` counts the constraints in force in a row, each with its code in "
            "`verifiers`; `turns`\n  the turns of the user.\n"
        )
    if part.soft:
        said += (
            "- **Rows with a `soft` that is not empty also carry a constraint that no code "
            "decides** (tone,\n  audience): a model scored it. Take them out for data that is "
            "proved by code alone.\n"
        )
    return said


def _types() -> str:
    """`COLUMNS` in the hub's YAML."""
    lines: list[str] = []

    def add(columns: Mapping[str, Type], indent: str) -> None:
        for name, kind in columns.items():
            lines.append(f"{indent}- name: {name}")
            if isinstance(kind, str):
                lines.append(f"{indent}  dtype: {kind}")
            elif isinstance(kind[0], str):
                lines.append(f"{indent}  list: {kind[0]}")
            else:
                lines.append(f"{indent}  list:")
                add(kind[0], f"{indent}  ")

    for name, columns in COLUMNS.items():
        lines += [f"- config_name: {name}", "  features:"]
        add(columns, "  ")
    return "\n".join(lines)


def _rows(data: Path, name: str) -> Iterator[Row]:
    return (row for _, row in jsonl.read(data / f"{name}.jsonl"))


def _list(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]], *, code: bool = False) -> str:
    """`code`: whether the last cell of a row is shown as code."""
    last = markdown_code if code else markdown
    cells = [(*map(markdown, row[:-1]), last(row[-1])) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *cells))


def _reasons(dropped: Mapping[str, int]) -> str:
    ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {n}" for reason, n in ordered) or "-"


def _families(data: Path) -> str:
    found = {name: Counter(row["family"] for row in _rows(data, name)) for name in FILES}
    names = sorted({family for counts in found.values() for family in counts})
    rows = [(name or "proposed by a model", *(found[f][name] for f in FILES)) for name in names]
    return _table(("family", *FILES), rows)


def _lengths(data: Path) -> str:
    """In words; a Chinese character is one."""
    found: dict[str, Counter[int]] = {
        "query": Counter(),
        "instruction": Counter(),
        "response": Counter(),
    }
    for row in _rows(data, "sft"):
        found["query"][len(words(row["query_text"]))] += 1
        found["instruction"][len(words(row["instruction_text"]))] += 1
        found["response"][len(words(row["messages"][-1]["content"]))] += 1
    rows = [
        (name, *(_quantile(counts, q) for q in (0.05, 0.5, 0.95))) for name, counts in found.items()
    ]
    return _table(("words", "5%", "median", "95%"), rows)


def _quantile(counts: Counter[int], q: float) -> int | str:
    """The least length that this share of the texts does not exceed."""
    seen = 0
    for length in sorted(counts):
        seen += counts[length]
        if seen >= q * counts.total():
            return length
    return "-"


def _sources(data: Path) -> str:
    counts = Counter(row["source"] for row in _rows(data, "sft"))
    rows = [(source or "not stated", n) for source, n in sorted(counts.items())]
    return _table(("source and licence of the query", "sft"), rows)


def _marked(data: Path) -> int:
    return sum(bool(row["benchmark_type"]) for row in _rows(data, "sft"))


def _clear(against: list[str]) -> str:
    if not against:
        return "The rows were compared with no benchmark's prompts (`hygiene.against` is empty)."
    return f"No row shares a run of 13 words with a prompt of {', '.join(map(markdown, against))}."


def fidelity(recipe: Recipe) -> str:
    """What is known of the verifiers, for the card. Raises UsageError: not such figures."""
    path = recipe.hygiene.fidelity
    if not path:
        return "Not measured for this run (`python benchmarks/fidelity.py`, `hygiene.fidelity`)."
    try:
        told = jsonl.loads(read_small(Path(path)))
        profiles = told["profiles"]
        rows = [
            (name, *("-" if f[key] is None else f"{f[key]:.4g}" for key in FIGURES))
            for name, f in sorted(profiles.items())
        ]
        model, command = markdown_code(told["model"]), markdown_code(told["command"])
        head = f"Against trusted checkers, with {model} ({command}):"
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path}: not the figures of benchmarks/fidelity.py") from None
    return f"{head}\n\n{_table(('profile', *FIGURES.values()), rows)}"


def _samples(recipe: Recipe, data: Path) -> str:
    """Drawn by their ids, so that the order of the file is no matter."""
    drawn = heapq.nsmallest(
        SHOWN, _rows(data, "sft"), key=lambda row: seed_from(recipe.seed, "card", row["id"])
    )
    return "\n\n".join(
        f"**{markdown(row['id'])}**\n\n"
        + "\n\n".join(_quoted(m["role"], m["content"]) for m in row["messages"])
        for row in drawn
    )


def _quoted(role: str, text: str) -> str:
    """A block that nothing in the text can close."""
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    lines = "\n".join(f"    {line}" for line in printable(text).splitlines() or [""])
    return f"{markdown(role)}:\n\n{lines}"
