"""The recipe: everything that decides what a run makes. Frozen, from presets and TOML.

`Recipe.load` lays, one over the other: a preset, a TOML file, `--set key=value`. An unknown key or
an impossible value raises `UsageError` with the key's whole name. `identity()` is what two runs
must share to work in one directory: the recipe without its transport (URLs, keys, timeouts), which
may change from one start to the next. `profile` names the rules where the data are shown.

The thresholds of `paper` are those of arXiv 2406.13542; those of `reference` are what the official
scripts do, with their defects mended; `strict` adds evidence made by running code. `docs/recipe.md`
describes each key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from autoif.base.errors import UsageError, did_you_mean
from autoif.base.records import content_id
from autoif.base.toml import (
    Section,
    differences,
    flat,
    keys_of,
    merge,
    problem,
    read_toml,
    with_settings,
)
from autoif.store.address import is_address, split_password

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Lang = Literal["en", "zh"]
KEY_ENV = "OPENAI_API_KEY"
MOST_ASKS = 1024  # of one kind for one instruction or prompt: more is a slip of the finger


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least value that passes, written 0.8; or, written "above 0.5", the largest that fails."""

    value: float
    above: bool = False

    def met(self, value: float) -> bool:
        return value > self.value if self.above else value >= self.value

    def share(self, checks: int) -> float:
        """The smallest share of so many checks that meets it, or all of them."""
        return next((k / checks for k in range(checks) if self.met(k / checks)), 1.0)

    def written(self) -> float | str:
        """As it stands in a recipe."""
        return f"above {self.value}" if self.above else self.value


def _threshold(most: float) -> Callable[[object], Threshold]:
    def read(value: object) -> Threshold:
        if isinstance(value, Threshold):
            return value
        above = isinstance(value, str) and value.startswith("above ")
        number = value.removeprefix("above ") if isinstance(value, str) else value
        try:
            least = float("nan" if isinstance(number, bool) else number)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            least = float("nan")
        if not 0 <= least <= most:
            raise PydanticCustomError(
                "threshold",
                'wants a number from 0 to {most}, or "above NUMBER"',
                {"most": f"{most:g}"},
            )
        return Threshold(least, above)

    return read


_WRITTEN = PlainSerializer(Threshold.written)
ShareThreshold = Annotated[Threshold, BeforeValidator(_threshold(1)), _WRITTEN]
ScoreThreshold = Annotated[Threshold, BeforeValidator(_threshold(10)), _WRITTEN]


class Models(Section):
    """Which model answers in which role, and how it is reached."""

    default: str = Field(
        "local:qwen2.5-coder-1.5b-instruct",
        description="the model of every role that names none: local:NAME, openai:NAME, "
        "hf:DIR-or-ID or scripted:FILE",
    )
    propose: str = Field("", description="proposes instructions")
    code: str = Field("", description="writes functions, programs and cases, and translates back")
    respond: str = Field("", description="answers the queries")
    judge: str = Field("", description="compares instructions and scores responses")
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="sent with every request: server options such as top_k"
    )
    # Transport: not part of the recipe's identity.
    base_url: tuple[str, ...] = Field(
        (), description="URLs of the server, ending in /v1; several serve the same model"
    )
    api_key_env: str = Field(KEY_ENV, description="environment variable with the key")
    timeout: float = Field(300.0, gt=0, description="seconds until a call is given up and re-sent")
    patience: float = Field(
        600.0, ge=0, description="seconds to wait for a server that stopped answering"
    )
    prices: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="model -> [USD per million prompt tokens, per million completion tokens]",
    )

    def role(self, name: str) -> str:
        return str(getattr(self, name) or self.default)


# What `Recipe.profile` does not compare: keys and sections, and files of the user's.
NO_RULES = ("preset", "seed", "langs", "target", "models", "engine")
INPUTS = (
    "instructions.seeds",
    "instructions.own",
    "queries.source",
    "hygiene.against",
    "hygiene.fidelity",
)
# How many instructions a run works on; what `engine.minutes` changes.
SIZE = ("instructions.limit", "instructions.rounds", "instructions.asks")
TRANSPORT = ("base_url", "api_key_env", "timeout", "patience", "prices")


