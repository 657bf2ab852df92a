"""What the tests of patches on the small MODEL share: the MODEL, its conditions, the host's own result."""

import pytest

from ..support import steps


@pytest.fixture(scope="module")
def model(comfy, small_models):
    """The small MODEL from the host's own loader."""
    import nodes

    return nodes.UNETLoader().load_unet(small_models.transformer.name, "default")[0]


@pytest.fixture(scope="module")
def faceless():
    """Conditions without a face, whose encoder takes seconds a picture on a CPU."""
    return steps.conditioning(face=False)


@pytest.fixture(scope="module")
def plain(model, faceless):
    """What the host samples by itself."""
    return steps.sample(model, faceless)
