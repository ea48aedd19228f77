"""Doors are rows: a method, a path, a function and who may pass; bound once, when the town opens.

rows      what a system writes: route("GET", "/links/{code}", read_link, allow=anyone)
binding   a row and a system become an endpoint: arguments by annotation
router    a path finds its endpoint
asgi      a site of endpoints as an ASGI application, with limits, gates, metrics and problems
openapi   OpenAPI 3.1 from the same rows
"""