class Instructions(Section):
    """Where instructions come from."""

    seeds: str = Field("builtin", description="file of seed instructions, hf:DATASET, or builtin")
    limit: int = Field(0, ge=0, description="use the first N seeds; 0 = all")
    numbers: int = Field(
        0, ge=0, description="numbers drawn for a seed with a slot {n}; 0 = such seeds are left out"
    )
    own: str = Field("", description="file of finished instructions: no seeds, no proposals")
    rounds: int = Field(2, ge=0, description="rounds of proposals by the model")
    asks: int = Field(4, ge=1, description="requests for proposals in a round")
    per_ask: int = Field(25, ge=1, le=100, description="proposals wanted from one request")
    shown: int = Field(8, ge=1, description="seeds shown as examples in one request")
    max_tokens: int = Field(1024, ge=16, description="longest list of proposals")
    near_duplicate: Share = Field(
        0.88, description="similarity (token sort ratio) from which two are the same; 1 = exact"
    )
    max_chars: int = Field(240, ge=20, description="a longer proposal is dropped")
    benchmarks: Literal["keep", "drop"] = Field(
        "keep",
        description="instructions that state a constraint type of IFEval, IFBench or FollowBench: "
        "keep them (the rows say which), or drop them",
    )


class Verifiers(Section):
    """How functions and cases are asked for."""

    own: str = Field("", description="file of finished verifiers: no functions are asked for")
    ask: Literal["together", "apart"] = Field(
        "together",
        description="together: one JSON object with function and cases, as published; "
        "apart: functions and cases by prompts that have not seen each other",
    )
    k: int = Field(8, ge=1, le=MOST_ASKS, description="functions asked for per instruction")
    case_asks: int = Field(1, ge=0, description="requests for cases, where asked apart")
    adversary: int = Field(
        0,
        ge=0,
        le=MOST_ASKS,
        description="requests for texts that are hard to judge, each labelled by three more asks "
        "that must agree; 0 = none",
    )
    temperature: float = Field(0.8, ge=0, description="of functions, programs and cases")
    max_tokens: int = Field(1024, ge=16, description="longest function, program or set of cases")
    comply: int = Field(
        0, ge=0, le=MOST_ASKS, description="programs that make a text comply; 0 = none"
    )
    plain: int = Field(0, ge=0, description="plain replies run through every function; 0 = none")
    instructed: int = Field(
        0, ge=0, le=MOST_ASKS, description="first responses taken as evidence; 0 = none"
    )
    grounded: bool = Field(
        False, description="a function has to name the numbers and quoted words of its instruction"
    )
    repair: int = Field(0, ge=0, description="rounds in which failing functions go back")


class Crossval(Section):
    """Which functions and cases survive one another."""

    rule: Literal["paper", "reference", "evidence"] = Field(
        "paper",
        description="paper: majority of functions, then accuracy over kept cases; reference: any "
        "function agrees; evidence: joint estimate over functions, programs and replies",
    )
    min_checks: int = Field(1, ge=1, description="functions that must survive")
    min_witnesses: int = Field(
        0,
        ge=0,
        description="evidence: programs written apart that must agree, surviving functions and "
        "comply programs together",
    )
    min_candidates: int = Field(1, ge=1, description="distinct functions needed to begin with")
    min_cases: int = Field(1, ge=0, description="distinct cases needed to begin with")
    accuracy: ShareThreshold = Field(
        Threshold(0.5, above=True),
        description="a function needs this accuracy over the kept cases",
    )
    balanced: bool = Field(False, description="needs a kept True case and a kept False case")
    deterministic: bool = Field(False, description="functions are run in both orders")
    max_plain: Share = Field(
        1.0, description="an instruction that more of the plain replies satisfy teaches nothing"
    )
    boundary: int = Field(
        0,
        ge=0,
        le=64,
        description="evidence: at most this many texts on which functions differ, made by small "
        "changes to accepted ones, join the cases; 0 = none",
    )
    max_checks: int = Field(8, ge=1, description="the best of the survivors are kept, up to this")


Flag = Literal[
    "slow", "nondeterministic", "accept_all", "reject_all", "hackable", "language_trap",
    "format_sensitive", "contradicts_instruction",
]  # fmt: skip


