"""How often the process looks for cycles among its objects."""

import gc
from typing import Final


THRESHOLD: Final = (1_000, 20_000, 10)
"""Objects that are looked at for cycles at once: a thousand; all that is new after some twenty million, and everything
every eleventh time. Of twenty thousand at once each lot took 30 ms, twice a second at 2,000 orders/s; and to look again at
the thousand before, for what was still in use then and is not any more, took as long as all first looks and found nothing."""


def look_less() -> None:
    """Look no more at what there is, and hardly ever at what has survived once.

    What is there once the server is ready lives as long as the process, and an order leaves a dozen objects behind and no cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLD)
