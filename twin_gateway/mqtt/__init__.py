"""The MQTT mirror of the point table: values, metadata, states and events under `<root>/<class>/<address>`."""
