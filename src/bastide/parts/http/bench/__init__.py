"""Our server beside others, in one run, in turns: nginx for what it can do, uvicorn and aiohttp for
what is written in Python.

servers    processes, ours and others; cores
serving    rows on our server in such a process
ours       the rows, on our server and as ASGI
on_asgi    the same without our rows, for uvicorn; on_aiohttp: on aiohttp
load       wrk, requests at a rate, turns
hot        redirects, times at half load, files
websocket  WebSockets: echo and fan-out
memory     what a connection costs that does nothing

A server has one core and its generator another, where there are two. Figures are medians of turns,
ratios medians of the turns' ratios; what is not installed is left out, and said.
"""

from bastide.base.manifest import Bench
from bastide.parts.http.bench.hot import files, half_load, redirects
from bastide.parts.http.bench.memory import idle
from bastide.parts.http.bench.websocket import sockets

BENCHES = (
    Bench("redirects", "302 from a hot set of 1,000 links, 64 connections of wrk", redirects),
    Bench("half_load", "how long a redirect takes at half of the most", half_load),
    Bench("files", "by sendfile, 16 connections of wrk", files),
    Bench("sockets", "WebSockets: echo by 100, one message to 1,000", sockets),
    Bench("idle", "memory of 10,000 connections that do nothing", idle),
)
