"""A program of ours that hashes a function's syntax tree, whatever its parts are called.

It is never imported: its text is run in the sandbox, which is given the untrusted source as text,
so that nothing outside parses it. `comply(source)` returns a JSON list: the hash of the normalised
tree, then those of its subtrees. Names, docstrings, annotations, the order of constants and of
independent statements, and the ways to write one return are gone: local values are put where they
are used, as a compiler does.
"""

from __future__ import annotations

import ast
import json
import re
import zlib
from typing import Any

Tree = Any  # nested tuples of strings
MOST = 4000  # subtrees; what is larger is not worth comparing
COMMUTE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr)
FLIP = {"Gt": "Lt", "GtE": "LtE"}
OPPOSITE = {"Eq": "NotEq", "NotEq": "Eq", "In": "NotIn", "NotIn": "In", "Is": "IsNot",
            "IsNot": "Is"}  # fmt: skip
TRUE, FALSE, NONE = ("const", "True"), ("const", "False"), ("const", "None")


def canonical(tree: ast.Module) -> Tree:
    """Nested tuples of a module: expressions with their local values put in."""
    names: dict[str, Tree] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or top] = ("name", top)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = ("attr", ("name", node.module or ""), alias.name)
                names[alias.asname or alias.name] = full
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] = ("name", "_f")
    return _block(tree.body, names)


# ---- statements --------------------------------------------------------------------------------


def _block(body: list[ast.stmt], env: dict[str, Tree], inner: bool = False) -> Tree:
    """What a block does and returns: ("do", *effects, value). Within a loop or a branch that
    goes on (`inner`), what is stored is an effect as well."""
    effects: list[Tree] = []
    for i, node in enumerate(body):
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Global() | ast.Nonlocal():
                continue
            case ast.Expr(value=ast.Constant() | ast.Call(func=ast.Name(id="print"))):
                continue
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.AugAssign(target=ast.Name(id=name), value=value)
            ):
                if isinstance(node, ast.AugAssign):
                    old = ast.Name(id=name, ctx=ast.Load())
                    value = ast.BinOp(left=old, op=node.op, right=value)
                env[name] = _expr(value, env)
                effects += [("set", env[name])] if inner else []
            case ast.FunctionDef():
                effects.append(_function(node, env))
            case ast.Return(value=value):
                return _do(effects, _expr(value, env) if value else NONE)
            case ast.If(test=test, body=then, orelse=other) if _ends(then):
                value = _expr(test, env)
                rest = _block([*other, *body[i + 1 :]], dict(env), inner)
                then_ = _block(then, dict(env), inner)
                return _do(effects, _choose(value, then_, rest))
            case ast.Try(body=tried) if len(body) == i + 1 or _ends(tried):
                return _do(effects, _block([*tried, *body[i + 1 :]], env, inner))
            case _:
                effects.append(_statement(node, env))
    return _do(effects, NONE)


def _function(node: ast.FunctionDef, env: dict[str, Tree]) -> Tree:
    inner = dict(env)
    for arg in ast.walk(node.args):
        if isinstance(arg, ast.arg):
            inner[arg.arg] = ("name", "_")
    return ("def", str(len(node.args.args)), _block(node.body, inner))


def _statement(node: ast.stmt, env: dict[str, Tree]) -> Tree:
    """A loop, a branch that goes on, or anything else. What it stores is no longer known."""
    names = _stored(node)
    started = sorted(_key(env[name]) for name in names if name in env)
    env |= dict.fromkeys(names, ("name", "_"))
    fields: list[Tree] = []
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            fields.append(_block(value, dict(env), inner=True))
        else:
            fields.append(_node(value, env))
    return (type(node).__name__, *started, *fields)


# ---- expressions -------------------------------------------------------------------------------


def _node(value: Any, env: dict[str, Tree]) -> Tree:
    if isinstance(value, ast.expr):
        return _expr(value, env)
    if isinstance(value, ast.stmt):
        return _statement(value, env)
    if isinstance(value, ast.AST):
        fields = (_node(v, env) for k, v in ast.iter_fields(value) if k != "annotation")
        return (type(value).__name__, *fields)
    if isinstance(value, list):
        return ("list", *(_node(v, env) for v in value))
    return ("raw", repr(value))


