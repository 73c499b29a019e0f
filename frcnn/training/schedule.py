"""The learning rate of each step of a phase."""

from frcnn.params.training import Phase, Train


def learning_rate(step: int, phase: Phase, train: Train) -> float:
    """Return the rate of a step (from 0): constant after a linear rise over `warmup_steps`.

    With `base_batch_size` the phase's rate is for that many images per step of the optimizer and grows in proportion to
    their number (Goyal et al., 2017, section 2.1).
    """
    rate = phase.learning_rate
    if train.base_batch_size is not None:
        rate *= train.batch_size * train.grad_accum / train.base_batch_size
    if step >= phase.warmup_steps:
        return rate
    return rate * max(1e-3, step / phase.warmup_steps)
