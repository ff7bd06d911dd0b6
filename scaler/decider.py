"""What the published rules want now; they count units, and name one only when it is to flip."""

from common.keys import other_class
from common.policy import Policy
from common.tallies import Tally
from common.views import Views
from scaler import qhap
from scaler.qhap import Flip


async def flip_wanted(views: Views, tally: Tally, policy: Policy) -> Flip | None:
    """At most one flip, for the same cost in a pool of any size; naming a unit costs some more."""
    waiting = tally.queues["long"].depth
    wanted = qhap.decide(tally.units["short"], tally.units["long"], waiting, policy)
    unit = wanted and await views.least(other_class(wanted.to))
    return Flip(unit, wanted.to, wanted.reason) if wanted and unit else None
