"""House rules that a machine can check: floors, docstrings, no machine's paths, tidy code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmsuite_lab.core.paths import repo_dir

ROOT = repo_dir()
MODULES = sorted((ROOT / "llmsuite_lab").rglob("*.py"))
TEXT_SUFFIXES = {".py", ".md", ".ipynb", ".toml", ".yml", ".cfg", ".txt", ".json", ".css"}
LIMIT_S = 120


def tracked() -> list[Path]:
    """Files of the project (tracked, and new ones git does not ignore)."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_floors_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[1-9]\d* kept, 0 broken", done.stdout)


def test_ruff_is_content():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "llmsuite_lab", "tests", "tools"], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(ROOT / "llmsuite_lab")))
def test_public_names_are_documented_and_nothing_is_swallowed(module):
    tree = ast.parse(module.read_text())
    if not tree.body:
        return
    wanted = [tree] if module.name != "__init__.py" or len(tree.body) > 1 else []
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for owner in [tree, *[node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]]:
        wanted += [node for node in owner.body if isinstance(node, definitions) and not node.name.startswith("_")]
    bare = [
        getattr(node, "name", "the module") for node in wanted if not ast.get_docstring(node) and getattr(node, "name", "") != "forward"
    ]
    assert not bare, f"no docstring: {', '.join(bare)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"line {node.lineno}: an error swallowed"
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in {"eval", "exec"}, f"line {node.lineno}: code is only run in the sandbox"
            assert not (
                getattr(node.func, "attr", "") == "load" and getattr(getattr(node.func, "value", None), "id", "") in {"torch", "pickle"}
            ), f"line {node.lineno}: weights load from safetensors or GGUF"


def test_no_file_names_a_machines_paths_or_holds_an_unfinished_mark():
    home, mark = r"(?<![\w.])/(?:work|root|home|Users)/" + r"\w+", r"\b(TO" + r"DO|FIX" + r"ME)\b"
    found = []
    for file in tracked():
        if file.suffix in TEXT_SUFFIXES or file.name in {"Makefile", "run"}:
            text = file.read_text(errors="replace")
            found += [f"{file.relative_to(ROOT)}: {match[0]}" for pattern in (home, mark) if (match := re.search(pattern, text))]
    assert not found, "\n".join(found)


def test_the_repository_stays_small():
    sizes = {file: file.stat().st_size for file in tracked()}
    assert max(sizes.values()) < 8e6, max(sizes, key=sizes.get)
    assert sum(sizes.values()) < 60e6


def test_importing_the_package_and_its_command_is_quick_because_nothing_heavy_comes_along():
    code = "import sys, llmsuite_lab, llmsuite_lab.course.cli; print(sorted({'torch', 'transformers', 'langchain', 'matplotlib', 'faiss'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


KEEPS = {"seeded", "random_state_kept", "torch_state_kept", "fork_rng"}
SEEDS = {
    "manual_seed", "manual_seed_all", "seed", "seed_all", "set_seed", "seed_everything", "enable_full_determinism", "set_rng_state", "setstate", "set_state",
}  # fmt: skip
DRAWS = {
    "torch": {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli", "multinomial", "poisson"},
    "random": {"random", "choice", "choices", "shuffle", "sample", "randint", "randrange", "uniform", "gauss", "getrandbits"},
    "np.random": {"rand", "randn", "randint", "random", "choice", "shuffle", "permutation", "normal", "uniform", "multinomial"},
}
IN_PLACE = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "orthogonal_")  # ends of the names: torch.nn.init.kaiming_uniform_
INTERESTING = SEEDS.union(*DRAWS.values())
OWN = ("generator", "rng", "torch.Generator(")  # to seed a generator of one's own is nobody else's affair
ALLOWED = {
    "core/runtime.py": {"seed_everything"},  # it is asked to
    "core/seeding.py": {"random_state_kept", "torch_state_kept"},  # what puts the state back
    "lm/checkpoint.py": {"load_checkpoint"},  # called where the state is put back at the end: `fit`, `ppo.train`, `rest.train`
    "transformer/block.py": {"initialise"},  # the first weights of a model, drawn as torch's own layers draw theirs
    "course/bench/_old_trl.py": {"trainer"},  # a process of its own
    "course/exercises/course/bootstrap_interval.py": {"_global_generator"},  # a wrong answer to recognise
}


def global_draws(source):
    """Names of the functions that seed a global generator, or draw from one, outside of every block or decorator that puts its state back afterwards."""
    tree, parents, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        parents |= dict.fromkeys(ast.iter_child_nodes(node), node)
    for call in (node for node in parents if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name not in INTERESTING and not name.endswith((*IN_PLACE, "Trainer")):
            continue
        owner = ast.unparse(call.func).rpartition(".")[0]
        owner = {"numpy.random": "np.random", "torch.random": "torch"}.get(owner, owner)
        seeds = (name in SEEDS and not owner.startswith(OWN)) or name.endswith("Trainer")  # the trainers of transformers and trl seed everything
        draws = (name in DRAWS.get(owner, ()) or name.endswith(IN_PLACE)) and all(keyword.arg != "generator" for keyword in call.keywords)
        if not seeds and not draws:
            continue
        around, openers = call, []
        while not isinstance(around, ast.FunctionDef | ast.Lambda | ast.Module):  # a function may be called when the block it was made in is left
            around = parents[around]
            openers += [item.context_expr for item in around.items] if isinstance(around, ast.With) else []
        openers += getattr(around, "decorator_list", [])
        if not any(isinstance(opener, ast.Call) and ast.unparse(opener.func).rpartition(".")[2] in KEEPS for opener in openers):
            found.append(getattr(around, "name", type(around).__name__))
    return found


def test_whoever_calls_the_package_goes_on_with_the_random_numbers_it_would_have_had():
    found = {module.relative_to(ROOT / "llmsuite_lab").as_posix(): set(global_draws(module.read_text())) for module in MODULES}
    assert {module: names for module, names in found.items() if names} == ALLOWED, "use core.seeding, or hand in a generator"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("torch.manual_seed(0)", True),
        ("torch.cuda.manual_seed_all(0)", True),
        ("torch.default_generator.manual_seed(0)", True),
        ("np.random.seed(0)", True),
        ("random.seed(0)", True),
        ("x = torch.randn(3)", True),
        ("x = numpy.random.rand(3)", True),
        ("random.shuffle(rows)", True),
        ("nn.init.kaiming_uniform_(weight)", True),
        ("SFTTrainer(model).train()", True),
        ("with torch.no_grad(): torch.manual_seed(0)", True),
        ("with seeded(0): return lambda: torch.rand(3)", True),
        ("with seeded(0): pass\n    torch.rand(3)", True),
        ("torch.Generator().manual_seed(0)", False),
        ("torch.rand(3, generator=own)", False),
        ("random.Random(0).shuffle(rows)", False),
        ("np.random.default_rng(0).choice(3)", False),
        ("with seeded(0), torch.no_grad(): torch.rand(3)", False),
        ("with torch.random.fork_rng(devices=[]): torch.manual_seed(0)", False),
        ("with random_state_kept():\n        if deep: SFTTrainer(model).train()", False),
    ],
)
def test_that_rule_sees_what_it_should(body, told):
    source = f"def draw(rows):\n    {body}\n"
    assert bool(global_draws(source)) is told
    assert not global_draws(f"@seeded(0)\n{source}") or "lambda" in body
