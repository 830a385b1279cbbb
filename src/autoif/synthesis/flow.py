"""One instruction's way from words to data rows; independent of all others.

    write -> gather evidence -> cross-validate -> [repair] -> say back -> pair with queries
      -> sample in waves -> verify -> judge -> rows

`process` fills a `Product`: records, rows and the books. It keeps no state and resumes nothing:
the call store answers what was asked before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from autoif.base.errors import CallFailed
from autoif.base.records import Case, Check, Instruction, Pair, Query, Status, Verdict, Verifier
from autoif.run.funnel import Funnel
from autoif.synthesis import slots
from autoif.synthesis.context import Context
from autoif.synthesis.product import Product
from autoif.synthesis.responses import judge, queries, rows
from autoif.synthesis.responses import sample as responses
from autoif.synthesis.responses.sample import Prompt, Task, user_message
from autoif.synthesis.verifiers import backtranslate, evidence, soundness
from autoif.synthesis.verifiers import write as verifiers
from autoif.synthesis.verifiers.crossval import Survivors, cross_validate
from autoif.verifier.pairs import text_pairs

REPAIRABLE = ("no_function_left", "too_few_functions_left", "no_case_left")


async def process(context: Context, product: Product) -> None:
    """Fills the product; one that comes with a verifier keeps it as it is."""
    instruction, funnel = product.unit, product.funnel
    assert isinstance(instruction, Instruction)
    funnel.enter("verifiers")
    if product.verifier:
        verifier = await _working(context, product.verifier, funnel)
    else:
        verifier = await _verifier(context, instruction, funnel)
    product.verifier = verifier
    if verifier is None:
        funnel.check()
        return
    funnel.keep("verifiers")
    task = Task.single(verifier)
    prompts = [
        Prompt(query, (user_message(query.text, task.verifiers),), instruction.text)
        for query in queries.pair(context.recipe, context.queries, instruction)
    ]
    product.take(context, task, await responses.sample(context, task, prompts, funnel))
    for query, pair in await _instruction_pairs(context, verifier):
        product.dpo.append(rows.dpo_row(pair, query, task, context.recipe.responses))
    product.dpo = rows.sorted_rows(product.dpo)
    funnel.check()


# ---- the verifier ------------------------------------------------------------------------------


async def _working(context: Context, brought: Verifier, funnel: Funnel) -> Verifier | None:
    """The user's own verifier, unless it says nothing of any text: known before a call is paid."""
    probes = [*(case.text for case in brought.cases), "", "One sentence. Then, another one!\n- a"]
    verdicts = await context.verdicts(brought.checks, list(dict.fromkeys(probes)))
    if any(verdict.fraction is not None for verdict in verdicts):
        return brought
    why = verdicts[0].outcomes[0]
    detail = f"{why.status.value}: {why.detail}"
    funnel.drop("verifiers", brought.instruction.id, "broken", detail, brought.instruction.id)
    return None


async def _verifier(context: Context, instruction: Instruction, funnel: Funnel) -> Verifier | None:
    """Functions that survived one another, the evidence and their own back-translation."""
    (checks, cases), gathered, instructed = await asyncio.gather(
        verifiers.write(context, instruction, funnel),
        evidence.gather(context, instruction, funnel),
        responses.instructed(
            context, instruction, queries.pair(context.recipe, context.queries, instruction), funnel
        ),
    )
    cases = _distinct(cases, gathered + instructed, instruction, funnel)
    checks = await slots.at_edges(context, instruction, checks, cases, funnel)
    found, table, unsound = await _judged(context, instruction, checks, cases)
    for _ in range(context.recipe.verifiers.repair):
        failing = _failing(checks, cases, table, found)
        if found.reason not in REPAIRABLE or not failing:
            break
        fresh = await verifiers.repair(context, instruction, failing, funnel)
        fresh = await slots.at_edges(context, instruction, fresh, cases, funnel)
        known = {verifiers.normalise(c.source) for c in checks}
        for check in fresh:
            if verifiers.normalise(check.source) in known:
                funnel.drop("functions", check.id, "duplicate", check.source, instruction.id)
            else:
                checks.append(check)
        found, table, unsound = await _judged(context, instruction, checks, cases)
    taken = _settle(context, instruction, checks, cases, table, found, unsound, funnel)
    funnel.enter("crossval")
    if found.reason:
        funnel.drop("crossval", instruction.id, found.reason, found.detail, instruction.id)
        funnel.drop("verifiers", instruction.id, found.reason, found.detail, instruction.id)
        return None
    funnel.keep("crossval")
    told = await backtranslate.confirm(context, instruction, [checks[f] for f in taken], funnel)
    part = context.recipe
    lost = len(taken) - len(told)
    distinct = len(set(await soundness.copies(context, [check for check, _ in told])))
    if distinct < part.crossval.min_checks or (lost and part.backtranslate.drop == "instruction"):
        detail = f"{lost} of {len(taken)} functions say something else"
        funnel.drop("verifiers", instruction.id, "backtranslation", detail, instruction.id)
        return None
    accuracy = {checks[f].id: found.accuracy[f] for f in taken}
    return Verifier(
        instruction,
        tuple(check for check, _ in told),
        tuple(_relabelled(cases[t], found.labels[t]) for t in found.cases),
        tuple(round(accuracy[check.id], 4) for check, _ in told),
        tuple(text for _, text in told),
    )


