"""What rows cost: by themselves, and behind a door of HTTP.

rows      transactions and reads, through the contract
doors     the same by requests: `ours` on our server, `on_fastapi` beside it
orders    the rows that those write and read
stores    a database as a town would open it
"""

from bastide.base.manifest import Bench
from bastide.engines.sql.bench.doors import http_reads, http_writes
from bastide.engines.sql.bench.rows import reads, writes

BENCHES = (
    Bench("writes", "durable rows a second, 200 tasks; idle and 80 % busy loop", writes),
    Bench("reads", "a read by key through the contract", reads),
    Bench("http_writes", "a validated POST for each durable row, 64 connections", http_writes),
    Bench("http_reads", "a redirect for each row read by key, 64 connections", http_reads),
)
