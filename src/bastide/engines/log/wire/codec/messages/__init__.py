"""The table of messages, by subject. Names are those of Kafka's own, in our spelling."""
