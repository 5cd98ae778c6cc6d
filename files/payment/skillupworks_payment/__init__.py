"""The Payment Service: takes the money for a cart and hands the order to the Order Processor through RabbitMQ.

`web` receives a request and `validation` reads it; `payments` takes it through `upstreams` (User and Cart), `gateway`
and `publisher`; `attempts` records how it ended, in the log and in `metrics`. `settings` is read once, at start.
"""
