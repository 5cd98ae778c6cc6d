"""Where the fault scenarios are played: each world has all deployments, and a worker of its own in a run of several."""

import os

BROKER, SERVICE, NEIGHBOURS = WORLDS = ("broker", "service", "neighbours")  # by what goes wrong in it
DEPLOYMENTS = ("sqlite-1", "postgresql-1", "postgresql-2")
APART = "PYTEST_XDIST_WORKER" in os.environ


def vhosts_of(world: str) -> list[str]:
    """The virtual hosts of the deployments, in their order. BROKER has a broker of its own for them."""
    return [f"{world}-{deployment}" for deployment in DEPLOYMENTS]
