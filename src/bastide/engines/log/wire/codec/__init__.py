"""The messages of Kafka's protocol, to and from bytes. Pure: nothing here waits or reads."""
