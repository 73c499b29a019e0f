"""A spreadsheet runs no class name as a formula, and our own reader gets the true name."""

import csv
import io

import numpy as np
import pytest

from frcnn.evaluation.tables import ap_table, curve_table, name_in_cell
from frcnn.evaluation.voc_ap import RULES, ClassResult

NAMES = ["dog", '=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "'quoted", "=1,2", "a=b", "NA"]


def result(name: str) -> ClassResult:
    one = np.ones(1)
    return ClassResult(name, 1, 1, 1, dict.fromkeys(RULES, -0.5), one, one, one)


@pytest.mark.parametrize("table", [ap_table, curve_table])
def test_no_cell_is_a_formula(table: object) -> None:
    text = table([result(name) for name in NAMES])  # type: ignore[operator]
    names = [row["class"] for row in csv.DictReader(io.StringIO(text))]
    assert not [name for name in names if name[0] in "=+-@\t\r"]
    assert list(dict.fromkeys(map(name_in_cell, names))) == NAMES


def test_numbers_stay_numbers() -> None:
    [row] = csv.DictReader(io.StringIO(ap_table([result("dog")])))
    assert row["class"] == "dog" and float(row["AP_voc07"]) == -0.5
