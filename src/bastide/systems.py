"""THE LIST, from the ground up: a system stands only on those above it. Adding one is one line."""

# Parts with workloads of their own: `bastide bench seglog`.
PARTS_MEASURED = (
    "bastide.parts.seglog",
    "bastide.parts.http",
    "bastide.parts.raft",
    "bastide.parts.histories",
)

# Parts with simulations of their own: `bastide sim`.
PARTS_SIMULATED = (
    "bastide.parts.sim",
    "bastide.parts.raft",
)

SYSTEMS = (
    "bastide.engines.coord",
    "bastide.engines.sql",
    "bastide.engines.ids",
    "bastide.engines.cache",
    "bastide.engines.pubsub",
    "bastide.engines.log",
    "bastide.engines.bus",
    "bastide.apps.shortener",
    "bastide.apps.console",
)
