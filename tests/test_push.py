"""Datasets on their way to the hub: what is sent, to whom it is shown, what never leaves."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from autoif.base.errors import UsageError
from autoif.export.exporter import export
from autoif.publish import staging
from autoif.publish.hub import push
from autoif.publish.keys import KeySearch
from runs import Done, autoif, rows, write_rows

pytest.importorskip("huggingface_hub", reason='needs `pip install "autoif[hub]"`')

from hub_server import TOKEN, HubRepo, HubServer, hub_server

KEY = "sk-Proj4" + "b7Q" * 10
SENT = {"README.md", *(f"data/{kind}-00000-of-00001.parquet" for kind in ("sft", "dpo", "rlvr"))}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


def test_a_run_is_sent_whole_and_to_a_private_repository(
    hub: HubServer, smoke: Path, tmp_path: Path
) -> None:
    done = autoif("push", smoke, "--to", "me/mine", env=hub.env())
    assert done.code == 0, done.err
    assert f"{hub.url}/datasets/me/mine (private)" in done.out
    repo = hub.repos["me/mine"]
    assert repo.private
    assert repo.files.keys() == SENT
    assert repo.messages == ["100 rows by AutoIF 0.1.0"]
    for kind in ("sft", "dpo", "rlvr"):
        parquet = repo.files[f"data/{kind}-00000-of-00001.parquet"]
        assert pl.read_parquet(io.BytesIO(parquet)).to_dicts() == rows(smoke / f"data/{kind}.jsonl")
    (card,) = set(hub.validated)  # by the hub, before anything was sent
    assert card == repo.files["README.md"].decode()
    for word in ("license: apache-2.0", "n<1K", "## The funnel", "## Known limits"):
        assert word in card
    assert "`sft.jsonl`" not in card.partition("## The funnel")[0]
    _loads_as_its_card_says(repo, tmp_path / "copy", smoke)


def _loads_as_its_card_says(repo: HubRepo, folder: Path, smoke: Path) -> None:
    """What a user of the repository gets, by the library that he would use."""
    datasets: Any = pytest.importorskip("datasets", reason='needs `pip install "autoif[hub]"`')
    for path, content in repo.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    cache = str(folder.parent / "cache")
    for kind in ("sft", "dpo", "rlvr"):
        found = datasets.load_dataset(str(folder), kind, split="train", cache_dir=cache)
        assert found.to_list() == rows(smoke / f"data/{kind}.jsonl")


def test_a_push_that_broke_off_goes_on(hub: HubServer, smoke: Path) -> None:
    hub.refuse_puts_after = 1
    broken = autoif("push", smoke, "--to", "me/mine", env=hub.env())
    assert broken.code == 1
    assert broken.err.startswith("autoif: me/mine: the hub did not take it: ")
    assert broken.err.count("\n") == 1
    assert hub.repos["me/mine"].files == {}
    hub.refuse_puts_after = 1_000
    again = autoif("push", smoke, "--to", "me/mine", "--json", env=hub.env())
    assert json.loads(again.out)["private"] is True
    assert len(hub.puts) == len(set(hub.puts)) == 3  # nothing twice


def test_a_smaller_version_leaves_no_shard_of_the_larger_one(hub: HubServer, smoke: Path) -> None:
    old = {"data/sft-00001-of-00002.parquet": b"old", "notes.md": b"mine", "README.md": b"old"}
    hub.repos["me/mine"] = HubRepo(True, dict(old))
    assert autoif("push", smoke, "--to", "me/mine", env=hub.env()).code == 0
    assert hub.repos["me/mine"].files.keys() == SENT | {"notes.md"}


def test_nothing_is_published_by_surprise(hub: HubServer, smoke: Path) -> None:
    hub.repos["me/open"] = HubRepo(False)
    refused = autoif("push", smoke, "--to", "me/open", env=hub.env())
    assert (refused.code, refused.out) == (2, "")
    assert "me/open is a public repository: give --public" in refused.err
    assert hub.repos["me/open"].files == {}
    assert autoif("push", smoke, "--to", "me/open", "--public", env=hub.env()).code == 0
    assert hub.repos["me/open"].files.keys() == SENT


def test_a_hub_that_refuses_is_one_line(hub: HubServer, smoke: Path) -> None:
    refused = autoif("push", smoke, "--to", "me/mine", env=hub.env(token="hf_" + "x" * 34))
    assert refused.code == 1
    assert "401" in refused.err
    assert refused.err.count("\n") == 1
    assert hub.repos == {}


# ---- what never leaves -------------------------------------------------------------------------


def test_files_that_nobody_named_are_not_sent(smoke_copy: Path) -> None:
    for name in (".env", "data/.env", "data/notes.md", "data/keys.jsonl", "calls.sqlite-wal"):
        (smoke_copy / name).write_text(f"key = {KEY}")
    assert (smoke_copy / "calls.sqlite").exists()
    assert push(smoke_copy, "me/mine", dry_run=True).files.keys() == SENT
    assert push(smoke_copy / "data", "me/mine", dry_run=True).files.keys() == SENT


@pytest.mark.parametrize("name", ["data/sft.jsonl", "data/rlvr.jsonl", "data/README.md"])
def test_a_text_with_a_key_stops_the_push(
    smoke_copy: Path, name: str, here: Callable[..., Done]
) -> None:
    file = smoke_copy / name
    own = "correct-horse-battery"
    before = file.read_text("utf-8")
    names = {KEY: "", own: "MY_API_KEY", TOKEN: "HF_TOKEN"}
    for key, variable in names.items():
        file.write_text(before.replace("compass", f"compass {key}", 1), "utf-8")
        environment = {variable: key} if variable else {}
        done = here("push", smoke_copy, "--to", "me/mine", "--dry-run", **environment)
        assert (done.code, done.out) == (2, "")
        assert "holds what looks like a key" in done.err
        assert key not in done.err


def test_the_key_that_a_recipe_names_is_searched_for(
    smoke_copy: Path, here: Callable[..., Done]
) -> None:
    recipe = smoke_copy / "recipe.toml"
    text = recipe.read_text("utf-8")
    assert 'api_key_env = "OPENAI_API_KEY"' in text
    recipe.write_text(text.replace('"OPENAI_API_KEY"', '"THEIR_LOGIN"'), "utf-8")
    file = smoke_copy / "data/dpo.jsonl"
    file.write_text(file.read_text("utf-8").replace("compass", "open sesame now", 1), "utf-8")
    assert here("push", smoke_copy, "--to", "me/mine", "--dry-run").code == 0
    done = here("push", smoke_copy, "--to", "me/mine", "--dry-run", THEIR_LOGIN="open sesame now")
    assert done.code == 2
    assert f"{file}:" in done.err


def test_words_that_only_look_secret_are_none() -> None:
    search = KeySearch()
    for text in ("sk-circle-fade-dot-animation", "a risk-averse-and-Careful-2nd-answer-of-theirs",
                 "hf_token", "ghp_short", "The AKIA office", "BEGIN PRIVATE KEY"):  # fmt: skip
        assert search.find(text) == "", text
    rsa = "-----BEGIN RSA PRIVATE KEY-----"
    for key in (KEY, TOKEN, "ghp_" + "a1" * 18, "AKIA" + "Q7" * 8, rsa):
        assert search.find(f"it is {key}.") == key[:8] + "..."


@pytest.mark.parametrize("name", ["data/README.md", "data/sft.jsonl"])
def test_a_link_sends_no_file_from_elsewhere(smoke_copy: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (smoke_copy / name).rename(elsewhere)
    (smoke_copy / name).symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link"):
        push(smoke_copy, "me/mine", dry_run=True)


# ---- rows --------------------------------------------------------------------------------------


def test_many_rows_are_several_files(smoke_copy: Path, tmp_path: Path) -> None:
    written = write_rows(smoke_copy / "data/sft.jsonl", ({"id": f"{n}"} for n in range(20_001)))
    staged = staging.stage(smoke_copy, tmp_path / "staged", KeySearch())
    shards = [f"data/sft-0000{n}-of-00002.parquet" for n in range(2)]
    assert [staged.rows[path] for path in shards] == [20_000, 1]
    frames = [pl.read_parquet(tmp_path / "staged" / path, columns=["id"]) for path in shards]
    assert pl.concat(frames).to_dicts() == rows(written)


def test_the_same_rows_are_the_same_bytes(smoke: Path, tmp_path: Path) -> None:
    first, second = (staging.stage(smoke, tmp_path / n, KeySearch()) for n in ("a", "b"))
    for path in first.files:
        assert (first.folder / path).read_bytes() == (second.folder / path).read_bytes()


def test_a_row_that_no_reader_loads_is_left_out_and_counted(smoke_copy: Path) -> None:
    file = smoke_copy / "data/sft.jsonl"
    text = file.read_text("utf-8")
    assert "COMPASS" in text
    file.write_text(text.replace("COMPASS", "\\ud83d COMPASS", 1), "utf-8")
    pushed = push(smoke_copy, "me/mine", dry_run=True)
    assert pushed.left_out == 1
    assert pushed.rows["data/sft-00000-of-00001.parquet"] == len(rows(file)) - 1


@pytest.mark.parametrize(
    ("row", "says"),
    [('{"id": "a", "colour": "red"}', "column 'colour'"), ('{"id": "a", "level": "two"}', "rows")],
)
def test_other_rows_are_refused(smoke_copy: Path, row: str, says: str) -> None:
    (smoke_copy / "data/sft.jsonl").write_text(row + "\n", "utf-8")
    with pytest.raises(UsageError, match=says):
        push(smoke_copy, "me/mine", dry_run=True)


# ---- an export ---------------------------------------------------------------------------------


def test_an_export_is_sent_as_it_was_written(hub: HubServer, smoke_copy: Path) -> None:
    made = export(smoke_copy, "trl", split="train=0.9,test=0.1").path
    (made / ".env").write_text(KEY)
    (made / "wandb-key.txt").write_text(KEY)
    written = json.loads((made / "export.json").read_text("utf-8"))
    assert autoif("push", made, "--to", "me/trl", env=hub.env()).code == 0
    files = hub.repos["me/trl"].files
    assert files.keys() == {*written["files"], "export.json"}
    for name in files.keys() - {"README.md"}:
        assert files[name] == (made / name).read_bytes()
    card = files["README.md"].decode()
    for word in ("split: test", "dtype: string", "license: apache-2.0", "## The funnel"):
        assert word in card
    assert "## Ten samples" not in card


@pytest.mark.parametrize("form", ["verl", "verifiers", "nemo-gym", "llama-factory"])
def test_every_layout_of_files_gets_its_sets_named(
    smoke_copy: Path, form: str, tmp_path: Path
) -> None:
    made = export(smoke_copy, form, split="train=0.9,test=0.1").path
    staging.stage(made, tmp_path / "staged", KeySearch())
    from huggingface_hub import DatasetCard

    configs = DatasetCard((tmp_path / "staged/README.md").read_text("utf-8")).data.configs
    named = [one["path"] for config in configs for one in config["data_files"]]
    assert sorted(named) == sorted(json.loads((made / "export.json").read_text("utf-8"))["rows"])
    assert len({config["config_name"] for config in configs}) == len(configs)


def test_an_export_that_was_changed_is_refused(smoke_copy: Path) -> None:
    made = export(smoke_copy, "trl").path
    (made / "README.md").write_text("# Mine\n", "utf-8")  # a card may be written anew
    push(made, "me/trl", dry_run=True)
    with (made / "sft.yaml").open("a") as file:
        file.write("report_to: wandb\n")
    with pytest.raises(UsageError, match=r"sft\.yaml was changed"):
        push(made, "me/trl", dry_run=True)
    shutil.move(made / "sft.yaml", made / "mine.yaml")
    with pytest.raises(UsageError, match=r"sft\.yaml is missing"):
        push(made, "me/trl", dry_run=True)
