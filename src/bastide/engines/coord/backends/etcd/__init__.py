"""A real etcd, or a group of ours, by etcd's own API."""
