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
from autoif.run.funnel import Ledger
from autoif.synthesis.context import Tools
from autoif.synthesis.instructions import slots
from autoif.synthesis.product import Product
from autoif.synthesis.responses import judge, queries, rows
from autoif.synthesis.responses import sample as responses
from autoif.synthesis.responses.sample import Prompt, Task, user_message
from autoif.synthesis.verifiers import backtranslate, evidence, soundness
from autoif.synthesis.verifiers import write as verifiers
from autoif.synthesis.verifiers.crossval import Survivors, cross_validate
from autoif.verifier.pairs import text_pairs

REPAIRABLE = ("no_function_left", "too_few_functions_left", "no_case_left")


async def process(tools: Tools, product: Product) -> None:
    """Fills the product; one that comes with a verifier keeps it as it is."""
    instruction, ledger = product.unit, product.ledger
    assert isinstance(instruction, Instruction)
    ledger.enter("verifiers")
    if product.verifier:
        verifier = await _working(tools, product.verifier, ledger)
    else:
        verifier = await _verifier(tools, instruction, ledger)
    product.verifier = verifier
    if verifier is None:
        ledger.check()
        return
    ledger.keep("verifiers")
    task = Task.single(verifier)
    prompts = [
        Prompt(query, (user_message(query.text, task.verifiers),), instruction.text)
        for query in queries.pair(tools.recipe, tools.queries, instruction)
    ]
    product.take(tools, task, await responses.sample(tools, task, prompts, ledger))
    for query, pair in await _instruction_pairs(tools, verifier):
        product.dpo.append(rows.dpo_row(pair, query, task, tools.recipe.responses))
    product.dpo = rows.sorted_rows(product.dpo)
    ledger.check()


# ---- the verifier ------------------------------------------------------------------------------


async def _working(tools: Tools, brought: Verifier, ledger: Ledger) -> Verifier | None:
    """The user's own verifier, unless it says nothing of any text: known before a call is paid."""
    probes = [*(case.text for case in brought.cases), "", "One sentence. Then, another one!\n- a"]
    verdicts = await tools.verdicts(brought.checks, list(dict.fromkeys(probes)))
    if any(verdict.fraction is not None for verdict in verdicts):
        return brought
    why = verdicts[0].outcomes[0]
    detail = f"{why.status.value}: {why.detail}"
    ledger.drop("verifiers", brought.instruction.id, "broken", detail, brought.instruction.id)
    return None


async def _verifier(tools: Tools, instruction: Instruction, ledger: Ledger) -> Verifier | None:
    """Functions that survived one another, the evidence and their own back-translation."""
    (checks, cases), gathered, instructed = await asyncio.gather(
        verifiers.write(tools, instruction, ledger),
        evidence.gather(tools, instruction, ledger),
        responses.instructed(
            tools, instruction, queries.pair(tools.recipe, tools.queries, instruction), ledger
        ),
    )
    cases = _distinct(cases, gathered + instructed, instruction, ledger)
    checks = await slots.at_edges(tools, instruction, checks, cases, ledger)
    found, table, unsound = await _judged(tools, instruction, checks, cases)
    for _ in range(tools.recipe.verifiers.repair):
        failing = _failing(checks, cases, table, found)
        if found.reason not in REPAIRABLE or not failing:
            break
        fresh = await verifiers.repair(tools, instruction, failing, ledger)
        fresh = await slots.at_edges(tools, instruction, fresh, cases, ledger)
        known = {verifiers.normalise(c.source) for c in checks}
        for check in fresh:
            if verifiers.normalise(check.source) in known:
                ledger.drop("functions", check.id, "duplicate", check.source, instruction.id)
            else:
                checks.append(check)
        found, table, unsound = await _judged(tools, instruction, checks, cases)
    taken = _settle(tools, instruction, checks, cases, table, found, unsound, ledger)
    ledger.enter("crossval")
    if found.reason:
        ledger.drop("crossval", instruction.id, found.reason, found.detail, instruction.id)
        ledger.drop("verifiers", instruction.id, found.reason, found.detail, instruction.id)
        return None
    ledger.keep("crossval")
    told = await backtranslate.confirm(tools, instruction, [checks[f] for f in taken], ledger)
    part = tools.recipe
    lost = len(taken) - len(told)
    distinct = len(set(await soundness.copies(tools, [check for check, _ in told])))
    if distinct < part.crossval.min_checks or (lost and part.backtranslate.drop == "instruction"):
        detail = f"{lost} of {len(taken)} functions say something else"
        ledger.drop("verifiers", instruction.id, "backtranslation", detail, instruction.id)
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
    tools: Tools, instruction: Instruction, checks: list[Check], cases: list[Case]
) -> tuple[Survivors, list[Verdict], dict[int, str]]:
    """What survives when functions and cases judge one another, and survivors are diagnosed: an
    unsound one is out, says nothing any more, and the others are judged again without it."""
    said, table = await _table(tools, checks, cases)
    copies = await soundness.copies(tools, checks)
    unsound: dict[int, str] = {}
    sound: set[int] = set()
    while True:
        found = cross_validate(said, cases, tools.recipe.crossval, copies)
        fresh = [f for f in found.checks if f not in sound]
        believed = [_relabelled(cases[t], found.labels[t]) for t in found.cases]
        flags = await soundness.flagged(tools, instruction, [checks[f] for f in fresh], believed)
        sound |= set(fresh)
        new = {f: flag for f, flag in zip(fresh, flags, strict=True) if flag}
        if not new:
            return found, table, unsound
        unsound |= new
        said = [[None] * len(row) if f in unsound else row for f, row in enumerate(said)]


