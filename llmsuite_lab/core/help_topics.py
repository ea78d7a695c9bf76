"""The language reference behind Python's `help()`: a text by people that every CPython carries, but for builds without their documentation."""

from llmsuite_lab.core.errors import LabError


def topics() -> dict[str, str]:
    """Topic → text, in this Python's version, by name. Raises LabError where this Python was built without them."""
    try:
        from pydoc_data.topics import topics as found
    except ImportError:
        raise LabError("This Python carries no pydoc_data.topics; a build from python.org, conda or the system's full package does.") from None
    return dict(sorted(found.items()))
