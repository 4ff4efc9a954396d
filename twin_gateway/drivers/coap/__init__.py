"""coap."""
