"""show() prints what runs, whole or in part, and says what it cannot show."""

import functools
import inspect

import pytest

from llmsuite_lab.core import files
from llmsuite_lab.course.claims import Claim
from llmsuite_lab.course.source import show


def test_a_function_is_shown_as_it_stands_in_its_file():
    shown = show(files.write_json)
    assert shown.text == inspect.getsource(files.write_json).rstrip()
    bundle = shown._repr_mimebundle_()
    assert bundle["text/plain"] == f"llmsuite_lab.core.files.write_json, llmsuite_lab/core/files.py ({len(shown.text.splitlines())} lines)"
    assert f"```python\n{shown.text}\n```" in bundle["text/markdown"]


@pytest.mark.parametrize(
    ("thing", "first"),
    [
        (Claim, "@dataclass(frozen=True)"),
        (Claim.measure, "def measure("),
        (Claim.criterion, "@property"),
        (files, '"""Files are written whole'),
        (functools.partial(files.write_bytes, None), "def write_bytes("),
        (files.whole_folder, "@contextmanager"),
    ],
)
def test_classes_methods_properties_modules_and_wrapped_functions(thing, first):
    assert show(thing).text.startswith(first)


def test_lines_and_docstring():
    whole = show(files.write_bytes).text.splitlines()
    assert show(files.write_bytes, lines=2).text.splitlines() == [*whole[:2], "# …"]
    assert show(files.write_bytes, lines=(1, len(whole))).text.splitlines() == whole
    middle = show(files.write_bytes, lines=(3, 4)).text.splitlines()
    assert middle == ["# …", *(line[4:] for line in whole[2:4]), "# …"]
    bare = show(files.write_bytes, doc=False).text.splitlines()
    assert bare == [whole[0], *whole[2:]]
    assert show(files, doc=False).text.startswith("import hashlib")


@pytest.mark.parametrize("lines", [0, (0, 2), (3, 2), (1, 999)])
def test_a_range_outside_the_source_is_refused(lines):
    with pytest.raises(ValueError, match="but the source has"):
        show(files.write_bytes, lines=lines)


@pytest.mark.parametrize("thing", [len, 3, "text", int])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(TypeError, match=r"show\(\) needs a function"):
        show(thing)