class Diagnose(Section):
    """What is held against a function that survived."""

    drop: tuple[Flag, ...] = Field(
        (),
        description="flags of `autoif diagnose` for which a function is dropped; where there are "
        "any, near-copies among the functions count as one",
    )


class Backtranslate(Section):
    """Do the functions say what the instruction says?"""

    judge: Literal["model", "nli", "off"] = Field("model", description="who compares")
    drop: Literal["check", "instruction"] = Field(
        "check", description="what one contradiction drops"
    )
    require: Literal["no_contradiction", "entailment"] = Field(
        "no_contradiction", description="what a function's own words must be to the instruction"
    )
    max_tokens: int = Field(96, ge=16, description="longest back-translation")


class Queries(Section):
    """The queries that instructions are attached to."""

    source: str = Field("builtin", description="file of queries, hf:DATASET, or builtin")
    per_instruction: int = Field(16, ge=1, description="queries drawn for each instruction")
    min_chars: int = Field(20, ge=0, description="queries are longer than this")
    max_chars: int = Field(300, ge=1, description="queries are shorter than this")


class Responses(Section):
    """How responses are sampled and what passes."""

    waves: tuple[Annotated[int, Field(ge=1, le=MOST_ASKS)], ...] = Field(
        (8,), min_length=1, description="responses sampled per prompt, wave by wave"
    )
    enough: int = Field(
        0,
        ge=0,
        description="no further wave for a prompt with this many passed responses; 0 = all",
    )
    hopeless: int = Field(
        0, ge=0, description="give an instruction up after so many responses of which none passed"
    )
    temperature: float = Field(0.9, ge=0, description="of the responses")
    top_p: float = Field(1.0, gt=0, le=1, description="of the responses")
    max_tokens: int = Field(1024, ge=16, description="a longer response is dropped")
    max_words: int = Field(0, ge=0, description="asks for short answers; 0 = no such hint")
    accuracy: ShareThreshold = Field(
        Threshold(0.5, above=True), description="a response needs this share of its checks"
    )


class Judge(Section):
    """Does the response answer the query? 0 to 10."""

    style: Literal["analysis", "number", "yes", "off"] = Field(
        "analysis",
        description="analysis first; the number alone (ten times fewer tokens); yes: ten times the "
        "probability of a yes after examples, for small models",
    )
    threshold: ScoreThreshold = Field(Threshold(8.0), description="a sample needs this score")
    floor: bool = Field(
        False,
        description="a response that says nothing of its own (filler, the query again, only the "
        "form that was demanded) is dropped before a judge is asked",
    )
    mean: float = Field(
        0.0,
        ge=0,
        le=10,
        description="an instruction under which the replies to its queries, three at least, have "
        "a lower mean score makes no sense, and none of them is kept",
    )
    controls: Literal["off", "report", "refuse"] = Field(
        "off",
        description="texts that answer nothing are put to the judge as well; report: how many it "
        "lets pass; refuse: no response is sampled for a judge that lets a third of them pass",
    )
    per_prompt: int = Field(0, ge=0, description="passed responses judged per prompt; 0 = all")
    votes: int = Field(1, ge=1, description="scores asked for per response; the mean counts")
    max_tokens: int = Field(512, ge=4, description="longest judgement")


class Pairs(Section):
    """Preferences: chosen is a kept sample, rejected a response that every check called FALSE."""

    per_prompt: int = Field(2, ge=0, description="at most this many chosen and rejected a prompt")
    instruction_level: int = Field(2, ge=0, description="pairs of case texts per instruction")


class Compose(Section):
    """Several constraints in one prompt: at once, turn by turn, or beside soft ones."""

    levels: int = Field(1, ge=1, le=5, description="prompts of 2 up to so many constraints; 1 = no")
    turns: int = Field(
        1, ge=1, le=8, description="conversations of so many turns of the user; 1 = none"
    )
    per_level: int = Field(
        32, ge=1, description="prompts drawn for each number of constraints, and conversations"
    )
    judge: Literal["model", "off"] = Field(
        "model",
        description="who decides whether one reply can follow all; off: no such check",
    )
    soft: str = Field(
        "", description="file of constraints that a model scores, or builtin; empty = none"
    )

    @property
    def on(self) -> bool:
        return self.levels > 1 or self.turns > 1 or bool(self.soft)


