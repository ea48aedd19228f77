"""etcd's API, version 3, for whoever speaks it: gRPC and JSON on one port."""
