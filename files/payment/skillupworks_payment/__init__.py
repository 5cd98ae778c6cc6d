"""The Payment Service: takes the money for a cart and hands the order to the Order Processor through RabbitMQ.

`web` receives a request, `rates` counts it, `bodies`, `validation` and `screening` read it; `payments` takes it through
`upstreams` (User and Cart), `ledger` and `gateway`, which is `charging` in one step (`direct`) or in two (`checkout`);
`attempts` records how it ended, in the log and in `metrics`. `settings` is read once, at start. `contract` has the
answers as types, from which `openapi` makes the description of the interface; `context` has the ids by which a request
can be followed.

What became of a payment is in the `ledger`, whose tables (`schema`, `migrations`) are in a `database`, `sqlite` or
`postgresql`. Beside the requests, in `background`, one elected process has the `relay` publish the orders and the
`reconciler` find out how payments ended of which nobody knows. What a gateway tells by itself comes through `webhooks`
into the `inbox`, for the reconciler to look into.
"""
