"""Who is in a group, and who reads what: the coordinator's half of Kafka's group protocol."""