class Hygiene(Section):
    """What is removed from the data files at the end, over all instructions."""

    against: tuple[str, ...] = Field(
        (),
        description="benchmark files: rows that share a run of 13 words with one of their prompts "
        "are dropped",
    )
    near_duplicate: float = Field(
        0.8,
        ge=0.5,
        le=1,
        description="similarity of query, instruction and answers from which rows are the same",
    )
    family_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="largest share of a data file that one family may have; 1 = no limit",
    )
    fidelity: str = Field("", description="figures of benchmarks/fidelity.py, for the dataset card")


class Engine(Section):
    """How the work is spread. Changes nothing in what is made."""

    in_flight: int = Field(64, ge=1, description="instructions worked on at a time")
    shard_size: int = Field(64, ge=1, description="instructions in a shard")
    sandbox_workers: int = Field(0, ge=0, description="0 = one per core")
    cluster: str = Field(
        "",
        pattern=r"^(ray(:\S+)?)?$",
        description="work on every machine of a Ray cluster: `ray` for the one of this machine, or "
        "`ray:HOST:PORT`; empty = here alone",
    )
    minutes: float = Field(
        0,
        ge=0,
        description="on the embedded model, time the machine first and make a run that takes about "
        "so long; 0 = make all of it",
    )
    calls: str = Field(
        "",
        description="address of a call store that machines share, postgresql://USER@HOST/NAME, "
        "without a password; empty = a file in the run directory",
    )


class Recipe(Section):
    """See the module. `Recipe()` holds the defaults, which no preset has changed."""

    preset: str = Field("", description="preset that the other keys change; empty = the defaults")
    seed: int = Field(1, description="random seed")
    langs: tuple[Lang, ...] = Field(("en",), min_length=1, description="languages of the data")
    target: int = Field(0, ge=0, description="stop at so many samples; 0 = all there are")
    prompts: dict[str, str] = Field(
        default_factory=dict, description="own prompt files: name or name.lang -> path"
    )
    models: Models = Models()
    instructions: Instructions = Instructions()
    verifiers: Verifiers = Verifiers()
    crossval: Crossval = Crossval()
    diagnose: Diagnose = Diagnose()
    backtranslate: Backtranslate = Backtranslate()
    queries: Queries = Queries()
    responses: Responses = Responses()
    judge: Judge = Judge()
    pairs: Pairs = Pairs()
    compose: Compose = Compose()
    hygiene: Hygiene = Hygiene()
    engine: Engine = Engine()
    _server_named_in: str = PrivateAttr("")
    _calls_named_in: str = PrivateAttr("")

    @classmethod
    def load(
        cls,
        preset: str | None = None,
        file: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Recipe:
        """Preset (or the file's own `preset` key), then file, then settings with dotted keys."""
        from_file = read_toml(file) if file else {}
        in_file = from_file.pop("preset", "demo")
        name = in_file if preset is None else preset
        values = with_settings(merge(preset_values(name), from_file), settings or {})
        recipe = cls.of(values | {"preset": name}, where=str(file) if file else "recipe")
        if file and _names_server(from_file) and not recipe._confirmed_by(settings or {}):
            recipe._server_named_in = str(file)
        if file and recipe.engine.calls and "engine.calls" not in flat(settings or {}):
            recipe._calls_named_in = str(file)
        return recipe

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """With these settings laid over it, by section or by dotted key."""
        recipe = self.of(with_settings(self.model_dump(), settings))
        if not recipe._confirmed_by(settings):
            recipe._server_named_in = self._server_named_in
        if "engine.calls" not in flat(settings):
            recipe._calls_named_in = self._calls_named_in
        return recipe

    def _confirmed_by(self, settings: Mapping[str, Any]) -> bool:
        """Whether a person named the variable, be it as the default, or the server, which is to be
        had the common key then: no other that a file alone names."""
        keys = set(flat(settings))
        common = self.models.api_key_env == KEY_ENV
        return "models.api_key_env" in keys or (common and "models.base_url" in keys)

    @property
    def calls_named_in(self) -> str:
        """The file that said where the calls are kept, where no setting did: the password in the
        environment does not go there."""
        return self._calls_named_in

    @property
    def server_named_in(self) -> str:
        """The file that named the server or the variable of its key, where no setting named one:
        a key does not go wherever a file says (`models.open`)."""
        return self._server_named_in

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "recipe") -> Recipe:
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(
                f"{where}: {problem(error, cls, '`autoif recipe` lists every key')}"
            ) from None
        _check_address(recipe.engine.calls, where)
        return recipe

    @field_validator("preset")
    @classmethod
    def _is_a_preset(cls, name: str) -> str:
        preset_values(name)
        return name

    @property
    def profile(self) -> str:
        """The preset's name, and what differs from it: "paper", "paper + judge.threshold", or
        "paper, 3 keys changed". Without a preset it begins with "defaults".

        What counts is all that decides what a row means. Seed, languages, target, models, engine
        and the user's files (`INPUTS`) do not count: they say of what, by whom and how much.
        """
        name = self.preset or "defaults"
        preset = Recipe.model_validate(preset_values(self.preset))._rules()
        changed = [key for key, value in self._rules().items() if value != preset[key]]
        if len(changed) > 1:
            return f"{name}, {len(changed)} keys changed"
        return " + ".join([name, *changed])

    def _rules(self) -> dict[str, Any]:
        """The values that count in `profile`, by dotted key."""
        values = {}
        for key in keys_of(Recipe):
            head, _, rest = key.partition(".")
            if head not in NO_RULES and key not in INPUTS and key not in SIZE:
                value = getattr(self, head)
                values[key] = getattr(value, rest) if rest else value
        return values

    def identity(self) -> dict[str, Any]:
        """Everything that decides the artefacts, as JSON values."""
        values = self.model_dump(mode="json", exclude={"engine"})
        for key in TRANSPORT:
            del values["models"][key]
        return values

    @property
    def hash(self) -> str:
        return content_id("recipe", self.identity())

    def differs(self, other: Recipe) -> list[str]:
        """The dotted keys in which two identities differ, each with both values."""
        return differences(self.identity(), other.identity())

    def toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json"))


