"""Learning rates of a phase, by hand: warm-up, schedules, images of a step."""

import pytest

from frcnn.params import Params
from frcnn.training.schedule import learning_rate
from tests.factories import change


def test_warm_up_rises_to_the_rate(params: Params) -> None:
    phase = change(params.train_phase1, {"learning_rate": 1.0, "warmup_steps": 4})
    assert [learning_rate(step, 0, phase, params.train) for step in range(6)] == [0.001, 0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("batch_size", "grad_accum", "base", "factor"),
    [(8, 2, None, 1.0), (8, 2, 16, 1.0), (8, 2, 4, 4.0), (2, 1, 16, 0.125)],
    ids=["as written", "as many as meant", "more", "fewer"],
)
def test_the_rate_grows_with_the_images_of_a_step(
    params: Params, batch_size: int, grad_accum: int, base: int | None, factor: float
) -> None:
    train = change(params.train, {"batch_size": batch_size, "grad_accum": grad_accum, "base_batch_size": base})
    phase = change(params.train_phase1, {"learning_rate": 0.5, "warmup_steps": 2})
    assert [learning_rate(step, 0, phase, train) for step in (1, 2, 9)] == [0.25 * factor, 0.5 * factor, 0.5 * factor]


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ({}, [2, 2, 2, 2, 2, 2]),
        ({"schedule": "cosine"}, [2, 1 + 2**-0.5, 1.5, 1, 0.5, 0]),  # 1 + cos 0, 45, 60, 90, 120, 180 degrees
        ({"schedule": "steps", "milestones": (0.25, 0.5), "gamma": 0.5}, [2, 1, 1, 0.5, 0.5, 0.5]),
        ({"schedule": "steps", "milestones": (0.3,), "gamma": 0.1}, [2, 2, 0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_schedules(params: Params, values: dict[str, object], rates: list[float]) -> None:
    phase = change(params.train_phase1, {"learning_rate": 2.0, "warmup_steps": 10} | values)
    shares = [0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1]
    assert [learning_rate(10, done, phase, params.train) for done in shares] == pytest.approx(rates, abs=1e-12)
    assert [learning_rate(5, done, phase, params.train) for done in shares] == pytest.approx(
        [rate / 2 for rate in rates], abs=1e-12
    )
