"""The server: sockets, connections, and what steps the coroutines of a request.

server       listens, counts, sweeps for what is late, drains
connection   one client: bytes in, requests in their order, replies in the same
body         what follows a head
host         the one task that a connection has, if a handler waits
files        a file to a socket, by the kernel
"""