def _check_address(calls: str, where: str) -> None:
    """A recipe is made to be shared, and is written beside the data."""
    if not calls:
        return
    if not is_address(calls):
        raise UsageError(f"{where}: engine.calls takes postgresql://...: give a file with --calls")
    if split_password(calls)[1]:
        raise UsageError(
            f"{where}: engine.calls holds a password, and a recipe is shared: give it in "
            "PGPASSWORD, in ~/.pgpass, or in the URL of --calls"
        )


def _names_server(values: Mapping[str, Any]) -> bool:
    """Whether these keys of a recipe, in sections or dotted, say where a key is sent, or which. The
    defaults, which a printed recipe spells out, say nothing."""
    section = values.get("models")
    models = dict(section) if isinstance(section, Mapping) else {}
    models |= {key.removeprefix("models."): value for key, value in values.items()}
    return bool(models.get("base_url")) or models.get("api_key_env", KEY_ENV) != KEY_ENV


def files_outside(file: Path) -> list[tuple[str, Path]]:
    """The files that a recipe file names and that do not lie beside or below it, by key: their text
    goes into prompts and data."""
    values = read_toml(file)
    named: list[tuple[str, Any]] = [(f"prompts.{k}", v) for k, v in _items(values.get("prompts"))]
    for key in (*INPUTS, "verifiers.own", "compose.soft"):
        section, _, name = key.partition(".")
        value = dict(_items(values.get(section))).get(name, ())
        named += [(key, v) for v in (value if isinstance(value, list) else [value])]
    here = file.resolve().parent
    return [
        (key, Path(value))
        for key, value in named
        if isinstance(value, str)
        and value
        and not value.startswith(("builtin", "hf:"))
        and not Path(value).resolve().is_relative_to(here)
    ]


def _items(section: Any) -> Iterable[tuple[str, Any]]:
    return section.items() if isinstance(section, dict) else ()


