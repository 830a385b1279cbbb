"""Exports: what each format's directory holds, splits that share nothing, texts that stay as they
are, and directories of others that stay as they are. Whether a trainer takes them is for
test_export_trainers.py, which runs the trainers."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import tempfile
import tomllib
import tracemalloc
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.export.exporter import export
from autoif.export.formats import FORMATS, load_format
from autoif.export.selection import KINDS, Example, Selection, parse_example
from autoif.export.splits import Splits, parse_split
from runs import Done, Row, rows, write_rows

SPLIT = "train=0.8,test=0.2"
TRUE = "def evaluate(response):\n    return True"
GYM = "resources_servers/autoif"
# Data files of train, by the kind of row that they are made of; then the files beside them.
DATA = {
    "trl": {"sft": ["sft.jsonl"], "dpo": ["dpo.jsonl", "kto.jsonl"], "rlvr": ["rlvr.jsonl"]},
    "verl": {"sft": ["sft.parquet"], "rlvr": ["rl.parquet"]},
    "openrlhf": {"sft": ["sft.jsonl"], "dpo": ["dpo.jsonl"], "rlvr": ["prompts.jsonl"]},
    "verifiers": {"rlvr": ["autoif_tasks/train.jsonl"]},
    "nemo-gym": {"rlvr": [f"{GYM}/data/train.jsonl"]},
    "open-instruct": {"sft": ["sft.jsonl"], "dpo": ["dpo.jsonl"], "rlvr": ["rlvr.jsonl"]},
    "llama-factory": {"sft": ["sft.jsonl"], "dpo": ["dpo.jsonl", "kto.jsonl"]},
    "ms-swift": {
        "sft": ["sft.jsonl"],
        "dpo": ["dpo.jsonl", "kto.jsonl"],
        "rlvr": ["grpo.jsonl"],
    },
    "slime": {"rlvr": ["rl.jsonl"]},
    "skyrl": {"rlvr": ["rl.jsonl"]},
    "axolotl": {"sft": ["sft.jsonl"], "dpo": ["dpo.jsonl"], "rlvr": ["rlvr.jsonl"]},
}
BESIDE = {
    "trl": {"sft.yaml", "dpo.yaml", "kto.yaml", "grpo.yaml"},
    "verl": {"autoif_verl.py", "overrides.txt"},
    "openrlhf": {"reward.py", "args.txt"},
    "verifiers": {"pyproject.toml", "autoif_tasks/__init__.py"},
    "nemo-gym": {
        *(f"{GYM}/app.py", f"{GYM}/requirements.txt", f"{GYM}/configs/autoif.yaml"),
        f"{GYM}/data/example.jsonl",
    },
    "open-instruct": {"autoif_open_instruct.py"},
    "llama-factory": {"dataset_info.json", "sft.yaml", "dpo.yaml", "kto.yaml"},
    "ms-swift": {"autoif_swift.py"},
    "slime": {"autoif_slime.py", "args.sh"},
    "skyrl": {"autoif_skyrl.py", "train_autoif.py"},
    "axolotl": {"sft.yaml", "dpo.yaml", "grpo.yaml"},
}
COLUMNS = {  # of each data file, in order
    ("trl", "sft"): "id level source lang messages",
    ("trl", "dpo"): "id level source lang prompt chosen rejected verifiers",
    ("trl", "kto"): "id level source lang prompt completion label",
    ("trl", "rlvr"): "id level source lang prompt verifiers pass_rate",
    ("verl", "rl"): "data_source prompt ability reward_model extra_info",
    ("verl", "sft"): "messages",
    ("openrlhf", "sft"): "messages",
    ("openrlhf", "dpo"): "prompt chosen rejected",
    ("openrlhf", "prompts"): "prompt label datasource",
    ("verifiers", "train"): "idx name prompt verifiers",
    ("nemo-gym", "train"): "responses_create_params verifier_metadata agent_ref",
    ("open-instruct", "sft"): "messages",
    ("open-instruct", "dpo"): "chosen rejected",
    ("open-instruct", "rlvr"): "messages ground_truth dataset",
    ("llama-factory", "sft"): "messages",
    ("llama-factory", "dpo"): "messages chosen rejected",
    ("llama-factory", "kto"): "messages kto_tag",
    ("ms-swift", "sft"): "messages",
    ("ms-swift", "dpo"): "messages rejected_response",
    ("ms-swift", "kto"): "messages label",
    ("ms-swift", "grpo"): "messages verifiers",
    ("slime", "rl"): "prompt label metadata",
    ("skyrl", "rl"): "data_source prompt env_class reward_spec extra_info",
    ("axolotl", "sft"): "messages",
    ("axolotl", "dpo"): "messages chosen rejected",
    ("axolotl", "rlvr"): "prompt verifiers",
}
# Where a format keeps the prompt and the verifiers of RLVR.
PROMPT: dict[str, Callable[[Row], Any]] = {
    "nemo-gym": lambda row: row["responses_create_params"]["input"],
    **dict.fromkeys(("open-instruct", "ms-swift"), lambda row: row["messages"]),
}
VERIFIERS: dict[str, Callable[[Row], Any]] = {
    "verl": lambda row: json.loads(row["reward_model"]["ground_truth"]),
    "openrlhf": lambda row: json.loads(row["label"]),
    "slime": lambda row: json.loads(row["label"]),
    "nemo-gym": lambda row: row["verifier_metadata"]["verifiers"],
    "open-instruct": lambda row: json.loads(row["ground_truth"]),
    "skyrl": lambda row: json.loads(row["reward_spec"]["ground_truth"]),
}


def read(path: Path) -> list[Row]:
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    found = rows(path)
    # Some readers divide lines wherever Unicode does.
    assert len(path.read_text("utf-8").splitlines()) == len(found)
    return found


def of_test(path: str) -> str:
    if path.endswith("/train.jsonl"):
        return path.replace("/train.jsonl", "/test.jsonl")
    return f"{Path(path).with_suffix('')}.test{Path(path).suffix}"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def exported(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke run in every format, with a split."""
    home = tmp_path_factory.mktemp("exports")
    for name in FORMATS:
        export(smoke, name, out=home / name, split=SPLIT)
    return home


