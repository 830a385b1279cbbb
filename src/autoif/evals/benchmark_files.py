"""Where a benchmark's rows come from, and how a responses file is joined to them.

`--data` names a local file (see base/inputs.py; a folder for FollowBench); without it
the rows come from the Hugging Face hub, which is asked for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from autoif.base.conversations import user_texts
from autoif.base.errors import SetupError, UsageError, one_line
from autoif.base.inputs import read_rows
from autoif.evals.followbench import KINDS
from autoif.evals.task import Item, JoinedAnswers

T = TypeVar("T")


class _Hub(NamedTuple):
    dataset: str
    config: str | None
    split: str


_HUB = {
    "ifeval": _Hub("google/IFEval", None, "train"),
    "ifbench": _Hub("allenai/IFBench_test", None, "train"),
    "gsm8k": _Hub("openai/gsm8k", "main", "test"),
    "humaneval": _Hub("openai/openai_humaneval", None, "test"),
}
_FOLLOWBENCH = {"followbench": "data", "followbench-zh": "data_zh"}


def load_rows(benchmark: str, data: Path | None) -> Iterable[Mapping[str, Any]]:
    """The benchmark's rows. Raises UsageError for a bad file, SetupError where the hub fails."""
    if benchmark in _FOLLOWBENCH:
        return _followbench(benchmark, data)
    return _from_hub(_HUB[benchmark]) if data is None else read_file(data)


def read_file(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of any kind that `read_rows` reads."""
    return [row for _, row in read_rows(path)]


def join(items: Sequence[Item], rows: Iterable[Mapping[str, Any]], source: str) -> JoinedAnswers:
    """Rows `{"key" and/or "prompt", "response"}` to items. A key of the benchmark wins, and a
    differing prompt only warns; a key that is none (the number of a row) leaves it to the prompt.
    Several rows of one key are several samples of it, in the file's order.

    Raises UsageError for a row without key and prompt, a response that is neither text nor null,
    and where nothing fits.
    """
    by_key = {item.key: item for item in items}
    by_prompt: dict[str, list[Item]] = {}
    for item in items:
        for text in {item.prompt.strip(), item.request.strip()}:
            by_prompt.setdefault(text, []).append(item)
    answers: dict[str, list[str | None]] = {}
    strange = differing = by_prompt_alone = 0
    for number, row in enumerate(rows, 1):
        response = row.get("response")
        if "response" not in row or not (response is None or isinstance(response, str)):
            raise UsageError(f"{source}: row {number} has no text or null as its response")
        key = _key(row.get("key"), by_key)
        prompt = next(iter(user_texts(row.get("prompt"), "prompt")), "").strip()
        if not key and not prompt:
            raise UsageError(f"{source}: row {number} has neither key nor prompt")
        matches = [by_key[key]] if key in by_key else by_prompt.get(prompt, [])
        strange += not matches
        by_prompt_alone += bool(key and matches and key not in by_key)
        for item in matches:
            answers.setdefault(item.key, []).append(response)
            asked = (item.prompt.strip(), item.request.strip())
            differing += bool(prompt) and prompt not in asked
    if not answers:
        raise UsageError(
            f"{source}: no row has a key of this benchmark (they look like {items[0].key!r}), and "
            "none has one of its prompts"
        )
    notes = list(_join_notes(items, answers, strange, differing))
    if by_prompt_alone:
        notes.append(f"{by_prompt_alone} responses have another key; their prompt decides")
    return JoinedAnswers(answers, notes)


def _key(value: Any, keys: Mapping[str, Item]) -> str:
    """As text. A whole number that a table made a float of (1.0) is the number."""
    key = "" if value is None else str(value)
    whole = key.removesuffix(".0")
    return whole if key not in keys and whole in keys else key


def _join_notes(
    items: Sequence[Item], answers: Mapping[str, Sequence[str | None]], strange: int, differing: int
) -> Iterator[str]:
    missing = [item.key for item in items if item.key not in answers]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        yield f"{len(missing)} prompts have no response and count as failed: {shown}"
    if strange:
        yield f"{strange} responses belong to no prompt of this benchmark and are left out"
    if differing:
        yield f"{differing} responses give another prompt than the benchmark's; their key decides"
    several = sum(len(samples) > 1 for samples in answers.values())
    if several:
        yield f"{several} prompts have several responses; only pass@k looks beyond the first"


def _followbench(benchmark: str, folder: Path | None) -> Iterator[Mapping[str, Any]]:
    """The rows of all kinds, in the benchmark's order. A single file of one kind does as well."""
    names = [f"{kind}_constraints.json" for kind in KINDS]
    if folder is None:
        files = [_download(f"{_FOLLOWBENCH[benchmark]}/{name}") for name in names]
    elif folder.is_dir():
        files = [folder / name for name in names if (folder / name).is_file()]
    else:
        files = [folder]
    if not files:
        raise UsageError(f"{folder}: no {names[0]} or the like in it")
    for file in files:
        kind = file.name.partition("_")[0]
        for row in read_file(file):
            yield {**row, "kind": kind}


def _from_hub(hub: _Hub) -> Iterable[Mapping[str, Any]]:
    def load() -> list[dict[str, Any]]:
        import datasets  # type: ignore[import-untyped,import-not-found,unused-ignore]

        rows = datasets.load_dataset(
            hub.dataset, hub.config, split=hub.split, trust_remote_code=False
        )
        return list(map(dict, rows))

    return _loaded(hub.dataset, load)


def _download(name: str) -> Path:
    dataset = "YuxinJiang/FollowBench"

    def load() -> Path:
        import huggingface_hub  # type: ignore[import-not-found,unused-ignore]

        return Path(huggingface_hub.hf_hub_download(dataset, name, repo_type="dataset"))

    return _loaded(dataset, load)


def _loaded(dataset: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except ModuleNotFoundError:
        raise SetupError(
            f'{dataset}: give --data, or `pip install "autoif[hub]"` to load it'
        ) from None
    except Exception as wrong:  # the libraries raise a dozen kinds; each means: not to be had
        raise SetupError(
            f"{dataset} cannot be loaded from the hub; give --data with a local file "
            f"({one_line(wrong)})"
        ) from None
