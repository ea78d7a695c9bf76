"""Set the course up: a virtual environment, the packages, the models. Standard library only; safe to run again.

    python3 tools/bootstrap.py            everything (what each `make` target does first)
    python3 tools/bootstrap.py --no-models

What is already done is recognised in a second or two: the packages by a stamp (a hash of pyproject.toml, constraints.txt
and the interpreter), the models by the zoo's own check. pip's usual settings (PIP_INDEX_URL, PIP_FIND_LINKS, proxies) are honoured.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("LLMSUITE_VENV", ROOT / ".venv"))
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "llmsuite-stamp"
PIP_LIMIT_S = 3600


def fail(sentence: str) -> None:
    """Print one sentence and leave with status 1."""
    sys.exit(f"set-up: {sentence}")


def wanted_stamp() -> str:
    """Hash of everything that decides what is installed: interpreter, place, package metadata, pins. A linter's settings are not among it."""
    import tomllib  # new in 3.11: an older Python must live long enough to be told so

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    metadata = json.dumps({name: settings[name] for name in ("build-system", "project")}, sort_keys=True)
    digest = hashlib.sha256(f"{sys.version_info[:3]} {ROOT} {metadata}".encode())
    digest.update((ROOT / "constraints.txt").read_bytes())
    return digest.hexdigest()


def install() -> None:
    """Make the virtual environment and install the course into it, unless the stamp says that it stands."""
    stamp = wanted_stamp()
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == stamp:
        return
    print(f"set-up: installing into {VENV.name} (a few minutes, once) …", flush=True)
    if not PYTHON.exists():
        shutil.rmtree(VENV, ignore_errors=True)
        try:
            venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
        except (OSError, subprocess.CalledProcessError) as error:
            fail(f"no virtual environment could be made in {VENV} ({error}). On Debian and Ubuntu it takes the package python3-venv.")
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--constraint", "constraints.txt"]
    try:
        # torch first: a resolver that meets the exact version already installed does not go looking for another build
        torch = next(line.strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
        subprocess.run([*pip, torch], cwd=ROOT, check=True, timeout=PIP_LIMIT_S)
        subprocess.run([*pip, "--editable", ".[all]"], cwd=ROOT, check=True, timeout=PIP_LIMIT_S)
    except subprocess.CalledProcessError as error:
        fail(
            f"pip ended with status {error.returncode}. Is there a network? The lines above say what it missed; run the same command again."
        )
    except subprocess.TimeoutExpired:
        fail(f"pip was still running after {PIP_LIMIT_S // 60} minutes. Run the same command again: finished downloads are kept.")
    STAMP.write_text(stamp, encoding="utf-8")


def fetch_models() -> None:
    """Fetch, check and convert the models of the course's profile; a second or two when they are there."""
    done = subprocess.run([str(PYTHON), "-m", "llmsuite_lab.course.cli", "models", "fetch"], cwd=ROOT)
    if done.returncode:
        fail("the models are not ready (the sentence above says why). Packages are installed; run the same command again.")


def main() -> None:
    """Parse the arguments and do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-models", action="store_true", help="only the packages")
    arguments = parser.parse_args()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        fail(f"this is Python {sys.version.split()[0]}; the course needs 3.11, 3.12 or 3.13. Try: make PYTHON=python3.11 …")
    install()
    if not arguments.no_models:
        fetch_models()


if __name__ == "__main__":
    main()