def test_the_tables_above_name_every_format() -> None:
    assert set(FORMATS) == DATA.keys() == BESIDE.keys()


# ---- what is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_writes_what_it_says(exported: Path, name: str) -> None:
    data = {path for paths in DATA[name].values() for path in paths}
    both = data | set(map(of_test, data))
    assert tree(exported / name).keys() == both | BESIDE[name] | {"README.md", "export.json"}
    readme = (exported / name / "README.md").read_text("utf-8")
    assert "{{" not in readme
    assert all(f"| `{path}` |" in readme for path in both)
    head = readme.partition("# Instruction-following")[2]
    assert head.count("\n") <= 50, "a README of one screen"
    assert "## Train" in head or "## Use" in head


@pytest.mark.parametrize("name", FORMATS)
def test_columns_are_those_that_the_trainer_reads(exported: Path, name: str) -> None:
    for path in (path for paths in DATA[name].values() for path in paths):
        columns = COLUMNS[name, Path(path).stem].split()
        found = read(exported / name / path) + read(exported / name / of_test(path))
        assert found
        assert all(list(row) == columns for row in found)


@pytest.mark.parametrize("name", [name for name in FORMATS if "rlvr" in DATA[name]])
def test_a_prompt_states_what_its_verifiers_decide(exported: Path, smoke: Path, name: str) -> None:
    (path,) = DATA[name]["rlvr"]
    wanted = {
        json.dumps(row["verifiers"], sort_keys=True) for row in rows(smoke / "data/rlvr.jsonl")
    }
    for row in read(exported / name / path):
        prompt = PROMPT.get(name, itemgetter("prompt"))(row)
        text = prompt if isinstance(prompt, str) else "\n".join(m["content"] for m in prompt)
        assert isinstance(prompt, str) or prompt[-1]["role"] == "user"
        verifiers = VERIFIERS.get(name, itemgetter("verifiers"))(row)
        assert json.dumps(verifiers, sort_keys=True) in wanted
        assert all(v["instruction"] in text for v in verifiers)


