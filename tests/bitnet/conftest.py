"""The compiled kernel, once for all tests of this folder; where there is no compiler they are skipped with the reason."""

import pytest

from llmsuite_lab.core.errors import LabError


@pytest.fixture(scope="session")
def kernel(tmp_path_factory):
    """`kernels.cpu` with its library built in a cache of the tests' own."""
    from llmsuite_lab.bitnet.kernels import cpu

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            cpu.library()
        except LabError as error:
            pytest.skip(f"no compiled kernel here: {error}")
    return cpu
