"""The files of a dataset as they are sent: Parquet and a card of a run, an export as it is.

A run's `data/*.jsonl` become shards `data/KIND-00000-of-00001.parquet` with the columns of its
card, and `data/README.md` becomes the card. Of an export its manifest names the files, and each has
to be as it was written; its README alone may have been edited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from autoif.base import jsonl
from autoif.base.errors import UsageError, one_line
from autoif.base.files import is_plain, make_folder, read_small, replacing, write_whole
from autoif.base.inputs import read_rows
from autoif.export.layout import MANIFEST, NOT_STATED, OTHERS, hashes
from autoif.export.selection import KINDS, find_data
from autoif.publish.keys import KeySearch
from autoif.report.dataset_card import COLUMNS, Type

CARD = "README.md"
SHARD = 20_000  # rows
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
# The hub's names of licences that texts come under.
_LICENCES = re.compile(
    r"cc-by(-nc|-nd|-sa|-nc-nd|-nc-sa)?-[234]\.0|cc0-1\.0|apache-2\.0|mit|bsd-[23]-clause|gfdl"
    r"|gpl-3\.0|odc-by|odbl|pddl|cdla-(permissive-[12]|sharing-1)\.0|unlicense"
)
Configs = dict[str, dict[str, str]]  # data set -> split -> its files


@dataclass(slots=True)
class StagedDataset:
    """A folder that holds what is sent and nothing else. rows: of each data file, by its path.
    left_out: rows with lone surrogates, which no reader loads. stale: which files of an earlier
    version this one takes the place of, as a pattern, or ""."""

    folder: Path
    keys: KeySearch
    rows: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    stale: str = ""

    @property
    def files(self) -> dict[str, int]:
        """Path and size in bytes."""
        every = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in every}

    def refuse_keys(self, text: str, place: object) -> None:
        if shown := self.keys.find(text):
            raise UsageError(
                f"{place} holds what looks like a key ({shown}): nothing is sent; remove it there, "
                "and replace the key where it is in use"
            )


def stage(directory: Path, folder: Path, keys: KeySearch) -> StagedDataset:
    """Writes into the empty `folder` what is to be sent of a run's directory, or of an export's.

    Raises UsageError where there is neither, where a file of an export was changed, and where a
    text holds a key.
    """
    staged = StagedDataset(folder, keys)
    if (directory / MANIFEST).is_file():
        _stage_export(directory, staged)
    else:
        _stage_run(find_data(directory), staged)
    return staged


# ---- a run -------------------------------------------------------------------------------------


def _stage_run(data: Path, staged: StagedDataset) -> None:
    if not (data / CARD).is_file():
        raise UsageError(f"{data}: no {CARD}; `autoif synth` writes it when the run ends")
    make_folder(staged.folder / "data")
    staged.stale = "data/*.parquet"
    configs: Configs = {}
    card = _text(data / CARD)
    for kind in KINDS:
        file = data / f"{kind}.jsonl"
        if file.exists():
            _write_shards(_plain(file), kind, staged)
            configs[kind] = {"train": f"data/{kind}-*.parquet"}
            card = _in_introduction(card, file.name, configs[kind]["train"])
    _write_card(staged, card, configs, _licences(data))


def _write_shards(file: Path, kind: str, staged: StagedDataset) -> None:
    """Parquet files of at most `SHARD` rows, one at least. The same rows give the same bytes, so
    that what an interrupted upload has sent is not sent again."""
    schema = {name: _data_type(of) for name, of in COLUMNS[kind].items()}
    rows = _rows_to_send(file, schema, staged)
    shards = -(-sum(1 for _ in jsonl.lines(file)) // SHARD) or 1
    for number in range(shards):
        batch = list(islice(rows, SHARD))
        try:
            frame = pl.DataFrame(batch, schema=schema)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise UsageError(
                f"{file}: not rows as docs/data-formats.md has them: {one_line(error)}"
            ) from None
        path = f"data/{kind}-{number:05}-of-{shards:05}.parquet"
        frame.lazy().sink_parquet(staged.folder / path)
        staged.rows[path] = len(batch)


def _rows_to_send(
    file: Path, schema: Mapping[str, Any], staged: StagedDataset
) -> Iterator[jsonl.Row]:
    for place, line in jsonl.lines(file):
        staged.refuse_keys(line.decode("utf-8", "replace"), place)
        row = jsonl.parse(line, place)
        if unknown := row.keys() - schema.keys():
            raise UsageError(f"{place}: the card states no type of the column {min(unknown)!r}")
        try:
            orjson.dumps(row)
        except TypeError:
            staged.left_out += 1
            continue
        yield row


def _data_type(of: Type) -> Any:
    """A type of the card as one of Polars."""
    if isinstance(of, list):
        inner = of[0]
        if isinstance(inner, dict):
            return pl.List(pl.Struct({name: _data_type(one) for name, one in inner.items()}))
        return pl.List(_data_type(inner))
    return {"string": pl.String, "int64": pl.Int64, "float64": pl.Float64}[of]


def _licence(source: str) -> str:
    """The hub's name of the licence that the source of a query, "NAME, LICENCE", states."""
    _, mark, stated = source.rpartition(", ")
    name = stated.partition(" ")[0].lower()
    return "unknown" if not mark else name if _LICENCES.fullmatch(name) else "other"


