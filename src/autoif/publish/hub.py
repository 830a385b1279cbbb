"""A staged dataset to a repository of the Hugging Face hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from autoif.base.errors import AutoIFError, SetupError, UsageError, one_line
from autoif.base.toml import read_toml
from autoif.base.version import __version__
from autoif.publish.keys import KeySearch
from autoif.publish.staging import StagedDataset, stage


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was sent, or would be. files: sizes in bytes by path. rows: of each data file. left_out:
    rows with lone surrogates. url and private are those of the repository, "" and True where
    nothing was sent."""

    files: Mapping[str, int]
    rows: Mapping[str, int]
    left_out: int
    url: str = ""
    private: bool = True


def push(directory: str | Path, to: str, *, public: bool = False, dry_run: bool = False) -> Pushed:
    """Sends the data of a run, or an export, to the dataset repository `to`, "ORG/NAME".

    A repository that is not there is made: private, unless `public`. Pushed again, what the hub has
    already is not sent again, so that an interrupted push goes on. The address is `HF_ENDPOINT`,
    the token that of `hf auth login` or `HF_TOKEN`.

    Raises UsageError for a directory without data, a text that holds a key, a name that is none,
    and a public repository without `public`; SetupError where the hub cannot be reached or refuses.
    """
    source = Path(directory)
    with tempfile.TemporaryDirectory(prefix="autoif-push-") as folder:
        staged = stage(source, Path(folder), KeySearch(_keys_of(source)))
        pushed = Pushed(staged.files, staged.rows, staged.left_out)
        return pushed if dry_run else _send(staged, pushed, to, public)


def _keys_of(directory: Path) -> list[str]:
    """The hub's token, and the value of the variable in which a run's recipe keeps its key."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        raise UsageError('pushing needs `pip install "autoif[hub]"`') from None

    keys = [get_token() or ""]
    for file in (directory / "recipe.toml", directory.parent / "recipe.toml"):
        if file.is_file():
            name = read_toml(file).get("models", {}).get("api_key_env")
            keys.append(os.environ.get(str(name), ""))
    return keys


def _send(staged: StagedDataset, pushed: Pushed, to: str, public: bool) -> Pushed:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    api = HfApi()
    try:
        try:
            private = bool(api.repo_info(to, repo_type="dataset").private)
        except RepositoryNotFoundError:
            private = not public
            api.create_repo(to, repo_type="dataset", private=private)
        if not private and not public:
            raise UsageError(
                f"{to} is a public repository: give --public to publish there, or another name"
            )
        api.upload_folder(
            repo_id=to,
            repo_type="dataset",
            folder_path=staged.folder,
            delete_patterns=staged.stale or None,
            commit_message=f"{sum(staged.rows.values()):,} rows by AutoIF {__version__}",
        )
    except HFValidationError as error:
        raise UsageError(f"--to {to}: {one_line(error)}") from None
    except AutoIFError:
        raise
    except Exception as error:  # of many libraries' kinds: hub, HTTP, card, disk
        raise SetupError(
            f"{to}: the hub did not take it: {one_line(error)}; the same command goes on from there"
        ) from None
    return replace(pushed, url=f"{api.endpoint}/datasets/{to}", private=private)
