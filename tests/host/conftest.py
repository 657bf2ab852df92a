"""Shared by tests on the small MODEL."""

import pytest

from ..support import steps


@pytest.fixture(scope="module")
def model(comfy, small_models):
    """The small MODEL from the host's own loader."""
    import nodes

    return nodes.UNETLoader().load_unet(small_models.transformer.name, "default")[0]


@pytest.fixture(scope="module")
def faceless():
    """Without a face, whose encoder takes seconds per frame on a CPU."""
    return steps.conditioning(face=False)


@pytest.fixture(scope="module")
def plain(model, faceless):
    """What the host samples by itself."""
    return steps.sample(model, faceless)
