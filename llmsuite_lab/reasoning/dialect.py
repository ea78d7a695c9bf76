"""Where the sandbox's Python gives another answer than Python, without saying so: found in the program's text, before it runs.

`pydantic-monty` speaks a part of Python. What it lacks it mostly refuses by itself. Some things it takes and does otherwise, so each is refused
here, as a counted failure: a special method that it never calls (`__bool__`, `__len__`, `__ne__`, `__setattr__`, …); a lazy value (a generator
expression, `map`, `filter`, `zip`, `enumerate`, `reversed`) where it shows that here it is a list: used twice, indexed, measured, tested, passed
on, made under another name; half a character (a lone surrogate) in a text, which becomes U+FFFD; and asking whether a value has an attribute
(`hasattr`, `getattr` with a default), since here methods of built-in values are none. Another, `round(x, n)` of a float, is put right by `PRELUDE`.
The tests compare some 400 small programs with the Python that runs them.
"""

import ast

HONOURED = frozenset(
    "init repr str eq hash add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul and or xor lshift rshift "
    "neg pos invert abs round int float index iter next getitem setitem contains call enter exit".split()
)
LAZY = frozenset({"map", "filter", "zip", "enumerate", "reversed"})
CONSUMERS = LAZY | {"sum", "list", "tuple", "set", "frozenset", "dict", "sorted", "min", "max", "any", "all", "iter", "next", "Counter", "deque"}
CONSUMERS |= {"prod", "fsum", "reduce", "chain", "islice", "accumulate", "product", "combinations", "permutations", "cycle", "groupby", "takewhile"}
KEEPERS = frozenset({"append", "insert", "setdefault", "add", "format", "appendleft"})  # methods that store or show their argument

# Python rounds the exact binary value (2.675 is a little less than it looks: 2.67), the sandbox x · 10ⁿ. Formatting is exact in both.
PRELUDE = """
_round = round
def round(number, ndigits=None):
    if isinstance(number, float) and isinstance(ndigits, int) and 0 <= ndigits <= 330 and abs(number) < 1e300:
        return float(f"{number:.{ndigits}f}")
    return _round(number) if ndigits is None else _round(number, ndigits)
"""


def needs_prelude(tree: ast.Module) -> bool:
    """Whether the program speaks of `round` at all, and so needs the definition that rounds as Python does."""
    return any(isinstance(node, ast.Name) and node.id == "round" for node in ast.walk(tree))


def otherwise(tree: ast.Module) -> str | None:
    """The first thing in the program that the sandbox would silently do otherwise than Python, in words; None when there is none."""
    return _ignored_method(tree) or _lazy_value(tree) or _other_name(tree) or _attribute_asked(tree) or _half_a_character(tree)


def _ignored_method(tree: ast.Module) -> str | None:
    for node in ast.walk(tree):
        for part in node.body if isinstance(node, ast.ClassDef) else []:
            names = [part.name] if isinstance(part, ast.FunctionDef) else []
            names += [t.id for t in getattr(part, "targets", [getattr(part, "target", None)]) if isinstance(t, ast.Name)]
            for name in names:
                if name.startswith("__") and name.endswith("__") and name.strip("_") not in HONOURED:
                    return f"the class {node.name} defines {name}, which the sandbox's Python does not honour"
    return None


def _other_name(tree: ast.Module) -> str | None:
    """A lazy function that is not called where it is named: what comes out under its other name would go unseen."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    lazy = LAZY - _own(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in lazy and id(node) not in called:
            return f"{node.id} is used without a call; what it makes is an iterator, and the sandbox's Python makes it a list"
    return None


def _attribute_asked(tree: ast.Module) -> str | None:
    arguments = {"hasattr": 2, "getattr": 3}  # with so many they do not fail where an attribute is missing
    own = _own(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in own:
            if len(node.args) == arguments.get(node.func.id):
                return f"{node.func.id} asks whether there is an attribute, and the sandbox's Python knows none of built-in values, such as [].append"
    return None


def _half_a_character(tree: ast.Module) -> str | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and any("\ud800" <= c <= "\udfff" for c in node.value):
            return f"the text {node.value[:40]!a} holds half a character (a lone surrogate), and the sandbox's Python makes it another one (U+FFFD)"
    return None


def _own(tree: ast.Module) -> set[str]:
    """The names that the program gives to something of its own."""
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    named |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return named | _defined(tree)


def _defined(tree: ast.Module) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _lazy_value(tree: ast.Module) -> str | None:
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    own = _defined(tree)
    named: dict[str, str] = {}
    for node in ast.walk(tree):
        kind = _kind(node, own)
        if kind is None or _consumed(node, parents, own):
            continue
        owner = parents[node]
        if isinstance(owner, ast.Assign | ast.NamedExpr | ast.AnnAssign) and isinstance(target := _target(owner), ast.Name):
            named[target.id] = kind
        elif not isinstance(owner, ast.Expr):
            return f"an iterator ({kind}) is kept or looked into, which the sandbox's Python makes a list"
    for name, kind in named.items():
        loads = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]
        if len(loads) > 1 or any(_repeated(load, parents) for load in loads):
            return f"{name} is an iterator ({kind}) and is used more than once; the sandbox's Python makes it a list, which does not run out"
        if any(not _consumed(load, parents, own) for load in loads):
            return f"{name} is an iterator ({kind}) and is kept or looked into, which the sandbox's Python makes a list"
    return None


def _kind(node: ast.AST, own: set[str]) -> str | None:
    if isinstance(node, ast.GeneratorExp):
        return "generator"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LAZY - own:
        return node.func.id
    return None


def _target(owner: ast.AST) -> ast.AST | None:
    return owner.targets[0] if isinstance(owner, ast.Assign) and len(owner.targets) == 1 else getattr(owner, "target", None)


def _consumed(node: ast.AST, parents: dict[ast.AST, ast.AST], own: set[str]) -> bool:
    """Whether this value is used up where it stands: looped over, unpacked, or handed to a function that reads it once."""
    owner = parents[node]
    if isinstance(owner, ast.For | ast.comprehension):
        return owner.iter is node
    if isinstance(owner, ast.Starred):
        return True
    if isinstance(owner, ast.Assign):
        return isinstance(owner.targets[0], ast.Tuple | ast.List)
    if isinstance(owner, ast.Call) and node in owner.args:
        if isinstance(owner.func, ast.Attribute):
            return owner.func.attr not in KEEPERS
        return isinstance(owner.func, ast.Name) and owner.func.id in CONSUMERS - own
    return False


def _repeated(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether this place may be reached several times: within a loop's body, a function, or a comprehension's element."""
    child = node
    while (owner := parents.get(child)) is not None:
        if isinstance(owner, ast.While | ast.FunctionDef | ast.Lambda):
            return True
        if isinstance(owner, ast.For) and child in [*owner.body, *owner.orelse]:
            return True
        if isinstance(owner, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) and child is not owner.generators[0]:
            return True
        child = owner
    return False