def _expr(node: ast.expr, env: dict[str, Tree]) -> Tree:
    match node:
        case ast.Name(id=name):
            return env.get(name, ("name", name))
        case ast.Constant(value=str() as text):
            return ("const", repr(_sorted_classes(text)))
        case ast.Constant(value=value):
            return ("const", repr(value))
        case ast.Attribute(value=value, attr=attr):
            return ("attr", _expr(value, env), attr)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _not(_expr(operand, env))
        case ast.BoolOp(op=op, values=values):
            return _both(type(op).__name__, [_expr(v, env) for v in values])
        case ast.IfExp(test=test, body=then, orelse=other):
            return _choose(_expr(test, env), _expr(then, env), _expr(other, env))
        case ast.Compare(left=left, ops=ops, comparators=right):
            sides = [_expr(n, env) for n in (left, *right)]
            pairs = [_compare(type(o).__name__, sides[i], sides[i + 1])
                     for i, o in enumerate(ops)]  # fmt: skip
            return pairs[0] if len(pairs) == 1 else _both("And", pairs)
        case ast.BinOp(left=left, op=op, right=right):
            sides = [_expr(left, env), _expr(right, env)]
            if isinstance(op, COMMUTE):
                sides.sort(key=_key)
            return ("op", type(op).__name__, *sides)
        case ast.List(elts=elts) | ast.Tuple(elts=elts) | ast.Set(elts=elts):
            items = [_expr(e, env) for e in elts]
            if all(isinstance(e, ast.Constant) for e in elts):
                items.sort(key=_key)
            return ("items", *items)
        case ast.Call():
            return _call(node, env)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            return _comprehension(node, env)
        case ast.Lambda(args=args, body=inside):
            inner = env | {a.arg: ("name", "_") for a in args.args}
            return ("lambda", _expr(inside, inner))
        case _:
            fields = (_node(v, env) for k, v in ast.iter_fields(node) if k != "ctx")
            return (type(node).__name__, *fields)


def _call(node: ast.Call, env: dict[str, Tree]) -> Tree:
    function = _expr(node.func, env)
    given = [_expr(a, env) for a in node.args]
    named = [(k.arg or "**", _expr(k.value, env)) for k in node.keywords]
    match function, given:
        case ("name", "bool"), [one]:
            return one
        case ("attr", ("call", ("attr", ("name", "re"), "compile"), pattern, *flags), name), _:
            # A compiled pattern, used: the same as the function of the module.
            return ("call", ("attr", ("name", "re"), name), pattern, *given, *flags)
        case ("name", "list" | "tuple" | "set"), [("items", *_) as items]:
            return items
    named.sort(key=_key)
    return ("call", function, *given, *(value for _, value in named))


def _comprehension(node: Any, env: dict[str, Tree]) -> Tree:
    inner = dict(env)
    clauses: list[Tree] = []
    for clause in node.generators:
        source = _expr(clause.iter, inner)
        inner |= dict.fromkeys(_stored(clause.target), ("name", "_"))
        clauses += [source, *(_expr(c, inner) for c in clause.ifs)]
    fields = [v for v in (getattr(node, k, None) for k in ("key", "value", "elt")) if v]
    return ("comp", *(_expr(v, inner) for v in fields), *clauses)


def _stored(node: ast.AST) -> set[str]:
    """The names that something in it gives a value."""
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return {n.id for n in names if isinstance(n.ctx, ast.Store)}


def _ends(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Return)


def _do(effects: list[Tree], value: Tree) -> Tree:
    if not effects:
        return value
    if isinstance(value, tuple) and value[:1] == ("do",):
        return ("do", *effects, *value[1:])
    return ("do", *effects, value)


def _choose(test: Tree, then: Tree, other: Tree) -> Tree:
    """if test: return then; return other."""
    if _checks_type(test):
        return then  # a guard against what is no text
    if _is_guard(test):
        return other
    if then == other:
        return then
    if other == TRUE:
        return _both("Or", [_not(test), then])
    if then == TRUE:
        return _both("Or", [test, other])
    if other == FALSE:
        return _both("And", [test, then])
    if then == FALSE:
        return _both("And", [_not(test), other])
    return ("if", test, then, other)


