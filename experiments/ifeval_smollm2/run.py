"""The paper's claim on a small model: SFT < offline DPO < self-play, on IFEval, IFBench and GSM8K.

    python experiments/ifeval_smollm2/run.py --work DIR [--minutes 150] [--arm ngram] [--seed 1]

Needs the extras train, local and evals, and AUTOIF_DATA. Started again it goes on: trainings from
their checkpoints, answers from the call store. Each stage adds its figures to results.json and
draws stages.png, so a run that was stopped has written what it had.

The student is trained from its dequantised weights. Before and after, it answers as a Q8_0 GGUF
file through the same engine, greedily, and the same prompts. Which stage is shipped (`final`) is
decided by verifiers on prompts held out of training, never by the benchmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoif.base.errors import AutoIFError, CallFailed, RunFailed
from autoif.base.records import Message, Request, dump_line, seed_from
from autoif.engine.train_and_evaluate import measure, train
from autoif.models.cached import CachedChat
from autoif.store import open_store
from autoif.train import dataset as data
from autoif.train import model_files, plots
from autoif.train.config import Evaluation, TrainConfig
from autoif.train.policy import policy
from autoif.train.selfplay import judged
from autoif.verifier.verify import shared_sandbox

HERE = Path(__file__).parent
STUDENT = "smollm2-135m-instruct"
ANSWERS = 4  # of a held-out prompt, at temperature 0.8
METRICS = ("prompt_strict", "inst_strict", "prompt_loose", "inst_loose")
Row = dict[str, Any]


class Experiment:
    """One arm with one seed in `work`. Sizes are those of 150 minutes on two cores times `size`."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.size = args.minutes / 150
        self.work = Path(args.work) / f"{args.arm}-{args.seed}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.rows = Path(args.rows or HERE / "data" / args.arm)
        self.start = Path(args.work) / "start" / "model"
        self.store = open_store(Path(args.work) / "calls.sqlite")
        self.figures: dict[str, Row] = {}
        self.models: dict[str, Path] = {}  # those with figures
        self.heldout = self._split()

    def _split(self) -> list[Row]:
        """Prompts for play and held out, by the hash of their ids; one per instruction is drawn
        whole, so that no constraint stands on both sides."""
        source = self.rows / "data" if (self.rows / "data").is_dir() else self.rows
        for name in ("sft", "dpo"):
            shutil.copy(source / f"{name}.jsonl", self.work / f"{name}.jsonl")
        found = data.load("grpo", [str(source / "rlvr.jsonl")])
        by_checks: dict[str, list[Row]] = {}
        for row in found.rows:
            by_checks.setdefault(json.dumps(row["verifiers"], sort_keys=True), []).append(row)
        groups = sorted(by_checks.values(), key=lambda g: seed_from("held", [r["id"] for r in g]))
        held: list[Row] = []
        while groups and len(held) < min(60, len(found.rows) // 5):
            held += groups.pop()
        with (self.work / "rlvr.jsonl").open("wb") as file:
            file.writelines(dump_line(row) for group in groups for row in group)
        return held

    # ---- stages ------------------------------------------------------------------------------

    def run(self) -> None:
        if not self.start.is_dir():
            where, origin = model_files.find(self.args.student)
            about = {"origin": origin, "base": self.args.student, "method": "start"}
            self.save(where, self.start, about)
        self.score("baseline", self.start, 0, whole=True)
        sft = self.stage("sft", self.start, "sft.jsonl", {"max_steps": self.steps(80)})
        dpo = self.stage("dpo", sft, "dpo.jsonl", {"max_steps": self.steps(50)})
        play = self.selfplay(dpo)
        self.stage(
            "grpo", play, "rlvr.jsonl",
            {"batch": 32, "max_steps": self.steps(12), "save_steps": 4},
            grpo={"beta": 0.02},
        )  # fmt: skip
        best = max(self.models, key=lambda name: self.figures[name]["heldout"])
        shipped, n = self.models[best], self.figures[best]["n_train"]
        self.score("final", shipped, n, whole=True, stage=best)

    def stage(self, name: Any, model: Path, rows: str, part: Row, **more: Any) -> Path:
        """A training and its figures; where a guard ended it, the model that it began with."""
        made = self.adapted(name, model) or self.train(name, model, rows, part, **more)
        if made == model:
            return model
        n = len(plots.read(self.work / rows))
        self.keep(self.work / name / "adapter", name, n)
        self.score(name, made, n)
        return made

    def selfplay(self, model: Path) -> Path:
        """Its rounds and their figures; the best by the prompts that it holds out itself."""
        number = 1
        while made := self.adapted(f"selfplay_{number}", model):
            rows = json.loads((made.parent / "adapter" / "rows.json").read_text("utf-8"))["rows"]
            self.score(f"selfplay_{number}", made, rows)
            model, number = made, number + 1
        if number > 1:
            return model
        out = self.work / "selfplay"
        made = self.train(
            "selfplay", model, "rlvr.jsonl", {},
            sampling=self.sampling() | {"k": 8, "temperature": 0.8, "max_tokens": 160},
            selfplay={"rounds": 3, "prompts": max(8, int(60 * self.size))},
        )  # fmt: skip
        for row in plots.read(out / "rounds.jsonl")[1:]:
            number = row["round"]
            self.keep(out / f"round-{number}" / "adapter", f"selfplay_{number}", row["pairs"])
            self.score(f"selfplay_{number}", out / f"round-{number}" / "model", row["pairs"])
        return made

    def train(self, name: Any, model: Path, rows: str, part: Row, **more: Any) -> Path:
        """`name`: of the stage, which is its method's."""
        values = {
            "model": str(model),
            "data": str(self.work / rows),
            "out": str(self.work / name),
            "seed": self.args.seed,
            "train": {"threads": self.args.threads} | part,
        } | more
        begun = time.monotonic()
        try:
            made = train(TrainConfig.of(name, values), say)
        except RunFailed as stopped:
            say(f"{name}: {stopped}")
            self.figures[name] = {"stopped": str(stopped)}
            self.write()
            return model
        say(f"{name}: {time.monotonic() - begun:.0f} s")
        return made

    def adapted(self, name: str, model: Path) -> Path | None:
        """The model that a stage made of `model` when its adapter was kept, if `--adapters` has
        it."""
        kept = Path(self.args.adapters or os.devnull) / name
        if not kept.is_dir():
            return None
        made = self.work / name / "model"
        if not made.is_dir():
            adapter = self.work / name / "adapter"
            shutil.copytree(kept, adapter, dirs_exist_ok=True)
            config = adapter / "adapter_config.json"
            about = json.loads(config.read_text("utf-8")) | {"base_model_name_or_path": str(model)}
            config.write_text(json.dumps(about), "utf-8")
            about = model_files.lineage(model) | {"base": str(model), "method": name}
            self.save(adapter, made, about, tokenizer=model)
            say(f"{name}: {kept}")
        return made

    def keep(self, adapter: Path, name: str, n: int) -> None:
        """A copy in bfloat16 without paths, of a few megabytes: what `--adapters` takes."""
        from safetensors.torch import load_file, save_file

        kept = self.work / "adapters" / name
        if kept.is_dir():
            return
        kept.mkdir(parents=True)
        about = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
        about["base_model_name_or_path"] = ""
        (kept / "adapter_config.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        (kept / "rows.json").write_text(json.dumps({"rows": n}) + "\n", "utf-8")
        tensors = load_file(adapter / "adapter_model.safetensors")
        halves = {k: v.bfloat16() for k, v in tensors.items()}
        save_file(halves, kept / "adapter_model.safetensors", metadata={"format": "pt"})

    def save(
        self, where: str | Path, folder: Path, about: Row, *, tokenizer: Path | None = None
    ) -> None:
        words = model_files.load_tokenizer(str(tokenizer or where))
        model_files.save_plain(model_files.load_model(str(where)), words, folder, about)

    def steps(self, n: int) -> int:
        return max(2, int(n * self.size))

    def sampling(self) -> Row:
        return {"engine": self.args.engine, "batch": self.args.batch}

    # ---- figures -----------------------------------------------------------------------------

    def score(
        self, name: str, model: Path, n: int, *, whole: bool = False, stage: str = ""
    ) -> None:
        """IFEval, IFBench, GSM8K and the held-out prompts. Answered prompts are not asked again."""
        root = Path(os.environ["AUTOIF_DATA"])
        share = min(1.0, 4 * self.size)
        sizes = tuple(max(4, int(k * share)) for k in (200, 100, 50))
        if self.size >= 1:
            sizes = (0, 0, 200) if whole else (0, *sizes[1:])
        files = (
            "ifeval/input_data.jsonl",
            "ifbench/IFBench_test.jsonl",
            "general/gsm8k/test.jsonl",
        )
        benchmarks = tuple(
            Evaluation(
                benchmark=b, data=str(root / file), limit=limit, max_tokens=self.args.longest
            )
            for b, file, limit in zip(("ifeval", "ifbench", "gsm8k"), files, sizes, strict=True)
        )
        begun = time.monotonic()
        out = self.work / "scores" / name
        figures, held = asyncio.run(self._ask(model, benchmarks, out))
        row: Row = {m: round(figures[f"ifeval.{m}"], 2) for m in METRICS}
        row["ifbench"] = round(figures["ifbench.prompt_loose"], 2)
        row["gsm8k"] = round(figures["gsm8k.accuracy"], 2)
        row |= {"n_train": n, "heldout": round(100 * held, 2), "prompts": sizes[0] or 541}
        row["n"] = {m: rests_on(out / "ifeval", m) for m in METRICS}
        row["n"] |= {"ifbench": rests_on(out / "ifbench", "prompt_loose")}
        row["n"] |= {"gsm8k": rests_on(out / "gsm8k", "accuracy")}
        row["words"] = words(out / "ifeval" / "responses.jsonl")
        row["intervals"] = {m: interval(out / "ifeval" / "scores.json", m) for m in METRICS}
        row["seconds"] = round(time.monotonic() - begun)
        if stage:
            row["stage"] = stage
        self.figures[name] = row
        self.models[name] = model
        self.write()
        say(f"{name}: {json.dumps(row)}")

    async def _ask(
        self, model: Path, benchmarks: tuple[Evaluation, ...], out: Path
    ) -> tuple[dict[str, float], float]:
        sampling = TrainConfig.of("sft", {"model": "m", "data": "d", "out": "o",
                                          "sampling": self.sampling()}).sampling  # fmt: skip
        async with policy(model, sampling, self.store, say) as chat:
            return await measure(chat, benchmarks, out), await self._held(chat)

    async def _held(self, chat: CachedChat) -> float:
        """Share of held-out prompts whose constraints hold, over ANSWERS each."""

        async def ask(row: Row, index: int) -> bool:
            messages = tuple(Message(m["role"], m["content"]) for m in row["prompt"])
            request = Request(messages, temperature=0.8, max_tokens=256, index=index, stage="held")
            try:
                text = (await chat(request)).text
            except CallFailed:
                return False
            return any(s.kept for s in await judged(row, [text], shared_sandbox(), self.store))

        said = await asyncio.gather(*(ask(row, i) for row in self.heldout for i in range(ANSWERS)))
        return sum(said) / max(1, len(said))

    def write(self) -> None:
        """results.json: this arm and seed beside those that are there."""
        parts = Path(self.args.work) / "parts"
        parts.mkdir(exist_ok=True)
        part = {"command": shlex.join(["python", *sys.argv]), "hardware": hardware(),
                "arm": self.args.arm, "seed": self.args.seed, "stages": self.figures}  # fmt: skip
        (parts / f"{self.args.arm}-{self.args.seed}.json").write_text(json.dumps(part, indent=2))
        known = [json.loads(p.read_text("utf-8")) for p in sorted(parts.glob("*.json"))]
        results: Row = {"command": part["command"], "hardware": part["hardware"]}
        results |= merged([p for p in known if p["arm"] == "ngram"])
        if other := [p for p in known if p["arm"] == "type"]:
            results["type_arm"] = merged(other)
        target = Path(self.args.results)
        target.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
        draw(results, target.with_name("stages.png"))


def merged(parts: list[Row]) -> Row:
    """Each stage's means over the seeds, with the seeds' own figures."""
    stages: dict[str, dict[str, Row]] = {}
    for part in parts:
        for name, row in part["stages"].items():
            stages.setdefault(name, {})[str(part["seed"])] = row
    out: Row = {}
    for name, by_seed in stages.items():
        rows = [r for r in by_seed.values() if "inst_loose" in r]
        if not rows:
            out[name] = {"by_seed": by_seed}
            continue
        keys = (*METRICS, "ifbench", "gsm8k", "heldout", "words", "n_train")
        out[name] = {k: round(statistics.fmean(r[k] for r in rows), 2) for k in keys}
        out[name] |= {"seeds": [int(s) for s in by_seed], "prompts": rows[0]["prompts"]}
        # Each seed's is over prompts; the mean of their bounds is rather too wide for the mean.
        out[name]["intervals"] = {
            m: [round(statistics.fmean(r["intervals"][m][end] for r in rows), 2) for end in (0, 1)]
            for m in METRICS
        }
        if len(rows) > 1:
            out[name]["by_seed"] = by_seed
        if "n" in rows[0]:
            out[name]["n"] = rows[0]["n"]
        if "stage" in rows[0]:
            out[name]["stage"] = ", ".join(r["stage"] for r in rows)
    return out


def words(file: Path) -> float:
    """The median length of the answers: a model can please verifiers by saying less."""
    return statistics.median(len(row["response"].split()) for row in plots.read(file))


def rests_on(folder: Path, metric: str) -> int:
    """The prompts that a figure rests on: the ends are measured on more of them than the rest."""
    return int(json.loads((folder / "scores.json").read_text("utf-8"))["n"][metric])


def interval(file: Path, metric: str) -> list[float]:
    scores = json.loads(file.read_text("utf-8"))
    return [scores["low"][metric], scores["high"][metric]]


def draw(results: Row, path: Path) -> None:
    history = [
        {**row, "stage": name}
        for name, row in results.items()
        if isinstance(row, Mapping) and "inst_loose" in row
    ]
    plots.draw(
        history, "stage", ("inst_loose", "prompt_strict", "ifbench", "gsm8k", "heldout"), path
    )


def hardware() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    names = [
        x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")
    ]
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    return f"{len(os.sched_getaffinity(0))} cores, {name}, torch {torch.__version__}"


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--work", default="runs/ifeval_smollm2", help="models, answers, plots")
    parser.add_argument("--rows", help="a run directory, or a folder of sft, dpo, rlvr .jsonl")
    parser.add_argument("--student", default=STUDENT)
    parser.add_argument("--arm", choices=("ngram", "type"), default="ngram")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=150, help="scales every size")
    parser.add_argument(
        "--adapters", help="a folder of adapters: stages that it holds are not trained again"
    )
    parser.add_argument("--longest", type=int, default=512, help="tokens of an answer")
    parser.add_argument("--engine", choices=("auto", "hf", "local"), default="auto")
    parser.add_argument("--batch", type=int, default=32, help="answers at once (hf)")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 = its choice")
    parser.add_argument("--results", default=str(HERE / "results.json"))
    args = parser.parse_args()
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    try:
        Experiment(args).run()
    except AutoIFError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
