"""Doors are rows: a method, a path, a function and who may pass; bound once, when the town opens.

rows      what a system writes: route("GET", "/links/{code}", read_link, allow=anyone)
binding   a row and a system become an endpoint: arguments by annotation
router    a path finds its endpoint
heads     what a head says: headers, host, who is asking; limits, fields and trace with it
http      a site of endpoints: limits, gates, metrics and problems, whatever server is below
openapi   OpenAPI 3.1 from the same rows
"""