def _licences(data: Path) -> set[str]:
    """Of all queries; a pair of two cases has none."""
    files = [data / f"{kind}.jsonl" for kind in KINDS]
    rows = (row for file in files if file.exists() for _, row in jsonl.read(_plain(file)))
    return {_licence(str(source)) for row in rows if (source := row.get("source"))}


def _between_files_and_samples(card: str) -> str:
    """Funnel, sources and limits of a run's card."""
    _, _, sections = card.partition("\n## ")
    return f"\n## {sections.partition('## Ten samples')[0]}" if sections else ""


def _in_introduction(card: str, name: str, files: str) -> str:
    """What the card says of its files above its first heading of a section; below stand samples."""
    introduction, mark, rest = card.partition("\n## ")
    return introduction.replace(name, files) + mark + rest


# ---- an export ---------------------------------------------------------------------------------


def _stage_export(directory: Path, staged: StagedDataset) -> None:
    manifest = _plain(directory / MANIFEST)
    try:
        written = jsonl.loads(read_small(manifest))
        digests, sources = dict(written["files"]), dict(written["sources"])
        staged.rows |= {str(name): int(n) for name, n in written["rows"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{manifest}: not what an export wrote; export again") from None
    there = hashes(directory)
    for name in sorted(digests):
        path = directory / name
        if name not in there:
            raise UsageError(f"{path} is missing; export again")
        if there[name] != digests[name] and name != CARD:
            raise UsageError(
                f"{path} was changed since it was written; export again, to another --out where "
                "the change matters"
            )
        _copy(_plain(path), name, staged)
    _copy(manifest, MANIFEST, staged)
    card = _text(directory / CARD)
    run = directory.absolute().parent.parent / "data" / CARD  # where an export lies by default
    if run.is_file():
        card += f"\n# How the data were made\n{_between_files_and_samples(_text(run))}"
    licences = {_licence(source) for source in sources if source not in (NOT_STATED, OTHERS)}
    _write_card(staged, card, _configs(staged.rows), licences)


def _copy(path: Path, name: str, staged: StagedDataset) -> None:
    if path.suffix == ".parquet":
        for place, row in read_rows(path):
            staged.refuse_keys(orjson.dumps(row, default=str).decode(), place)
    target = staged.folder / name
    make_folder(target.parent)
    with path.open("rb") as source, replacing(target) as out:
        for number, line in enumerate(source, 1):
            if path.suffix != ".parquet":
                staged.refuse_keys(line.decode("utf-8", "replace"), f"{path}:{number}")
            out.write(line)


def _configs(rows: Mapping[str, int]) -> Configs:
    """Of `sft.jsonl` and `sft.test.jsonl` the data set sft with two splits; where files are called
    after their splits alone, of `train.jsonl`, the set of its directory's name."""
    configs: Configs = {}
    for path in sorted(rows):
        name, *split = Path(path).name.split(".")[:-1]
        if name in ("train", "test"):
            name, split = Path(path).parent.name, [name]
        configs.setdefault(name, {})[split[0] if split else "train"] = path
    return configs


# ---- the card ----------------------------------------------------------------------------------


def _write_card(staged: StagedDataset, text: str, configs: Configs, licences: set[str]) -> None:
    """The card. Its head says which files are which data set, how many rows there are and, where
    nobody has written a licence there, those of the queries."""
    from huggingface_hub import DatasetCard

    staged.refuse_keys(text, CARD)
    if not text.startswith("---\n"):
        text = f"---\ntags: [instruction-following, synthetic, autoif]\n---\n{text}"
    try:
        card = DatasetCard(text)
    except Exception as error:  # of YAML, and of the library's own checks
        raise UsageError(f"{CARD}: its head cannot be read: {one_line(error)}") from None
    card.data.configs = [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": path} for split, path in splits.items()],
        }
        for name, splits in configs.items()
    ]
    card.data.size_categories = [_size(sum(staged.rows.values()))]
    if not card.data.license and licences:
        several = sorted(licences)
        card.data.license = several if len(several) > 1 else several[0]
    write_whole(staged.folder / CARD, str(card).encode())


def _size(rows: int) -> str:
    """The hub's word for so many rows."""
    return next((word for limit, word in SIZES if rows < limit), "n>1M")


def _plain(path: Path) -> Path:
    """A link in a directory of somebody else must not send a file from elsewhere."""
    if not is_plain(path, hard_links=True):
        raise UsageError(f"{path} is a link or no plain file: nothing is sent")
    return path


def _text(path: Path) -> str:
    try:
        return read_small(_plain(path)).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {one_line(error)}") from None
