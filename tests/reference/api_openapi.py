#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""api_openapi.py DUMP OPENAPI: every route is described, and every description is a route."""
import subprocess
import sys

import yaml

DUMP, OPENAPI = sys.argv[1:]
METHODS = ("get", "put", "patch", "delete", "post", "head", "options")

routes = {}
for line in subprocess.run([DUMP], capture_output=True, text=True, check=True).stdout.splitlines():
    method, path, when, missing = line.split("\t")
    assert (method, path) not in routes, f"twice in the routes: {line}"
    routes[method, path] = (when, missing)
with open(OPENAPI, encoding="utf-8") as f:
    api = yaml.safe_load(f)
described = {(method.upper(), path): operation for path, operations in api["paths"].items()
             for method, operation in operations.items() if method in METHODS}


def resolve(schema):
    while "$ref" in schema:
        schema = api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def body_of(operation):
    body = operation.get("requestBody")
    return body and resolve(body["content"]["application/json"]["schema"])


def check(name, wrong):
    check.n += 1
    print(f"{'not ok' if wrong else 'ok'} {check.n} - {name}")
    for line in wrong:
        print(f"# {line}")


check.n = 0
print("1..5")
check("every route is described", sorted(set(routes) - set(described)))
check("every description is a route", sorted(set(described) - set(routes)))
both = sorted(set(routes) & set(described))
check("they agree on when", [r for r in both if described[r]["x-when"] != routes[r][0]])
check("they agree on what is missing",
      [(r, routes[r][1]) for r in both
       if bool(described[r].get("x-missing")) != bool(routes[r][1]) or
       not routes[r][1].startswith(described[r].get("x-missing", ""))])
# Metadata are the client's own.
check("what changes something has a body that is described, and allows nothing else",
      [r for r in both if not routes[r][1] and r[0] != "GET" and
       (not body_of(described[r]) or
        body_of(described[r]).get("additionalProperties") is not (r[1] == "/mmds"))])
