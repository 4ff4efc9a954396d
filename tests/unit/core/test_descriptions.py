"""What the results mean: every data object that this service publishes is described."""

from __future__ import annotations

import pytest

from address_space.catalogue import data_objects
from address_space.descriptions import description

_INHERITED = data_objects("LOSS").keys() & data_objects("TOPO").keys() & data_objects("GWAY").keys()


@pytest.mark.parametrize("ln_class", ["LOSS", "FLSR", "HLTH", "FDRV", "SUPV", "TOPO"])
def test_every_result_of_the_catalogue_is_described(ln_class: str) -> None:
    own = data_objects(ln_class).keys() - _INHERITED
    assert len(own) > 10
    missing = [name for name in own if not description(f"dso1/north/_/_/_/_/tw{ln_class}1/{name}")]
    assert missing == []


@pytest.mark.parametrize(
    "address", ["dso1/north/PS01/MV1/F01/QA1/XCBR1/Pos", "dso1/north/L01/MV1/_/WB1/twMMXU1/TotW", "dso1/north", ""]
)
def test_what_is_no_result_of_its_own_has_no_sentence(address: str) -> None:
    assert description(address) == ""
