"""What trainers ask and how they are answered: one `Protocol` each.

    /v1/rewards  ours: columns of completions and verifiers -> rewards, null where there is none;
                 where lines are asked for, each completion's when it is judged
    /openrlhf    `--reward.remote_url`: query, prompts, labels -> rewards, scores, extra_logs
    /slime       `--rm-type remote_rm`: prompt, response, label -> a number
    /verify      NeMo-Gym: a Responses object -> the same, with reward and mask_sample

A trainer that knows no null gets 0 and is told beside it: `extra_logs.unscored`, `mask_sample`, the
header X-AutoIF-Unscored. For these, a sample that cannot be read is unscored too: an error of the
server would be asked again and again, and end the training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from autoif.base.errors import UsageError
from autoif.serve.row_index import RowIndex
from autoif.verifier.completion import after_prompt, answer
from autoif.verifier.reward import Held, Row, Sample

Rewards = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Question:
    """One sample of a request: read when it is judged, so that a bad one is one bad one."""

    completion: Any
    label: Any
    prompt: Any = None
    within: bool = False  # the completion begins with its prompt
    as_is: bool = False  # the completion is an answer, and nothing is cut from it

    def read(self, rows: RowIndex, where: str, keep_reasoning: bool) -> Sample:
        """Raises UsageError naming `where`."""
        row: Row = rows.row(self.label, where)
        if self.as_is and not isinstance(self.completion, str | None):
            raise UsageError(f"{where}: an answer is a text or null")
        if self.as_is:
            return self.completion, row
        completion = self.completion
        if self.within:
            completion = after_prompt(completion, self.prompt, where)
        return answer(completion, self.prompt, keep_reasoning=keep_reasoning, where=where), row


@dataclass(frozen=True, slots=True)
class Protocol:
    """read: raises UsageError for a body of another shape. forgiving: a sample that cannot be read
    is unscored; else the request is refused. lines: can be answered with a line for each sample."""

    path: str
    summary: str
    read: Callable[[Any], list[Question]]
    write: Callable[[Any, Rewards, Sequence[Held]], Any]
    forgiving: bool = True
    lines: bool = False


# ---- ours --------------------------------------------------------------------------------------

# Strings may hold lone surrogates, which pydantic refuses; so what is in a column is read later.
_TEXT = {"type": ["string", "null"]}
_MESSAGES = {
    "anyOf": [_TEXT, {"type": "object"}, {"type": "array", "items": {"type": "object"}}],
}
_VERIFIER = {
    "type": "object",
    "required": ["checks"],
    "properties": {
        "checks": {"type": "array", "items": {"type": "string"}},
        "min_fraction": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.5},
    },
}
_LABEL = {"anyOf": [{"type": "array", "items": _VERIFIER}, {"type": "string"}]}


class RewardsRequest(BaseModel):
    """Columns of one length. Either `completions` or `answers`."""

    model_config = ConfigDict(extra="forbid")

    verifiers: list[Annotated[Any, WithJsonSchema(_LABEL)]] = Field(
        description="For each completion its verifiers, or the id of a row that the server has"
    )
    completions: list[Annotated[Any, WithJsonSchema(_MESSAGES)]] | None = Field(
        None, description="Texts, messages or lists of messages; reasoning and end tokens are cut"
    )
    answers: list[Annotated[Any, WithJsonSchema(_TEXT)]] | None = Field(
        None, description="Texts that are judged as they are"
    )
    prompts: list[Annotated[Any, WithJsonSchema(_MESSAGES)]] | None = Field(
        None, description="A tag of reasoning at the end of a prompt opens its completion"
    )


class RewardsResponse(BaseModel):
    """A value for each completion."""

    rewards: list[float | None] = Field(description="0 to 1; null: no reward, which is not 0")
    holds: list[list[bool | None]] = Field(
        description="Whether each constraint is met; null: that stayed open"
    )


def _read_rewards(body: Any) -> list[Question]:
    try:
        columns = RewardsRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{place or 'body'}: {first['msg'].lower()}") from None
    as_is = columns.completions is None
    completions = columns.answers if columns.completions is None else columns.completions
    if completions is None or (not as_is and columns.answers is not None):
        raise UsageError('give either "completions" or "answers"')
    prompts = columns.prompts or [None] * len(completions)
    if not len(completions) == len(columns.verifiers) == len(prompts):
        raise UsageError(
            f"{len(completions)} completions, {len(columns.verifiers)} verifiers and "
            f"{len(prompts)} prompts: columns are of one length"
        )
    return [
        Question(completion, label, prompt, as_is=as_is)
        for completion, label, prompt in zip(completions, columns.verifiers, prompts, strict=True)
    ]


def _write_rewards(body: Any, rewards: Rewards, held: Sequence[Held]) -> Any:
    return {"rewards": list(rewards), "holds": list(held)}


# ---- trainers' ---------------------------------------------------------------------------------


def _read_openrlhf(body: Any) -> list[Question]:
    queries = _listed(_member(body, "query"))
    prompts, labels = _listed(body.get("prompts")), _listed(_member(body, "labels"))
    prompts = prompts or [None] * len(queries)
    if not len(queries) == len(labels) == len(prompts):
        raise UsageError("query, prompts and labels are lists of one length")
    return [
        Question(query, label, prompt, within=isinstance(prompt, str) and isinstance(query, str))
        for query, prompt, label in zip(queries, prompts, labels, strict=True)
    ]


def _write_openrlhf(body: Any, rewards: Rewards, held: Sequence[Held]) -> Any:
    numbers = [reward or 0.0 for reward in rewards]
    unscored = [float(reward is None) for reward in rewards]
    return {"rewards": numbers, "scores": numbers, "extra_logs": {"unscored": unscored}}


def _read_slime(body: Any) -> list[Question]:
    return [Question(_member(body, "response"), _member(body, "label"), body.get("prompt"))]


def _write_slime(body: Any, rewards: Rewards, held: Sequence[Held]) -> Any:
    return rewards[0] or 0.0


def _read_nemo_gym(body: Any) -> list[Question]:
    response = _member(body, "response")
    output = response.get("output") if isinstance(response, Mapping) else None
    if not isinstance(output, list):
        raise UsageError('"response" has to be a Responses object with "output"')
    messages = [
        item
        for item in output
        if isinstance(item, Mapping) and item.get("type", "message") == "message"
    ]
    return [Question(messages, _member(body, "verifier_metadata"))]


def _write_nemo_gym(body: Any, rewards: Rewards, held: Sequence[Held]) -> Any:
    return {**body, "reward": rewards[0] or 0.0, "mask_sample": rewards[0] is None}


def _member(body: Any, name: str) -> Any:
    if not isinstance(body, Mapping) or name not in body:
        raise UsageError(f'a JSON object with "{name}" is wanted')
    return body[name]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


PROTOCOLS = (
    Protocol(
        *("/v1/rewards", "Rewards of a batch", _read_rewards, _write_rewards),
        forgiving=False,
        lines=True,
    ),
    Protocol("/openrlhf", "OpenRLHF's remote reward", _read_openrlhf, _write_openrlhf),
    Protocol("/slime", "slime's and miles' remote_rm", _read_slime, _write_slime),
    Protocol("/verify", "NeMo-Gym's resources server", _read_nemo_gym, _write_nemo_gym),
)