def test_conversations_keep_their_turns(smoke: Path, tmp_path: Path) -> None:
    done = export(smoke, "verifiers", out=tmp_path / "out")
    tasks = read(done.path / "autoif_tasks/train.jsonl")
    several = [task["prompt"] for task in tasks if isinstance(task["prompt"], list)]
    assert several
    for prompt in several:
        roles = [message["role"] for message in prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_pairs_become_what_each_trainer_takes_for_them(exported: Path) -> None:
    pairs = read(exported / "trl/dpo.jsonl")
    kto = read(exported / "trl/kto.jsonl")
    assert [row["label"] for row in kto] == [True, False] * len(pairs)
    assert [row["completion"] for row in kto[::2]] == [pair["chosen"] for pair in pairs]
    for pair, whole, object_ in zip(
        pairs,
        read(exported / "open-instruct/dpo.jsonl"),
        read(exported / "llama-factory/dpo.jsonl"),
        strict=True,
    ):
        assert whole["chosen"] == pair["prompt"] + pair["chosen"]
        assert whole["rejected"] == pair["prompt"] + pair["rejected"]
        assert [object_["chosen"], object_["rejected"]] == pair["chosen"] + pair["rejected"]


def test_llama_factory_finds_every_file_by_its_name(exported: Path) -> None:
    home = exported / "llama-factory"
    info = json.loads((home / "dataset_info.json").read_text())
    assert set(info) == {f"autoif_{k}{s}" for k in ("sft", "dpo", "kto") for s in ("", "_test")}
    for name, entry in info.items():
        row = rows(home / entry["file_name"])[0]
        assert all(column in row for column in entry["columns"].values())
        assert entry.get("ranking", False) == ("dpo" in name)
    for stage in ("sft", "dpo", "kto"):
        assert f"dataset: autoif_{stage}\n" in (home / f"{stage}.yaml").read_text()


def typed(file: Path) -> list[Any]:
    """The rows as they are loaded: what a row leaves out is null where columns have types."""
    written = rows(file)
    for row in written:
        for verifier in row.get("verifiers", ()):
            verifier.setdefault("measure", None)
    return written


def test_the_dataset_directory_of_trl_loads(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets: Any = pytest.importorskip("datasets", reason='needs `pip install "autoif[hub]"`')
    readme = (exported / "trl/README.md").read_text("utf-8")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(exported / "trl")
    space: dict[str, Any] = {}
    exec(readme.partition("```python\n")[2].partition("```")[0], space)
    assert space["rows"].to_list() == typed(exported / "trl/rlvr.jsonl")
    for name in ("sft", "dpo", "kto", "rlvr"):
        for split, file in (("train", f"{name}.jsonl"), ("test", f"{name}.test.jsonl")):
            loaded = datasets.load_dataset(
                str(exported / "trl"), name, split=split, cache_dir=str(tmp_path / "cache")
            )
            assert loaded.to_list() == typed(exported / "trl" / file)
            assert "null" not in str(loaded.features)


def test_a_package_and_a_server_are_named_as_their_folders(exported: Path) -> None:
    project = tomllib.loads((exported / "verifiers/pyproject.toml").read_text())["project"]
    assert (exported / "verifiers" / project["name"] / "__init__.py").is_file()
    config = (exported / "nemo-gym" / GYM / "configs/autoif.yaml").read_text()
    for line in config.splitlines():
        if "jsonl_fpath" in line:
            assert (exported / "nemo-gym" / line.split(": ")[1]).is_file()


# ---- the glue ----------------------------------------------------------------------------------


def test_the_reward_is_imported_in_one_line_of_each_glue(exported: Path) -> None:
    glue = [p for p in exported.rglob("*.py") if p.name != "train_autoif.py"]
    assert len(glue) == 8
    for path in glue:
        source = path.read_text("utf-8")
        compile(source, str(path), "exec")
        assert source.count("autoif.verifier.reward") == 1, path
        assert len(source.splitlines()) <= 50, path


RAISES = [{"checks": ["def evaluate(response):\n    raise ValueError"], "min_fraction": 1.0}]
HALF = [
    {"checks": [TRUE], "min_fraction": 1.0},
    {"checks": ["def evaluate(response):\n    return 'x' in response"], "min_fraction": 1.0},
]


def test_the_glue_of_verl_gives_numbers_under_the_same_keys(exported: Path) -> None:
    glue = module(exported / "verl/autoif_verl.py")
    half = glue.compute_score_sync("autoif", "no", json.dumps(HALF), {})
    none = asyncio.run(glue.compute_score("autoif", "no", json.dumps(RAISES), extra_info={}))
    assert half == {"score": 0.5, "acc": 0.0, "unscored": 0.0}
    assert none == {"score": 0.0, "acc": 0.0, "unscored": 1.0}


def test_the_glue_of_openrlhf_judges_the_response_alone(exported: Path) -> None:
    glue = module(exported / "openrlhf/reward.py")
    prompt = "<|im_start|>user\nWrite x.<|im_end|>\n<|im_start|>assistant\n"

    def of(query: str, label: str) -> Row:
        return dict(glue.reward_func([query], [prompt], [label]))

    assert of(f"{prompt}no<|im_end|>", json.dumps(HALF))["rewards"] == 0.5
    assert of(f"{prompt}ox<|im_end|>", json.dumps(HALF))["rewards"] == 1.0
    # a tokenizer that writes the prompt otherwise
    assert of(f"<s> {prompt}no<|im_end|>".replace("Write", "  Write"), json.dumps(HALF)) == {
        "rewards": 0.5,
        "scores": 0.5,
        "extra_logs": {"unscored": 0.0},
    }
    assert of(f"{prompt}no", "not json")["extra_logs"] == {"unscored": 1.0}
    prompt += "<think>\n"  # by its template
    assert of(f"{prompt}x, so", json.dumps(HALF))["extra_logs"] == {"unscored": 1.0}
    assert of(f"{prompt}so</think>\nx", json.dumps(HALF))["rewards"] == 1.0


def test_the_glue_of_slime_takes_one_and_many(exported: Path) -> None:
    from types import SimpleNamespace

    glue = module(exported / "slime/autoif_slime.py")
    samples = [
        SimpleNamespace(prompt="?", response="no", label=json.dumps(row)) for row in (HALF, RAISES)
    ]
    assert asyncio.run(glue.reward(None, samples)) == [0.5, 0.0]
    assert asyncio.run(glue.reward(None, samples[0])) == 0.5
    # Its template has opened the reasoning, which was then cut off.
    thinks = SimpleNamespace(prompt="?<think>\n", response="x, so", label=json.dumps(HALF))
    assert asyncio.run(glue.reward(None, thinks)) == 0.0


# ---- splits ------------------------------------------------------------------------------------


def rlvr_row(query: str, constraints: list[str], **more: object) -> Row:
    return {
        "prompt": [{"role": "user", "content": f"{query} {' '.join(constraints)}"}],
        "query_text": query,
        "instruction_ids": constraints,
        "verifiers": [
            {"instruction": c, "checks": [TRUE], "min_fraction": 1.0} for c in constraints
        ],
        "level": len(constraints),
        **more,
    }


ROWS = st.lists(
    st.tuples(
        st.sampled_from([f"query {n}" for n in range(12)]),
        st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=3, unique=True),
    ),
    min_size=1,
    max_size=40,
)
SHARES = st.sampled_from(
    ["train=1", "train=0.9,test=0.1", "train=0.5,test=0.5", "train=0.6,val=0.2,test=0.2"]
)


@settings(max_examples=60, deadline=None)
@given(ROWS, SHARES)
def test_no_two_splits_share_a_constraint_or_a_query(
    drawn: list[tuple[str, list[str]]], shares: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rlvr.jsonl", (rlvr_row(q, c) for q, c in drawn))
        selection = Selection(Path(folder))
        splits = Splits.of(parse_split(shares), selection)
        examples = list(selection.examples("rlvr"))
        assert Splits.of(parse_split(shares), selection) == splits
    keys: dict[str, set[str]] = {name: set() for name in splits.names}
    left_out = 0
    for example in examples:
        name = splits.name(example)
        left_out += name is None
        if name:
            keys[name] |= example.keys
    assert len(examples) == len(drawn)
    for name, mine in keys.items():
        assert not any(mine & other for also, other in keys.items() if also != name)
    if shares == "train=1":
        assert not left_out
    else:
        assert any(keys[name] for name in splits.names[1:]), "something is held out"


def test_shares_are_met_where_rows_share_little(tmp_path: Path) -> None:
    made = (rlvr_row(f"query {n}", [f"constraint {n // 12}"]) for n in range(3000))
    write_rows(tmp_path / "rlvr.jsonl", made)
    done = export(tmp_path, "slime", split="train=0.95,test=0.05")
    counts = {one.split: one.rows for one in done.files}
    assert 150 <= counts["test"] <= 170
    assert sum(counts.values()) + sum(done.left_out.values()) == 3000
    assert counts["train"] > 2400, "a few percent of the rows lie between the two"


def test_what_pairs_and_samples_share_stays_together(exported: Path, smoke: Path) -> None:
    queries: dict[str, set[str]] = {}
    for split in ("", ".test"):
        texts = set()
        for row in rows(exported / f"trl/sft{split}.jsonl"):
            texts.add(row["messages"][0]["content"])
        for row in rows(exported / f"trl/rlvr{split}.jsonl"):
            texts.add(row["prompt"][0]["content"])
        queries[split] = texts
    asked = {row["query_text"] for row in rows(smoke / "data/rlvr.jsonl")}
    train = {q for q in asked for text in queries[""] if text.startswith(q)}
    assert train
    assert not {q for q in train for text in queries[".test"] if text.startswith(q)}


# ---- rows --------------------------------------------------------------------------------------

HOSTILE = [
    "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e lines that are none",
    "\x00\x01\x1b[31m\x7f\x9f",
    "\r\n\r \t trailing ",
    '"}]}\n{"id": "forged"}',
    "\U000e0041\u202e\ufeff\u200b",
    "<|im_start|>system\n<image>{{rows}}{DIR}%s",
    "\u4f60\u597d \U0001f600 e\u0301",
    "\\u0000 \\ud800 \\",
]


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if value.startswith("["):  # verifiers, as one text
            yield from texts_of(json.loads(value))
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_of(inner)


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_texts_stay_as_they_are(name: str, tmp_path: Path) -> None:
    data = hostile_data(tmp_path)
    done = export(tmp_path, name, out=tmp_path / "out")
    assert sum(done.left_out.values()) == 0
    for one in done.files:
        found = read(done.path / one.path)
        there = set(texts_of(found))
        for row in data[one.file.kind]:
            wanted = [m["content"] for m in row.get("prompt") or row["messages"]]
            if one.file.kind == "rlvr":
                wanted += [
                    text for v in row["verifiers"] for text in (v["instruction"], *v["checks"])
                ]
            if one.rows < len(data[one.file.kind]):
                continue  # NeMo-Gym's few examples
            assert set(wanted) <= there, one.path


def hostile_data(folder: Path) -> dict[str, list[Row]]:
    data: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for n, text in enumerate(HOSTILE):
        asked = {"role": "user", "content": f"{text}?"}
        verifiers = [{"instruction": text, "checks": [f"# {text}"], "min_fraction": 0.5}]
        common: Row = {"id": text, "lang": text, "verifiers": verifiers}
        chosen, rejected = ({"role": "assistant", "content": f"{text}{c}"} for c in "+-")
        data["sft"].append({"messages": [asked, chosen], **common})
        data["dpo"].append(
            {"prompt": [asked], "chosen": [chosen], "rejected": [rejected], **common}
        )
        data["rlvr"].append({"prompt": [asked], "pass_rate": n / 10, **common})
    for kind, found in data.items():
        write_rows(folder / f"{kind}.jsonl", found)
    return data


@pytest.mark.parametrize("name", ["trl", "verl"])
def test_what_no_file_can_hold_is_left_out_and_counted(name: str, tmp_path: Path) -> None:
    broken = rlvr_row("lone \ud800 surrogate", ["a"])
    without = rlvr_row("no verifier", [])
    write_rows(tmp_path / "rlvr.jsonl", [broken, without, rlvr_row("q", ["a"])])
    done = export(tmp_path, name)
    assert [one.rows for one in done.files] == [1]
    assert sorted(done.left_out.values()) == [1, 1]
    readme = (done.path / "README.md").read_text("utf-8")
    assert all(f"1 ({why})" in readme for why in done.left_out)


def test_rows_are_chosen_by_level_and_pass_rate(smoke: Path, tmp_path: Path) -> None:
    done = export(smoke, "trl", out=tmp_path / "out", levels=[2, 3], min_pass=0.5)
    source = rows(smoke / "data/rlvr.jsonl")
    wanted = {r["id"] for r in source if r["level"] in (2, 3) and r["pass_rate"] >= 0.5}
    assert 0 < len(wanted) < len(source)
    assert {row["id"] for row in rows(done.path / "rlvr.jsonl")} == wanted
    assert all(row["level"] in (2, 3) for row in rows(done.path / "sft.jsonl"))


def test_rows_of_an_older_version_are_read(tmp_path: Path) -> None:
    row = rlvr_row("What?", ["a"])
    row["query"], row["instruction"] = row.pop("query_text"), "a"
    write_rows(tmp_path / "rlvr.jsonl", [row])
    assert "query what?" in next(iter(Selection(tmp_path).examples("rlvr"))).keys
    done = export(tmp_path, "ms-swift")
    assert [list(row) for row in rows(done.path / "grpo.jsonl")] == [["messages", "verifiers"]]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    long = rlvr_row("q" * 20_000, ["a"])
    write_rows(tmp_path / "rlvr.jsonl", (long for _ in range(400)))  # 16 MB
    tracemalloc.start()
    try:
        export(tmp_path, "slime")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


# ---- directories -------------------------------------------------------------------------------


def test_the_same_rows_give_the_same_bytes(smoke: Path, exported: Path, tmp_path: Path) -> None:
    for name in ("trl", "verl", "nemo-gym"):
        again = export(smoke, name, out=tmp_path / name, split=SPLIT)
        assert tree(again.path) == tree(exported / name)


def test_an_export_replaces_its_own_and_nothing_else(smoke: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(smoke, "trl", out=out, split=SPLIT)
    (out / "__pycache__").mkdir()
    (out / "__pycache__/x.pyc").write_bytes(b"")
    export(smoke, "slime", out=out)
    assert "sft.test.jsonl" not in tree(out)
    before = tree(out)

    def refused(why: str) -> None:
        now = tree(out)
        with pytest.raises(UsageError, match=why):
            export(smoke, "trl", out=out)
        assert tree(out) == now

    (out / "mine").write_text("mine")
    refused("mine was not written by an export")
    (out / "mine").unlink()
    (out / "args.sh").write_text("edited")
    refused("args.sh was changed")
    (out / "args.sh").write_bytes(before["args.sh"])
    (out / "rl.jsonl").unlink()
    (out / "rl.jsonl").symlink_to(smoke / "data/rlvr.jsonl")
    refused("rl.jsonl was not written by an export")
    (out / "rl.jsonl").unlink()
    (out / "link").symlink_to(smoke)
    refused("link was not written by an export")
    (out / "link").unlink()
    export(smoke, "slime", out=out)
    assert tree(out) == before


def test_a_manifest_that_is_not_ours_protects_nothing(smoke: Path, tmp_path: Path) -> None:
    for content in (b"[]", b"{", b'{"files": 3}', b'{"files": {"a": null}}'):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        (out / "export.json").write_bytes(content)
        (out / "a").write_bytes(b"theirs")
        with pytest.raises(UsageError, match="would be lost"):
            export(smoke, "slime", out=out)
        shutil.rmtree(out)
    out.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="no directory"):
        export(smoke, "slime", out=out)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write_rows(tmp_path / "rlvr.jsonl", [rlvr_row("q", ["a"])])
    done = export(tmp_path, "slime")
    before = tree(done.path)
    write_rows(tmp_path / "rlvr.jsonl", [rlvr_row("q", ["a"]), {"prompt": "no messages"}])
    with pytest.raises(UsageError, match=r"rlvr\.jsonl:2"):
        export(tmp_path, "slime")
    assert tree(done.path) == before
    assert [p.name for p in done.path.parent.iterdir()] == ["slime"]


# ---- the command -------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote(smoke_copy: Path, here: Callable[..., Done]) -> None:
    done = here("export", smoke_copy, "--to", "trl", "--split", SPLIT, "--json")
    said = json.loads(done.out)
    assert said["out"] == str(smoke_copy / "export/trl")
    assert said["files"]["sft.jsonl"] == len(rows(smoke_copy / "export/trl/sft.jsonl"))
    assert list(said["left_out"]) == ["shares a constraint or a query with another split"]
    assert here("export", smoke_copy / "data", "--to", "trl", "--quiet").out == ""
    assert (smoke_copy / "data/export/trl/README.md").is_file()


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--to", "tlr"], "did you mean trl"),
        (["--to", "trl", "--split", "train=0.5,test=0.4"], "add up to 1"),
        (["--to", "trl", "--split", "test=0.5,train=0.5"], "has to be called train"),
        (["--to", "trl", "--split", "train=0.5,../x=0.5"], "names in small letters"),
        (["--to", "trl", "--split", "train=0.5,test=nan"], "names in small letters"),
        (["--to", "trl", "--split", "train=0.5,train=0.5"], "each once"),
        (["--to", "trl", "--level", "two"], "numbers and ranges"),
        (["--to", "trl", "--level", "3-2"], "no such level"),
        (["--to", "trl", "--level", "9"], "nothing to write for trl: 100 rows left out"),
        (["--to", "trl", "--min-pass", "2"], "from 0 to 1"),
        (["--to", "trl", "--split", "train=0.01,test=0.99"], "no row is left for train"),
    ],
)
def test_a_wrong_command_is_one_line(
    smoke: Path, tmp_path: Path, here: Callable[..., Done], args: list[str], why: str
) -> None:
    done = here("export", smoke, "--out", tmp_path / "out", *args)
    assert done.code == 2
    assert why in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_directory_without_rows_is_one_line(tmp_path: Path, here: Callable[..., Done]) -> None:
    done = here("export", tmp_path / "nowhere", "--to", "trl")
    assert done.code == 2
    assert "no sft.jsonl, dpo.jsonl or rlvr.jsonl" in done.err


MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
VERIFIER = {"checks": [TRUE]}


@pytest.mark.parametrize(
    ("kind", "row", "why"),
    [
        ("sft", {}, '"messages" has to be'),
        ("sft", {"messages": MESSAGES[:1], "verifiers": []}, "one message of the assistant"),
        ("sft", {"messages": MESSAGES[1:], "verifiers": []}, "end with a message of the user"),
        ("sft", {"messages": [{"role": "user", "content": None}]}, '"messages" has to be'),
        ("sft", {"messages": MESSAGES, "verifiers": "none"}, '"verifiers" has to be a list'),
        ("rlvr", {"prompt": MESSAGES, "verifiers": []}, "end with a message of the user"),
        ("dpo", {"prompt": MESSAGES[:1], "chosen": MESSAGES}, "one message of the assistant"),
        ("dpo", {"prompt": MESSAGES[:1], "chosen": "a"}, '"chosen" has to be'),
    ],
)
def test_a_row_of_another_shape_is_named(kind: Any, row: Row, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_example(kind, row, "file:7")
    assert str(caught.value).startswith("file:7")


def test_an_example_holds_the_row(smoke: Path) -> None:
    row = rows(smoke / "data/dpo.jsonl")[0]
    example = parse_example("dpo", row, "here")
    assert isinstance(example, Example)
    assert example.messages == row["prompt"] + row["chosen"]
    assert example.rejected == row["rejected"][0]["content"]
    assert example.verifiers == row["verifiers"]


@pytest.mark.parametrize("name", FORMATS)
def test_the_page_has_each_format_and_its_library(name: str) -> None:
    form = load_format(name)
    assert form.name == name
    page = (Path(__file__).parents[1] / "docs/export.md").read_text("utf-8")
    assert f"| `{name}` | {form.made_for} |" in page


@pytest.mark.parametrize("name", FORMATS)
def test_the_licences_of_the_queries_come_along(exported: Path, name: str) -> None:
    readme = (exported / name / "README.md").read_text("utf-8")
    sources = json.loads((exported / name / "export.json").read_text())["sources"]
    assert sources["autoif, Apache-2.0"] > 0
    assert f"autoif, Apache-2.0 ({sources['autoif, Apache-2.0']} rows)" in readme
    carried = {"trl", "verl", "slime", "skyrl", "nemo-gym"}
    (path, *_) = DATA[name].get("rlvr") or DATA[name]["sft"]
    texts = {text for row in read(exported / name / path) for text in texts_of(row)}
    assert ("autoif, Apache-2.0" in texts) == (name in carried)


def test_many_sources_and_hostile_ones_take_no_more_than_a_line(tmp_path: Path) -> None:
    hostile = "x | [y](z) <script>\n# Title"
    made = [rlvr_row(f"q {n}", ["a"], source=f"site {n}, MIT") for n in range(1200)]
    made += [rlvr_row(f"r {n}", ["a"], source=hostile) for n in range(3)]
    write_rows(tmp_path / "rlvr.jsonl", [*made[-3:], *made[:-3], rlvr_row("s", ["a"])])
    done = export(tmp_path, "trl")
    readme = (done.path / "README.md").read_text("utf-8")
    assert "\n# Title" not in readme
    assert "<script>" not in readme
    (line,) = [line for line in readme.splitlines() if "Sources and licences" in line]
    assert "3 rows" in line
    assert "export.json" in line
    sources = json.loads((done.path / "export.json").read_text())["sources"]
    assert sum(sources.values()) == 1204
    assert len(sources) <= 1001
    assert sources[hostile] == 3


@pytest.mark.parametrize("name", [name for name in FORMATS if "rlvr" in DATA[name]])
def test_a_readme_says_how_rewards_are_computed_elsewhere(exported: Path, name: str) -> None:
    assert "`AUTOIF_REWARD_URL`" in (exported / name / "README.md").read_text("utf-8")
