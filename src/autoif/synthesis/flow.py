"""One instruction's way from words to data rows; independent of all others.

    build a verifier -> pair with queries -> sample in waves -> verify -> judge -> rows

Each stage returns what it kept and what it dropped; `process` books it in the product's funnel. It
keeps no state and resumes nothing: the call store answers what was asked before.
"""

from __future__ import annotations

from typing import Any

from autoif.base.errors import CallFailed
from autoif.base.records import Drop, Filtered, Instruction, Pair, Query, Verdict, Verifier
from autoif.synthesis.context import Context
from autoif.synthesis.product import Product
from autoif.synthesis.responses import controls, judge, queries, rows
from autoif.synthesis.responses.sample import Prompt, Task, instructed, sample, user_message
from autoif.synthesis.verifiers import benchmark, evidence
from autoif.synthesis.verifiers.build import VERIFIERS, build
from autoif.verifier.pairs import text_pairs


async def process(context: Context, product: Product) -> None:
    """Fills the product; a verifier that came with the instruction stays as it is."""
    instruction = product.unit
    assert isinstance(instruction, Instruction)
    asked = queries.pair(context.recipe, context.queries, instruction)
    if product.given:
        working = await _working(context, product.given[0])
        working >>= await benchmark.decided(context, working.kept)
        product.funnel.book(working)
        verifier = next(iter(working.kept), None)
    else:
        built = await build(context, instruction, instructed(context, instruction, asked))
        product.funnel.book(*built.stages)
        verifier = built.verifier
    product.verifier = verifier
    if verifier is None:
        return
    if controls.wanted(context.recipe):
        replies = await evidence.shared_replies(context, instruction.lang)
        await controls.refuse_untrusted(context, instruction.lang, replies.kept)
    task = Task.single(verifier, context.recipe.responses.accuracy)
    prompts = [
        Prompt(query, (user_message(query.text, task.verifiers),), instruction.text)
        for query in asked
    ]
    product.take(context.recipe, task, await sample(context, task, prompts))
    for query, pair in await _instruction_pairs(context, verifier):
        product.dpo.append(rows.dpo_row(pair, query, task))
    product.dpo = rows.sorted_rows(product.dpo)


async def shared_stages(context: Context) -> dict[str, Filtered[Any]]:
    """What was made once for all units, by its name, as it is booked once. Plain replies serve as
    evidence; those that failed are on record."""
    stages: dict[str, Filtered[Any]] = {}
    for lang in context.recipe.langs:
        if replies := context.shared.get(evidence.plain(lang)):
            failed = (await replies).dropped
            stages[evidence.plain(lang)] = Filtered(evidence.CASES, [], failed)
        if judged := context.shared.get(controls.controls(lang)):
            stages[controls.controls(lang)] = await judged
    return stages


async def _working(context: Context, verifier: Verifier) -> Filtered[Verifier]:
    """The user's own verifier, unless it says nothing of any text: known before a call is paid."""
    probes = [*(case.text for case in verifier.cases), "", "One sentence. Then, another one!\n- a"]
    verdicts = await context.verdicts(verifier.checks, list(dict.fromkeys(probes)))
    if any(verdict.fraction is not None for verdict in verdicts):
        return Filtered(VERIFIERS, [verifier])
    first = verdicts[0].outcomes[0]
    name, detail = verifier.instruction.id, f"{first.status.value}: {first.detail}"
    return Filtered(VERIFIERS, [], [Drop.of(VERIFIERS, name, "broken", detail, name)])


async def _instruction_pairs(context: Context, verifier: Verifier) -> list[tuple[Query, Pair]]:
    """Pairs of case texts, each with the query that both answer, if any.

    Texts that answer a query pair within it: they differ only in the constraint, and the judge has
    to find the chosen one good, since a program may have maimed it.
    """
    limit = context.recipe.pairs.instruction_level
    if not limit or not verifier.cases:
        return []
    verdicts = await context.verdicts(verifier.checks, [c.text for c in verifier.cases])
    by_query: dict[str, list[tuple[str, bool, Verdict]]] = {}
    for case, verdict in zip(verifier.cases, verdicts, strict=True):
        by_query.setdefault(case.query, []).append((case.text, case.expected, verdict))
    instruction, lang = verifier.instruction, verifier.instruction.lang
    asked = {query.text: query for query in context.queries[lang]}
    pairs: list[tuple[Query, Pair]] = []
    for query in sorted(by_query):
        if len(pairs) >= limit:
            break
        prompt = (user_message(query, (verifier,)),)
        room = 1 if query else limit
        for pair in text_pairs(prompt, by_query[query], (verifier.id,), room):
            if query and context.recipe.judge.style != "off":
                value = await judge.score(
                    context, lang, query, instruction.text, pair.chosen, instruction.id
                )
                if isinstance(value, CallFailed) or not judge.good(context, value):
                    continue
            pairs.append((asked.get(query, Query(query, lang)), pair))
    return pairs[:limit]
