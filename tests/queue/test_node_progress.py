"""What a server's messages say of a job: a node's phase, and the seconds left where it sends them."""

import pytest

from wan_animate.queue.listen import NodeProgress


@pytest.mark.parametrize("left, said", [(250, "sampling, 4 min 10 s left"), (None, "sampling"), (0.4, "sampling")])
def test_the_seconds_left_are_said(left, said):
    told = []
    progress = NodeProgress({"7": "Animate Character"}, lambda text, part: told.append(text))
    progress("executing", {"node": "7"})
    progress._told = -1.0
    progress(NodeProgress.PHASE, {"node": "7", "text": "sampling", "left": left})
    assert told[-1] == f"Animate Character: {said}"
