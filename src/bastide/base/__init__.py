"""The ground: what every system stands on, and nothing that only one of them needs."""
