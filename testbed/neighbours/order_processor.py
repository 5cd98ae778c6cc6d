#!/usr/bin/env python3
"""Reads order events from RabbitMQ as the Order Processor does, and prints each order as one line of JSON.

An event may come twice: `message_id`, the order id, tells. Exit code 0 when --count orders were seen, 1 when the time
was up before.
"""

import argparse
import json
import os
import sys
import time

import pika


def main():
    arguments = parse_arguments()
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(
            host=arguments.host,
            port=arguments.port,
            virtual_host=arguments.vhost,
            credentials=pika.PlainCredentials(arguments.user, password(arguments)),
        )
    )
    channel = connection.channel()
    channel.queue_declare(arguments.queue, durable=True, passive=arguments.peek)
    channel.basic_qos(prefetch_count=0 if arguments.peek else 32)  # peeked messages stay unacknowledged until the end

    seen = set()
    ends = time.monotonic() + arguments.timeout
    for method, properties, body in channel.consume(arguments.queue, inactivity_timeout=0.2):
        if method:
            if arguments.every or properties.message_id not in seen:
                seen.add(properties.message_id)
                print(json.dumps(json.loads(body)), flush=True)
            if not arguments.peek:
                channel.basic_ack(method.delivery_tag)
        if (len(seen) >= arguments.count and not (arguments.every and method)) or time.monotonic() > ends:
            break
    channel.cancel()  # gives back what was not acknowledged
    connection.close()

    if len(seen) < arguments.count:
        sys.exit(
            f"{len(seen)} of {arguments.count} orders arrived in {arguments.queue} within {arguments.timeout:g} seconds"
        )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5672)
    parser.add_argument("--vhost", default="/")
    parser.add_argument("--user", default="skillupworks")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--password-file", help="a file with the password")
    secret.add_argument("--password-env", default="AMQP_PASS", help="the variable with the password (AMQP_PASS)")
    parser.add_argument("--queue", default="order-processing")
    parser.add_argument("--count", type=int, default=1, help="how many orders to wait for (1)")
    parser.add_argument("--timeout", type=float, default=10, help="how many seconds to wait for them (10)")
    parser.add_argument("--every", action="store_true", help="print repeated orders too, until none is left")
    parser.add_argument("--peek", action="store_true", help="leave the orders in the queue")
    return parser.parse_args()


def password(arguments):
    if arguments.password_file:
        with open(arguments.password_file, encoding="utf-8") as file:
            return file.read().rstrip("\r\n")
    if arguments.password_env not in os.environ:
        sys.exit(f"{arguments.password_env} is not set: write the RabbitMQ password into it, or use --password-file")
    return os.environ[arguments.password_env]


if __name__ == "__main__":
    main()
