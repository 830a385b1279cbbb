"""`data/README.md`, the dataset card: what can be counted, and nothing that changes by the day."""

from __future__ import annotations

from typing import Any

from autoif.recipe import Recipe


def render(recipe: Recipe, report: dict[str, Any]) -> str:
    """Markdown with the hub's YAML head. No times, costs or dates: the same data, the same card."""
    roles = {r: recipe.models.role(r) for r in ("propose", "code", "respond", "judge")}
    models = "\n".join(f"| {role} | `{model}` |" for role, model in roles.items())
    langs = "\n".join(f"- {lang}" for lang in recipe.langs)
    funnel = "\n".join(
        f"| {s['name']} | {s['in']} | {s['kept']} | {_reasons(s['dropped'])} |"
        for s in report["stages"]
    )
    partial = (
        "" if report["state"] == "done" else "\n**The run was stopped: this is a part of it.**\n"
    )
    return f"""---
language:
{langs}
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
---
# Instruction-following data, verified by execution
{partial}
Made with AutoIF by the method of arXiv 2406.13542, profile `{recipe.preset}`, seed {recipe.seed}.
Each row carries the source of its verifiers: `autoif verify --rows sft.jsonl` runs them again.

- `sft.jsonl`: `messages`; the response passed its verifiers and was judged to answer the query.
- `dpo.jsonl`: `prompt`, `chosen`, `rejected`; every check of a verifier called the latter False.
- `rlvr.jsonl`: `prompt` and `verifiers`; at least one sampled response passed.

| role | model |
|---|---|
{models}

| stage | in | kept | dropped |
|---|---|---|---|
{funnel}

The verifiers are programs that a model wrote. They are untrusted code: run them in a sandbox.
Sources and licences of the queries stand in the rows (`source`).
{_composed(recipe)}"""


def _composed(recipe: Recipe) -> str:
    part = recipe.compose
    said = ""
    if part.on:
        said += (
            "\n`level` counts the constraints in force in a row, each with its code in "
            "`verifiers`; `turns` the turns of the user.\n"
        )
    if part.soft:
        said += (
            "\n**Rows with a `soft` that is not empty also carry a constraint that no code "
            "decides** (tone, audience): a model scored it. Take them out for data that is proved "
            "by code alone.\n"
        )
    return said


def _reasons(dropped: dict[str, int]) -> str:
    ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {n}" for reason, n in ordered) or "-"
