"""Start, stop and identity."""

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

from broker import PASSWORD
from ports import holding
from service import APP, wait_until
from skillupworks_payment import orders


def test_stop_answers_what_is_in_flight(start_service, runtime, broker):
    broker.take_orders()
    with holding({"payment_id": "pay_held"}) as gateway, ThreadPoolExecutor(8) as clients:
        held = {"PAYMENT_GATEWAY": f"sandbox://127.0.0.1:{gateway.port}", "PAYMENT_GATEWAY_TIMEOUT": 60}
        service = start_service(runtime, PAYMENT_THREADS=8, **held)
        answers = [clients.submit(service.pay) for _ in range(8)]
        wait_until(lambda: len(gateway.asked) == 8, "all are in flight")
        service.terminate()
        time.sleep(0.3)  # nothing to wait for: what is in flight stays so
        gateway.release.set()
        code = service.wait()
    assert [answer.result().status_code for answer in answers] == [200] * 8
    assert code == 0, service.logs()
    paid = {answer.result().json()["orderId"] for answer in answers}
    assert {event["orderId"] for event in broker.wait_for_orders(paid)} == paid


def test_live_tells_the_release(start_service, tmp_path):
    app = shutil.copytree(APP, tmp_path / "app")
    (app / "REVISION").write_text("1.0.0-0123456789ab\n")
    service = start_service("python", app)
    assert service.get("/live").json() == {"status": "alive", "release": "1.0.0-0123456789ab"}


def test_password_from_the_credential_of_the_unit(start_service, runtime, tmp_path):
    (tmp_path / "amqp_password").write_text(PASSWORD)
    service = start_service(runtime, AMQP_PASS="", CREDENTIALS_DIRECTORY=tmp_path)
    assert service.pay().status_code == 200
    assert PASSWORD not in service.logs()


def test_order_ids():
    ids = [orders.new_order_id() for _ in range(10_000)]
    assert all(re.fullmatch(r"ORD-\d{25}", order_id) for order_id in ids)
    assert len(set(ids)) == len(ids)
