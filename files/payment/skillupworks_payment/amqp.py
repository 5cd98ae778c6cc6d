"""How to reach RabbitMQ."""

import pika

from .settings import Settings


def connection_parameters(settings: Settings) -> pika.ConnectionParameters:
    """How to log in to the broker: one attempt, given up after two seconds."""
    return pika.ConnectionParameters(
        host=settings.amqp.host,
        port=settings.amqp.port,
        virtual_host=settings.amqp_vhost,
        credentials=pika.PlainCredentials(settings.amqp_user, settings.amqp_password),
        heartbeat=10,
        connection_attempts=1,
        socket_timeout=1,
        stack_timeout=2,
        client_properties={"connection_name": "payment"},
    )
