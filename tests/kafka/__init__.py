"""The log on Kafka: what needs no broker here, and what does with the marker `kafka`."""
