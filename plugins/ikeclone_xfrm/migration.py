"""States that go on between other addresses or ports, with their sequence numbers, windows, CPUs and counters."""

from __future__ import annotations

from typing import Final

from ikeclone_xfrm.errors import NotThere, XfrmError
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.states import Attributes, Fields, State
from ikeclone_xfrm.xfrm import AsyncXfrm

_GIVEN: Final = ("ENCAP", "MARK")  # what else MIGRATE_STATE may change


def migration(former: State, state: State) -> tuple[Fields, Attributes]:
    """What MIGRATE_STATE wants to know to make one state of another: of the same SPI, keys and selectors."""
    fields = {
        "id": {**former.fields["id"], "family": former.fields["family"]},
        "new_daddr": state.fields["id"]["daddr"],
        "new_saddr": state.fields["saddr"],
        "old_mark": dict(former.name).get("MARK"),
        "new_sel": state.fields["sel"],
        "new_reqid": state.fields["reqid"],
        "new_family": state.fields["family"],
    }
    return fields, [each for each in state.attributes if each[0] in _GIVEN]


async def migrates(xfrm: AsyncXfrm, absent: Fields) -> bool:
    """Whether the kernel knows of this: it looks for a state that is not there, or does not even look."""
    try:
        await xfrm.change(Msg.MIGRATE_STATE, {"id": absent, "new_family": absent["family"]})
    except NotThere:
        return True
    except XfrmError:
        return False
    raise AssertionError("a state that does not exist has been moved")