STRICT: dict[str, Any] = {
    "verifiers": {
        "ask": "apart",
        "k": 6,
        "case_asks": 1,
        "comply": 4,
        "plain": 12,
        "instructed": 4,
        "grounded": True,
        "repair": 1,
        "max_tokens": 512,
    },
    "crossval": {
        "rule": "evidence",
        "min_checks": 2,
        "min_witnesses": 3,
        "accuracy": 0.8,
        "balanced": True,
        "deterministic": True,
        "max_plain": 0.6,
        "max_checks": 4,
    },
    "diagnose": {"drop": get_args(Flag)},
    "responses": {
        "waves": (2, 2, 4),
        "enough": 2,
        "hopeless": 24,
        "accuracy": 1.0,
    },
    "judge": {"floor": True, "mean": 5.0, "controls": "refuse"},
}

# What each preset changes in the one it stands on.
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("", {"instructions": {"rounds": 4, "asks": 8}}),
    "reference": (
        "",
        {
            "instructions": {"shown": 36, "asks": 2, "per_ask": 50, "near_duplicate": 1.0},
            "crossval": {
                "rule": "reference",
                "min_candidates": 3,
                "min_cases": 10,
                "accuracy": 0.8,
            },
            "backtranslate": {"drop": "instruction"},
            "responses": {"waves": (16,), "accuracy": "above 0.0"},
            "judge": {"threshold": "above 8.0"},
            "pairs": {"instruction_level": 0},
        },
    ),
    "strict": ("", STRICT),
    # Strict, and all that goes beyond one constraint in one turn.
    "composed": (
        "strict",
        {
            "instructions": {"numbers": 2},
            "compose": {"levels": 5, "turns": 3, "per_level": 64},
        },
    ),
    "demo": (
        "strict",
        {
            "instructions": {
                "limit": 36,
                "rounds": 1,
                "asks": 4,
                "per_ask": 10,
                "shown": 8,
                "max_tokens": 300,
            },
            # One function will do where two comply programs, written apart, agree with it.
            "crossval": {"min_checks": 1},
            "verifiers": {
                "k": 4,
                "comply": 3,
                "plain": 8,
                "instructed": 2,
                "max_tokens": 260,
                "temperature": 0.6,
            },
            "backtranslate": {"max_tokens": 48},
            "queries": {"per_instruction": 12},
            "responses": {
                "waves": (1, 1, 1),
                "enough": 1,
                "hopeless": 8,
                "max_tokens": 150,
                "max_words": 40,
                "temperature": 0.7,
            },
            "judge": {"style": "yes", "threshold": 9.0, "per_prompt": 1, "max_tokens": 12},
            "engine": {"minutes": 20},
        },
    ),
    "smoke": (
        "strict",
        {
            "models": {"default": "scripted:builtin:smoke"},
            "instructions": {
                "seeds": "builtin:smoke",
                "rounds": 1,
                "asks": 1,
                "per_ask": 6,
                "shown": 4,
                "numbers": 2,
            },
            "compose": {"levels": 3, "turns": 2, "per_level": 6},
            "verifiers": {"k": 3, "comply": 2, "plain": 6, "instructed": 0},
            "queries": {"source": "builtin:smoke", "per_instruction": 3},
            "responses": {"waves": (2, 2), "enough": 1, "hopeless": 6},
            "judge": {"style": "number", "controls": "off"},  # a script judges nothing
        },
    ),
}


def preset_values(name: str) -> dict[str, Any]:
    """What a preset changes in the defaults; the empty name is no preset. Raises UsageError."""
    if name == "":
        return {}
    if not isinstance(name, str) or name not in PRESETS:
        near = did_you_mean(str(name), PRESETS)
        raise UsageError(f"unknown preset {name!r}; there are: {', '.join(sorted(PRESETS))}{near}")
    base, values = PRESETS[name]
    return merge(preset_values(base), values)


def describe() -> list[tuple[str, str, str, str]]:
    """Every key: (dotted name, type, default, meaning), for `docs/recipe.md`."""
    rows = []
    for name, info in Recipe.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key, inner in section.model_fields.items():
                rows.append(_row(f"{name}.{key}", inner))
        else:
            rows.append(_row(name, info))
    return rows


def _row(name: str, info: Any) -> tuple[str, str, str, str]:
    annotation = info.annotation
    plain = (int, str, float, bool, Threshold)
    kind = annotation.__name__ if annotation in plain else str(annotation)
    default = info.get_default(call_default_factory=True)
    if isinstance(default, Threshold):
        default = default.written()
    return name, kind.replace("typing.", ""), repr(default), info.description or ""