def _checks_type(test: Tree) -> bool:
    return bool(test[:2] == ("call", ("name", "isinstance")))


def _is_guard(test: Tree) -> bool:
    return bool(test[0] == "not" and _checks_type(test[1]))


def _not(value: Tree) -> Tree:
    if value == TRUE:
        return FALSE
    if value == FALSE:
        return TRUE
    if value[0] == "not":
        return value[1]
    if value[0] == "cmp" and value[1] in OPPOSITE:
        return ("cmp", OPPOSITE[value[1]], *value[2:])
    if value[0] == "cmp" and value[1] in ("Lt", "LtE"):
        return _compare("LtE" if value[1] == "Lt" else "Lt", value[3], value[2])
    if value[0] == "both":
        return _both("And" if value[1] == "Or" else "Or", [_not(v) for v in value[2:]])
    return ("not", value)


def _both(kind: str, values: list[Tree]) -> Tree:
    flat: list[Tree] = []
    for value in values:
        flat += value[2:] if value[:2] == ("both", kind) else [value]
    plain = [v for v in flat if v != (TRUE if kind == "And" else FALSE)]
    unguarded = [v for v in plain if not (_checks_type(v) or _is_guard(v))]
    unique = sorted(set(unguarded or plain or flat), key=_key)
    return unique[0] if len(unique) == 1 else ("both", kind, *unique)


def _compare(op: str, left: Tree, right: Tree) -> Tree:
    if op in FLIP:
        op, left, right = FLIP[op], right, left
    if right == NONE and op in OPPOSITE:
        return _not(left) if op in ("Is", "Eq") else left
    if op == "LtE" and (n := _whole(left)) is not None:  # 3 <= n is 2 < n, for counts
        op, left = "Lt", ("const", str(n - 1))
    elif op == "LtE" and (n := _whole(right)) is not None:
        op, right = "Lt", ("const", str(n + 1))
    if op in ("Lt", "NotEq") and left == ("const", "0") and _counts(right):
        return ("cmp", "In", right[2], right[1][1])  # text.count(x) > 0
    if op == "Eq" and ("const", "0") in (left, right):
        counted = right if left == ("const", "0") else left
        if _counts(counted):
            return ("cmp", "NotIn", counted[2], counted[1][1])
    if op in ("Eq", "NotEq"):
        if right in (TRUE, FALSE):
            return left if (right == TRUE) == (op == "Eq") else _not(left)
        left, right = sorted((left, right), key=_key)
    return ("cmp", op, left, right)


def _counts(value: Tree) -> bool:
    return bool(value[0] == "call" and len(value) == 3 and value[1][0] == "attr"
                and value[1][2] == "count")  # fmt: skip


def _whole(value: Tree) -> int | None:
    if value[0] == "const" and re.fullmatch(r"\d{1,9}", value[1]):
        return int(value[1])
    return None


def _sorted_classes(text: str) -> str:
    """[.!?] and [?!.] are one class of characters."""
    return re.sub(
        r"\[(\^?)([^\[\]\\-]+)\]", lambda m: f"[{m[1]}{''.join(sorted(set(m[2])))}]", text
    )


def _key(value: Tree) -> str:
    return format(_hash(value, {}), "08x")


def _hash(value: Tree, memo: dict[int, tuple[int, Tree]]) -> int:
    if not isinstance(value, tuple):
        return zlib.crc32(str(value).encode("utf-8", "replace"))
    if id(value) not in memo:
        inner = ",".join(str(_hash(v, memo)) for v in value)
        memo[id(value)] = zlib.crc32(inner.encode()), value
    return memo[id(value)][0]


def shape(tree: ast.Module) -> list[int]:
    memo: dict[int, tuple[int, Tree]] = {}
    whole = canonical(tree)
    _hash(whole, memo)
    hashes = sorted(
        {h for h, subtree in memo.values() if len(subtree) > 1 and subtree[0] != "name"}
    )
    return [_hash(whole, memo), *hashes[:MOST]]


def comply(source: str) -> str:
    return json.dumps(shape(ast.parse(source)))
