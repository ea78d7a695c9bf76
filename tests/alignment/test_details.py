"""The table of details names parts that exist, each detail once."""

from importlib import import_module

from llmsuite_lab.alignment.details import DETAILS, table


def test_each_detail_is_done_where_the_table_says():
    for detail in DETAILS:
        module, _, part = detail.where.partition(".")
        found = import_module(f"llmsuite_lab.alignment.{module}")
        assert not part or hasattr(found, part), detail.where


def test_no_detail_stands_twice_and_each_has_its_reason():
    assert len({detail.about for detail in DETAILS}) == len(DETAILS) == len(table())
    assert all(detail.why and detail.source for detail in DETAILS)
