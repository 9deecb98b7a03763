"""The states of an IKE SA."""

from enum import Enum


class State(Enum):
    """AUTHENTICATING awaits the peer's IKE_AUTH response, HALF_OPEN its request; REKEYED has a successor."""

    AUTHENTICATING = "authenticating"
    HALF_OPEN = "half-open"
    ESTABLISHED = "established"
    REKEYED = "rekeyed"
    DELETING = "deleting"
    DEAD = "dead"


TRANSITIONS = {
    State.AUTHENTICATING: {State.ESTABLISHED, State.DELETING, State.DEAD},
    State.HALF_OPEN: {State.ESTABLISHED, State.DEAD},
    State.ESTABLISHED: {State.REKEYED, State.DELETING, State.DEAD},
    State.REKEYED: {State.DELETING, State.DEAD},
    State.DELETING: {State.DEAD},
    State.DEAD: set(),
}
