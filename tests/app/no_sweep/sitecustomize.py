"""On PYTHONPATH before the service's code: the relay hears of an order when it is told so, or not for a long time."""

from skillupworks_payment import relay

relay._SWEEP = 3600.0
