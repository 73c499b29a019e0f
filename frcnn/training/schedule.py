"""The learning rate of each step of a phase."""

import math

from frcnn.params.training import Phase, Train


def learning_rate(step: int, done: float, phase: Phase, train: Train) -> float:
    """Return the rate of a step: what the schedule says, times a linear rise over `warmup_steps`.

    The schedule is constant; or half a period of a cosine, from the rate to 0 (Loshchilov and Hutter, 2017); or steps,
    times `gamma` from each milestone on. With `base_batch_size` the phase's rate is for that many images per step of
    the optimizer and grows in proportion to their number (Goyal et al., 2017, section 2.1).

    Args:
        step: from 0.
        done: share of the phase before this step.
    """
    rate = phase.learning_rate
    if train.base_batch_size is not None:
        rate *= train.batch_size * train.grad_accum / train.base_batch_size
    if phase.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * done)) / 2
    elif phase.schedule == "steps":
        rate *= phase.gamma ** sum(done >= milestone for milestone in phase.milestones)
    if step >= phase.warmup_steps:
        return rate
    return rate * max(1e-3, step / phase.warmup_steps)
