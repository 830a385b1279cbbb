"""The cross-encoder that compares back-translations, on a tiny one with random weights."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import ModelUnavailable
from autoif.synthesis.verifiers.nli import BATCH, CrossEncoder

torch: Any = pytest.importorskip("torch", reason='needs `pip install "autoif[hf]"`')
transformers: Any = pytest.importorskip("transformers", reason='needs `pip install "autoif[hf]"`')
torch.set_num_threads(1)  # these models are too small to share the work

LABELS = ("entailment", "neutral", "contradiction")
WORDS = [
    "answer",
    "in",
    "at",
    "least",
    "most",
    "two",
    "three",
    "sentences",
    "words",
    "without",
    "a",
    "comma",
    "please",
]


def make(folder: Path, labels: tuple[str, ...] = LABELS) -> str:
    """A BERT of two layers that has learned nothing, and knows `WORDS`."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    folder.mkdir()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*special, *WORDS]))
    transformers.BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(special) + len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        initializer_range=0.5,  # wide, so that what it says depends on all that it read
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("nli") / "tiny")


def pairs(n: int) -> list[tuple[str, str]]:
    """Of every length, from a word or two to more than the model reads."""
    texts = [" ".join((WORDS[i % 13 :] + WORDS[: i % 5]) * (i % 4 + 1)) for i in range(n)]
    texts[n // 2] = "comma " * 1000
    return list(zip(texts, texts[::-1], strict=True))


async def test_batches_say_what_each_pair_alone_is_told(model: str) -> None:
    encoder = CrossEncoder(model)
    asked = pairs(BATCH + 7)
    alone = [await encoder(*pair) for pair in asked]
    assert await asyncio.gather(*(encoder(*pair) for pair in asked)) == alone
    assert len(set(alone)) > 1
    assert set(alone) <= set(LABELS)


async def test_labels_are_read_from_the_model(model: str, tmp_path: Path) -> None:
    """Published models order and spell them differently."""
    other = make(tmp_path / "other", ("CONTRADICTION", "Entailment", "neutral"))
    names = dict(zip(LABELS, ("contradiction", "entailment", "neutral"), strict=True))
    ours, theirs = CrossEncoder(model), CrossEncoder(other)
    for pair in pairs(6):
        assert await theirs(*pair) == names[await ours(*pair)]


async def test_who_leaves_does_not_disturb_the_others(model: str) -> None:
    encoder = CrossEncoder(model)
    asked = pairs(BATCH + 7)
    tasks = [asyncio.create_task(encoder(*pair)) for pair in asked]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert set(answers[1::2]) <= set(LABELS)
    assert await encoder(*asked[0]) in LABELS


async def test_a_failure_reaches_everybody(model: str) -> None:
    encoder = CrossEncoder(model)

    def fail(*_: Any) -> None:
        raise ValueError("the device is gone")

    encoder._model.register_forward_pre_hook(fail)
    tasks = [asyncio.create_task(encoder(*pair)) for pair in pairs(BATCH + 7)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert {str(a) for a in answers[1:]} == {"NLI model failed: the device is gone"}
    assert {type(a) for a in answers[1:]} == {ModelUnavailable}


def test_what_is_no_such_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        CrossEncoder(str(tmp_path / "absent"))
    with pytest.raises(ModelUnavailable, match=r"its labels are \['bad', 'good'\]"):
        CrossEncoder(make(tmp_path / "sentiment", ("bad", "good")))
    damaged = Path(make(tmp_path / "damaged"))
    with (damaged / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(ModelUnavailable, match="cannot be loaded") as refused:
        CrossEncoder(str(damaged))
    assert "\n" not in str(refused.value)
