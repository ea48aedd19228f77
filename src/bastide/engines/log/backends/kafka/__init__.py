"""`kafka://`: a cluster of Kafka's, by librdkafka."""
