"""The log: records in topics, kept in order; Kafka clients speak to it."""
