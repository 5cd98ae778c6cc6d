"""The gateway simulator, and what the service makes of its answers."""

import pytest

from deployments import Gateway
from ports import dripping
from service import in_time, wait_until
from skillupworks_payment.gateway import Charge, Declined, GatewayTimeout, OutcomeUnknown, RemoteSandboxGateway

TIMEOUT = 0.5
CHARGE = Charge("ORD-1", 1999, "INR", "razorpay")


@pytest.fixture
def simulator(processes):
    simulator = Gateway()
    yield simulator
    simulator.close()


@pytest.fixture
def gateway(simulator):
    return RemoteSandboxGateway("127.0.0.1", simulator.port, TIMEOUT, concurrency=2)


def test_charge_find_and_void(gateway, simulator):
    assert gateway.find("ORD-1") is None
    payment_id = gateway.charge(CHARGE)
    assert gateway.find("ORD-1") == payment_id
    gateway.void(payment_id)
    assert gateway.find("ORD-1") is None
    charge = {"order_id": "ORD-1", "amount": 1999, "currency": "INR", "method": "razorpay"}
    assert simulator.charges(0) == ([charge | {"payment_id": payment_id, "voided": True}], 0)


def test_second_charge_of_an_order_is_a_second_payment(gateway, simulator):
    assert gateway.charge(CHARGE) != gateway.charge(CHARGE)
    assert len(simulator.charges(0)[0]) == 2


@pytest.mark.parametrize(
    ("mode", "problem", "charges"),
    [
        ("decline", Declined, 0),
        ("hang", GatewayTimeout, 0),
        ("slow", GatewayTimeout, 1),
        ("late", GatewayTimeout, 1),
        ("error-before", OutcomeUnknown, 0),
        ("error-after", OutcomeUnknown, 1),
        ("reset-after", OutcomeUnknown, 1),
    ],
)
def test_charge_that_fails(gateway, simulator, mode, problem, charges):
    """It is in time, and sent once."""
    with simulator.mode(mode, seconds=2), in_time(TIMEOUT), pytest.raises(problem):
        gateway.charge(CHARGE)

    def seen():
        taken, in_flight = simulator.charges(0)
        return len(taken), in_flight

    wait_until(lambda: seen() == (charges, 0), "what is being taken is taken")


@pytest.mark.parametrize("call", ["find", "void"])
@pytest.mark.parametrize("mode", ["hang", "error-before"])
def test_call_that_fails(gateway, simulator, mode, call):
    with simulator.mode(mode), in_time(TIMEOUT), pytest.raises(OutcomeUnknown):
        getattr(gateway, call)("ORD-1")


def test_gateway_that_drips():
    with dripping(b"X-Header: more to come\r\n") as port, in_time(TIMEOUT), pytest.raises(GatewayTimeout):
        RemoteSandboxGateway("127.0.0.1", port, TIMEOUT, concurrency=2).charge(CHARGE)


def test_garbage_and_nobody(simulator, shop):
    """A user service answers 404 to a POST, with a text; then nobody listens."""
    with pytest.raises(OutcomeUnknown):
        RemoteSandboxGateway("127.0.0.1", shop["user"], TIMEOUT, concurrency=2).charge(CHARGE)
    simulator.close()
    with in_time(TIMEOUT), pytest.raises(OutcomeUnknown):
        RemoteSandboxGateway("127.0.0.1", simulator.port, TIMEOUT, concurrency=2).charge(CHARGE)