async def _judged(
    context: Context, instruction: Instruction, checks: list[Check], cases: list[Case]
) -> tuple[Survivors, list[Verdict], dict[int, str]]:
    """What survives when functions and cases judge one another, and survivors are diagnosed: an
    unsound one is out, says nothing any more, and the others are judged again without it."""
    said, table = await _table(context, checks, cases)
    copies = await soundness.copies(context, checks)
    unsound: dict[int, str] = {}
    sound: set[int] = set()
    while True:
        found = cross_validate(said, cases, context.recipe.crossval, copies)
        fresh = [f for f in found.checks if f not in sound]
        believed = [_relabelled(cases[t], found.labels[t]) for t in found.cases]
        flags = await soundness.flagged(context, instruction, [checks[f] for f in fresh], believed)
        sound |= set(fresh)
        new = {f: flag for f, flag in zip(fresh, flags, strict=True) if flag}
        if not new:
            return found, table, unsound
        unsound |= new
        said = [[None] * len(row) if f in unsound else row for f, row in enumerate(said)]


async def _table(
    context: Context, checks: list[Check], cases: list[Case]
) -> tuple[list[list[bool | None]], list[Verdict]]:
    """`said[f][t]` for cross-validation, and the verdicts it was read from."""
    if not checks or not cases:
        return [[] for _ in checks], []
    table = await context.verdicts(
        checks, [c.text for c in cases], check_order=context.recipe.crossval.deterministic
    )
    said = [
        [_concluded(verdict.outcomes[f].status) for verdict in table] for f in range(len(checks))
    ]
    return said, table


def _concluded(status: Status) -> bool | None:
    return status is Status.TRUE if status.concluded else None


def _distinct(
    cases: list[Case], gathered: list[Case], instruction: Instruction, funnel: Funnel
) -> list[Case]:
    """The model's cases first, then the evidence; a text counts once."""
    found = {case.text: case for case in cases}
    for case in gathered:
        if case.text in found:
            funnel.drop("cases", case.id, "duplicate", case.text, instruction.id)
        else:
            found[case.text] = case
    return list(found.values())


def _failing(
    checks: list[Check], cases: list[Case], table: list[Verdict], found: Survivors
) -> list[tuple[Check, str]]:
    """Each function that fell, with what it did wrong: an error first, else a wrong answer."""
    out = []
    for f, check in enumerate(checks):
        if f in found.checks:
            continue
        failure = ""
        for t, verdict in enumerate(table):
            outcome = verdict.outcomes[f]
            if not outcome.status.concluded:
                failure = f"It failed with {outcome.status.value} {outcome.detail}".strip()
                break
            label = found.labels[t]
            if label is not None and (outcome.status is Status.TRUE) is not label and not failure:
                says = "follows" if label else "does not follow"
                failure = (
                    f"It returned {outcome.status is Status.TRUE} for the response below, "
                    f"which {says} the instruction:\n{cases[t].text[:600]}"
                )
        if failure:
            out.append((check, failure))
    return out


def _settle(
    context: Context,
    instruction: Instruction,
    checks: list[Check],
    cases: list[Case],
    table: list[Verdict],
    found: Survivors,
    unsound: Mapping[int, str],
    funnel: Funnel,
) -> list[int]:
    """Books every function and case; returns the functions taken, best first."""
    best = sorted(found.checks, key=lambda f: (-found.accuracy[f], checks[f].id))
    taken = [] if found.reason else best[: context.recipe.crossval.max_checks]
    for f, check in enumerate(checks):
        if f in taken:
            funnel.keep("functions")
            continue
        reason, detail = "low_accuracy", f"{found.accuracy[f]:.2f} on {len(found.cases)} cases"
        outcomes = [verdict.outcomes[f] for verdict in table]
        if f in unsound:
            reason, detail = unsound[f], "diagnosed"
        elif f in best and found.reason:
            reason, detail = found.reason, found.detail
        elif f in best:
            reason, detail = "surplus", f"{len(best)} survived"
        elif outcomes and not any(o.status.concluded for o in outcomes):
            reason, detail = outcomes[0].status.value.lower(), outcomes[0].detail
        elif not found.cases:
            reason, detail = "no_case", "there was no case left to measure it with"
        funnel.drop("functions", check.id, reason, detail, instruction.id)
    for t, case in enumerate(cases):
        if t in found.cases:
            funnel.keep("cases")
        else:
            reason = "no_function" if not checks else "no_agreement"
            funnel.drop("cases", case.id, reason, case.text, instruction.id)
    return taken


def _relabelled(case: Case, label: bool | None) -> Case:
    """The label that was estimated stands, not the one that was claimed."""
    return Case(case.text, case.expected if label is None else label, case.origin, case.query)


# ---- the rows ----------------------------------------------------------------------------------


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
    lang = verifier.instruction.lang
    asked = {query.text: query for query in context.queries[lang]}
    pairs: list[tuple[Query, Pair]] = []
    for query in sorted(by_query):
        if len(pairs) >= limit:
            break
        prompt = (user_message(query, (verifier,)),)
        room = 1 if query else limit
        for pair in text_pairs(prompt, by_query[query], (verifier.id,), room):
            if query and context.recipe.judge.style != "off":
                told = verifier.instruction
                value = await judge.score(
                    context, told.lang, query, told.text, pair.chosen, told.id
                )
                if isinstance(value, CallFailed) or not judge.good(context, value):
                    continue
            pairs.append((asked.get(query, Query(query, lang)), pair))
    return pairs[:limit]
