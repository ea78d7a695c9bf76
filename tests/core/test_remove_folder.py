"""Removing what the course made, and nothing else."""

import pytest

from llmsuite_lab.core import files
from llmsuite_lab.core.errors import LabError


def test_a_folder_is_removed_only_where_the_course_made_all_of_it(tmp_path):
    with files.whole_folder(tmp_path / "made", "an index") as new:
        (new / "sub").mkdir()
        (new / "sub" / "a").touch()
    files.remove_folder(tmp_path / "made")
    assert not list(tmp_path.iterdir())
    files.remove_folder(tmp_path / "made")  # none there: nothing to do
    with files.whole_folder(tmp_path / "made", "an index") as new:
        (new / "a").touch()
    (tmp_path / "made" / "thesis.tex").touch()
    with pytest.raises(LabError, match=r"thesis\.tex"):
        files.remove_folder(tmp_path / "made")
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [files.MARK, "a", "thesis.tex"]


def test_an_empty_folder_of_the_users_stays(tmp_path):
    (tmp_path / "theirs").mkdir()
    files.remove_folder(tmp_path / "theirs")
    assert (tmp_path / "theirs").is_dir()