async def _table(
    tools: Tools, checks: list[Check], cases: list[Case]
) -> tuple[list[list[bool | None]], list[Verdict]]:
    """`said[f][t]` for cross-validation, and the verdicts it was read from."""
    if not checks or not cases:
        return [[] for _ in checks], []
    table = await tools.verdicts(
        checks, [c.text for c in cases], check_order=tools.recipe.crossval.deterministic
    )
    said = [
        [_concluded(verdict.outcomes[f].status) for verdict in table] for f in range(len(checks))
    ]
    return said, table


def _concluded(status: Status) -> bool | None:
    return status is Status.TRUE if status.concluded else None


def _distinct(
    cases: list[Case], gathered: list[Case], instruction: Instruction, ledger: Ledger
) -> list[Case]:
    """The model's cases first, then the evidence; a text counts once."""
    found = {case.text: case for case in cases}
    for case in gathered:
        if case.text in found:
            ledger.drop("cases", case.id, "duplicate", case.text, instruction.id)
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
    tools: Tools,
    instruction: Instruction,
    checks: list[Check],
    cases: list[Case],
    table: list[Verdict],
    found: Survivors,
    unsound: Mapping[int, str],
    ledger: Ledger,
) -> list[int]:
    """Books every function and case; returns the functions taken, best first."""
    best = sorted(found.checks, key=lambda f: (-found.accuracy[f], checks[f].id))
    taken = [] if found.reason else best[: tools.recipe.crossval.max_checks]
    for f, check in enumerate(checks):
        if f in taken:
            ledger.keep("functions")
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
        ledger.drop("functions", check.id, reason, detail, instruction.id)
    for t, case in enumerate(cases):
        if t in found.cases:
            ledger.keep("cases")
        else:
            reason = "no_function" if not checks else "no_agreement"
            ledger.drop("cases", case.id, reason, case.text, instruction.id)
    return taken


def _relabelled(case: Case, label: bool | None) -> Case:
    """The label that was estimated stands, not the one that was claimed."""
    return Case(case.text, case.expected if label is None else label, case.origin, case.query)


# ---- the rows ----------------------------------------------------------------------------------


async def _instruction_pairs(tools: Tools, verifier: Verifier) -> list[tuple[Query, Pair]]:
    """Pairs of case texts, each with the query that both answer, if any.

    Texts that answer a query pair within it: they differ only in the constraint, and the judge has
    to find the chosen one good, since a program may have maimed it.
    """
    limit = tools.recipe.pairs.instruction_level
    if not limit or not verifier.cases:
        return []
    verdicts = await tools.verdicts(verifier.checks, [c.text for c in verifier.cases])
    by_query: dict[str, list[tuple[str, bool, Verdict]]] = {}
    for case, verdict in zip(verifier.cases, verdicts, strict=True):
        by_query.setdefault(case.query, []).append((case.text, case.expected, verdict))
    lang = verifier.instruction.lang
    asked = {query.text: query for query in tools.queries[lang]}
    pairs: list[tuple[Query, Pair]] = []
    for query in sorted(by_query):
        if len(pairs) >= limit:
            break
        prompt = (user_message(query, (verifier,)),)
        room = 1 if query else limit
        for pair in text_pairs(prompt, by_query[query], (verifier.id,), room):
            if query and tools.recipe.judge.style != "off":
                told = verifier.instruction
                value = await judge.score(tools, told.lang, query, told.text, pair.chosen, told.id)
                if isinstance(value, CallFailed) or not judge.good(tools, value):
                    continue
            pairs.append((asked.get(query, Query(query, lang)), pair))
    return pairs[:limit]
