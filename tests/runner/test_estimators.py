"""The common numbers of a summary: log Z and the NLL, from the first estimator that has them."""

import pytest

from ebm_cli.runner import estimators

QUADRATURE = {"log_z": 1.0, "log_z_error": 0.01, "nll": 2.0}
IMPORTANCE = {"importance_log_z": 1.1, "importance_log_z_error": 0.02, "importance_nll": 2.1, "importance_nll_error": 0.2}
ENDS = ("lower", "lower_error", "upper", "upper_error")


def ais(*ends):
    return dict(zip((f"ais_log_z_{end}" for end in ENDS), ends, strict=True)) | {"ais_nll_lower": 3.0, "ais_nll_upper": 3.4}


@pytest.mark.parametrize(
    ("row", "by", "expected"),
    [
        (QUADRATURE | IMPORTANCE | ais(3.0, 0.2, 4.0, 0.6), "quadrature", (1.0, 0.01, 2.0, None)),
        (dict.fromkeys(QUADRATURE, "four coordinates") | IMPORTANCE | ais(3.0, 0.2, 4.0, 0.6), "importance", (1.1, 0.02, 2.1, 0.2)),
        (dict.fromkeys(IMPORTANCE, "a heavy tail") | ais(3.0, 0.2, 4.0, 0.6), "ais", (3.7, 0.9, 3.2, 0.2)),
        (ais(3.0, 0.2, 2.9, 0.2), "ais", (2.95, 0.25, 3.2, 0.2)),  # the bounds cross by less than their errors
    ],
)
def test_the_first_estimator_with_a_number_is_adopted(row, by, expected):
    found, name = estimators.adopt(row)
    assert name == by
    numbers = [found.get(key) for key in ("log_z", "log_z_error", "nll", "nll_error")]
    assert numbers == [value if value is None else pytest.approx(value) for value in expected]
    assert found.items() >= {key: value for key, value in row.items() if key not in estimators.COMMON}.items()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, estimators.UNMEASURED),
        (dict.fromkeys(IMPORTANCE, "a heavy tail"), "a heavy tail"),
        (ais(3.0, 0.2, 2.5, 0.2), "cross"),  # by more than their errors, so that one of them is wrong
        (ais("no sampler", 0.2, 4.0, 0.6), "no sampler"),
    ],
)
def test_without_a_number_there_is_a_reason(row, reason):
    found, name = estimators.adopt(row)
    assert name == ""
    assert all(reason in found[key] for key in estimators.COMMON)


def test_log_z_of_one_model_of_a_stack_and_its_source():
    stack = {"per_seed": {"log_z": [1.0, 2.0, None], "log_z_error": [0.1, 0.2, None], "log_z_learned": [5.0, 6.0, 7.0]}}
    stack["log_z_by"] = ["quadrature", "importance", ""]
    assert estimators.log_z(stack, 1) == (2.0, 0.2, "by importance sampling from the reference")
    assert estimators.log_z(stack, 2) == (None, None, "")  # a learned log Z has no error
    assert estimators.log_z({"log_z": 1.0, "log_z_error": 0.1, "log_z_by": ["ais"]}, 0)[2].startswith("between the bounds")
    assert estimators.log_z({}, 0)[0] is None


def test_a_model_without_a_stored_number_has_none():
    assert estimators.of_model({"per_seed": {"log_z": [1.0]}}, "log_z", 1) is None
