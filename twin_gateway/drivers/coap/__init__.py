"""CoAP sensors: observation and polling, SenML and other payloads, freshness as quality."""
