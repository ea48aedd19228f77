"""etcd's API, version 3, as both sides speak it: our wire door, and our client of a real etcd."""
