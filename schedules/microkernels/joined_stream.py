"""One loop for two streams over different tensors: their instructions fill each other's gaps."""

from __future__ import annotations

from itertools import zip_longest

from tvm_pulp.schedules.microkernels.stream_definition import Step, Stream

_PREFIX = "other_"


def join_streams(name: str, first: Stream, second: Stream) -> Stream:
    """Return a stream that does what two streams do, over tensors of the same shape: a step of each in turn.

    Parameters
    ----------
    name
        Of the C function.
    first, second
        The streams, without masks; their scalars have different names.

    Returns
    -------
    Stream
        With the pointers, scalars and sums of the first one, then those of the second.

    Raises
    ------
    ValueError
        Where the scalars share a name.
    """
    shared = {*first.scalars, *first.sums} & {*second.scalars, *second.sums}
    if shared:
        raise ValueError(f"streams {first.name} and {second.name} share {', '.join(sorted(shared))}")
    own = {*second.pointers, *(step.result for step in second.body)} - {*second.sums, ""}

    def renamed(text: str) -> str:
        return _PREFIX + text if text in own else text

    others = [
        Step(step.operation, renamed(step.result), tuple(renamed(source) for source in step.sources))
        for step in second.body
    ]
    body = [step for pair in zip_longest(first.body, others) for step in pair if step is not None]
    return Stream(
        name,
        (*first.pointers, *(renamed(pointer) for pointer in second.pointers)),
        (*first.scalars, *second.scalars),
        (*first.sums, *second.sums),
        tuple(body),
    )
